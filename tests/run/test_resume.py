"""A run that was killed, or told to stop, goes on as if nothing had happened: through the real command line."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robo_ppo.run import checkpoint
from robo_ppo.run import folder as folders
from robo_ppo.run.train import train as go_on
from tests.run.training import (
    ITERATIONS,
    LONG,
    STEPS,
    TOTAL,
    command,
    differing,
    final_state,
    rows,
    start,
    wait_for_rows,
)

SPEED = ("seconds", "steps_per_second")  # all that may differ


def check_equal(whole: Path, resumed: Path) -> None:
    assert checkpoint.newest(resumed).name == f"step_{TOTAL:012d}.pt"
    assert not differing(final_state(whole), final_state(resumed))
    written = rows(resumed)
    assert [row["step"] for row in written] == [STEPS * (i + 1) for i in range(ITERATIONS)]
    events = EventAccumulator(str(resumed / "tensorboard")).Reload().Scalars("ppo/kl")
    assert [event.step for event in events] == [row["step"] for row in written]
    for row, expected in zip(written, rows(whole), strict=True):
        assert {n: v for n, v in row.items() if n not in SPEED} == {n: v for n, v in expected.items() if n not in SPEED}


def kill(process: subprocess.Popen[str], folder: Path, ranks: int) -> None:
    """End a training as the system does when memory runs out; its ranks end too."""
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == ranks - 1
    process.kill()
    process.communicate()
    assert len(rows(folder)) < ITERATIONS, "it was killed too late to show anything"
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "a rank stayed behind"


def tell_to_stop(process: subprocess.Popen[str], folder: Path, told: signal.Signals) -> None:
    """As a terminal and a manager do: to all of its processes."""
    for member in [process.pid, *(c.pid for c in psutil.Process(process.pid).children())]:
        os.kill(member, told)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + told, err
    assert "Traceback" not in err
    assert "stopping after this iteration, then writing a checkpoint" in err
    assert out.splitlines()[-1].startswith(f"stopped by {told.name} after ")
    assert out.splitlines()[-1].endswith(f"go on with: python train.py resume={folder}")
    stopped = rows(folder)[-1]["step"]
    assert stopped < TOTAL
    assert checkpoint.newest(folder).name == f"step_{int(stopped):012d}.pt"


def test_told_to_stop_resumed_killed_and_resumed_equals_unbroken(
    unbroken: Callable[[int], Path], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    process = start(command(*LONG, "ranks=1", "checkpoint_every=1280", f"runs={runs}"), tmp_path)
    folder = wait_for_rows(process, runs, 2)
    tell_to_stop(process, folder, signal.SIGTERM)

    process = start(command("resume=latest", f"runs={runs}"), tmp_path)
    wait_for_rows(process, runs, 10)
    kill(process, folder, ranks=1)

    go_on(folders.load_config(folder), folder)
    check_equal(unbroken(1), folder)


def test_killed_and_resumed_equals_unbroken_with_two_ranks(unbroken: Callable[[int], Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    process = start(command(*LONG, "ranks=2", f"runs={runs}"), tmp_path)
    folder = wait_for_rows(process, runs, 10)
    kill(process, folder, ranks=2)
    go_on(folders.load_config(folder), folder)
    check_equal(unbroken(2), folder)


@pytest.mark.slow
def test_two_ranks_told_to_stop_and_resumed_equal_unbroken(unbroken: Callable[[int], Path], tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    process = start(command(*LONG, "ranks=2", "checkpoint_every=1_000_000", f"runs={runs}"), tmp_path)
    folder = wait_for_rows(process, runs, 5)
    tell_to_stop(process, folder, signal.SIGINT)
    go_on(folders.load_config(folder), folder)
    check_equal(unbroken(2), folder)


def test_a_damaged_checkpoint_is_not_resumed(
    unbroken: Callable[[int], Path], train: Callable[..., None], tmp_path: Path
) -> None:
    folder = shutil.copytree(unbroken(1), tmp_path / "run")
    newest = checkpoint.newest(folder)
    newest.write_bytes(newest.read_bytes()[:-100])
    said = (
        f"error: {newest} cannot be read: it is damaged or not a checkpoint; "
        f"without it, {checkpoint.numbered(folder)[-2].name} would be the newest\n"
    )
    train(f"resume={folder}", said=said)
