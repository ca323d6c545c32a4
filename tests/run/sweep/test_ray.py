"""A population on Ray: what a killed worker was training goes on from its checkpoint, bit for bit."""

from collections.abc import Callable
from pathlib import Path

import psutil

from tests.run.sweep.sweeping import ended, sweep, table, trainer
from tests.run.training import ITERATIONS, LONG, differing, final_state, rows


def test_a_trial_whose_worker_is_killed_ends_as_if_nothing_had_happened(
    unbroken: Callable[[int], Path], tmp_path: Path
) -> None:
    process = sweep(tmp_path, *LONG, "hydra/launcher=ray", "seed=0,1")
    killed = trainer(process, tmp_path / "sweep/seed-0", after=8)
    worker = killed.parent()
    assert worker is not None
    assert worker.name().startswith("ray::")
    worker.kill()
    _, alive = psutil.wait_procs([killed], timeout=20)
    assert not alive, "a process went on without its worker"
    assert len(rows(tmp_path / "sweep/seed-0")) < ITERATIONS, "it was killed too late to show anything"
    out, _ = ended(process)
    found = table(tmp_path)
    assert [(row["state"], row["attempts"]) for row in found.values()] == [("finished", "2"), ("finished", "1")]
    assert "finished after 2 attempts" in out
    assert not differing(final_state(unbroken(1)), final_state(tmp_path / "sweep/seed-0"))
    assert differing(final_state(tmp_path / "sweep/seed-0"), final_state(tmp_path / "sweep/seed-1"))
