"""Sweeps on this machine: a killed trial goes on, a mistake leaves the others, a stopped sweep goes on."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import submitit

from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.run.resolve import cores, resolved
from robo_ppo.run.sweep.local import JoblibLauncher, SerialLauncher
from robo_ppo.run.sweep.submitit_launcher import SubmititLauncher
from tests.run.sweep.sweeping import ended, sweep, table, trainer
from tests.run.training import ITERATIONS, LONG, differing, final_state, rows


def test_side_by_side_a_killed_trial_goes_on_and_a_mistake_leaves_the_others(
    unbroken: Callable[[int], Path], tmp_path: Path
) -> None:
    process = sweep(tmp_path, *LONG, "hydra/launcher=joblib", "ppo.gamma=0.99,2")
    killed = trainer(process, tmp_path / "sweep/ppo.gamma-0.99", after=10)
    killed.kill()
    assert len(rows(tmp_path / "sweep/ppo.gamma-0.99")) < ITERATIONS, "it was killed too late to show anything"
    out, err = ended(process, code=2)
    assert "2 of 2 trials to train" in out
    assert "Traceback" not in err
    assert "1 of 2 trials did not finish:\n  ppo.gamma-2: ppo.gamma must lie in [0, 1], not 2.0\n" in err
    assert "try them again with: python train.py -m task=uav_hover" in err

    found = table(tmp_path)
    assert [(row["state"], row["attempts"]) for row in found.values()] == [("finished", "2"), ("failed", "1")]
    assert found["ppo.gamma-0.99"]["score"] == "success"
    assert 0.0 <= float(found["ppo.gamma-0.99"]["value"]) <= 1.0
    assert found["ppo.gamma-2"]["error"] == "ppo.gamma must lie in [0, 1], not 2.0"
    assert not differing(final_state(unbroken(1)), final_state(tmp_path / "sweep/ppo.gamma-0.99"))
    assert (tmp_path / "runs/latest").resolve() == tmp_path / "sweep/ppo.gamma-0.99"


@pytest.mark.slow
def test_a_sweep_that_is_stopped_goes_on_with_what_is_not_finished(
    unbroken: Callable[[int], Path], tmp_path: Path
) -> None:
    process = sweep(tmp_path, *LONG, "seed=0,1")
    trainer(process, tmp_path / "sweep/seed-0", after=5)
    process.send_signal(signal.SIGINT)
    out, _ = ended(process, code=130)
    assert "go on with: python train.py -m" in out
    assert [row["state"] for row in table(tmp_path).values()] == ["stopped", "stopped"]
    assert 5 <= len(rows(tmp_path / "sweep/seed-0")) < ITERATIONS
    assert not (tmp_path / "sweep/.stop").exists()

    _, err = ended(sweep(tmp_path, *LONG, "seed=0,1", "ppo.gamma=0.9"), code=2)
    assert "seed-0 was made with another ppo.gamma; take a new folder" in err
    ended(sweep(tmp_path, *LONG, "hydra/launcher=joblib", "seed=0,1"))
    assert [row["attempts"] for row in table(tmp_path).values()] == ["2", "1"]
    assert not differing(final_state(unbroken(1)), final_state(tmp_path / "sweep/seed-0"))
    out, _ = ended(sweep(tmp_path, *LONG, "seed=0,1"))
    assert "0 of 2 trials to train" in out
    assert {row["state"] for row in table(tmp_path).values()} == {"finished"}


@pytest.mark.slow
def test_submitit_without_slurm_trains_in_its_jobs(tmp_path: Path) -> None:
    out, _ = ended(sweep(tmp_path, "hydra/launcher=submitit_local", "total_steps=256", "seed=0,-1"), code=2)
    assert {name: row["state"] for name, row in table(tmp_path).items()} == {"seed-0": "finished", "seed--1": "failed"}
    assert "seed--1: failed: seed must be at least 0, not -1" in out
    assert len(list((tmp_path / "sweep/submitit").glob("*_result.pkl"))) == 1
    assert folders.load_config(tmp_path / "sweep/seed-0").threads == 1


def test_what_slurm_is_asked_for() -> None:
    launcher = SubmititLauncher(partition="gpu", gpus_per_node=2, setup=["module load cuda"], timeout_min=60)
    assert launcher.parameters(8) == {
        "name": "robo_ppo",
        "timeout_min": 60,
        "cpus_per_task": 8,
        "gpus_per_node": 2,
        "slurm_partition": "gpu",
        "slurm_array_parallelism": 256,
        "slurm_setup": ["module load cuda"],
    }
    known = submitit.SlurmExecutor._valid_parameters() | {"timeout_min", "name", "mem_gb"}
    everything = SubmititLauncher(account="a", qos="q", mem_gb=1.5, additional_parameters={"constraint": "a100"})
    for name in {*launcher.parameters(8), *everything.parameters(1)}:
        assert name.removeprefix("slurm_") in known


@pytest.mark.parametrize(
    ("module", "arguments", "extra"),
    [
        ("ray", ["hydra/launcher=ray", "seed=0,1"], "ray"),
        ("submitit", ["hydra/launcher=submitit_slurm", "seed=0,1"], "sweep"),
    ],
)
def test_a_library_that_is_not_installed(tmp_path: Path, module: str, arguments: list[str], extra: str) -> None:
    _, err = ended(sweep(tmp_path, *arguments, prelude=f"import sys; sys.modules[{module!r}] = None"), code=2)
    assert err.startswith(f"error: {arguments[0]} needs {module}: pip install 'robo-ppo[{extra}]'")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hydra/launcher=rai"], "there is no hydra/launcher=rai; did you mean ray?"),
        (
            ["hydra/launcher=joblib", "hydra.launcher.n_job=2"],
            "there is no 'n_job' in hydra.launcher; did you mean n_jobs?",
        ),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=-1"], "hydra.launcher.n_jobs must be at least 0, not -1"),
        (["hydra.launcher.retries=-1"], "hydra.launcher.retries must be at least 0, not -1"),
        (["hydra/launcher=submitit_slurm"], "there is no sbatch on this machine"),
        (["hydra/launcher=ray", "hydra.launcher.address=localhost:1"], "cannot reach a Ray cluster at localhost:1: "),
        pytest.param(
            ["hydra/launcher=ray", "hydra.launcher.num_cpus=999"],
            "a trial needs 999 CPUs, and no machine of the Ray cluster",
            marks=pytest.mark.slow,
        ),
        (["resume=latest"], "a sweep resumes no single run"),
        (["ppo.gamma=interval(0.9,0.99)"], "add hydra/sweeper=optuna"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(tmp_path: Path, arguments: list[str], message: str) -> None:
    out, err = ended(sweep(tmp_path, "seed=0,1", *arguments), code=2)
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1, err
    assert "trials to train" not in out


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity of processes")
def test_trials_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    free, one_rank, two_by_two = compose(), compose("ranks=1"), compose("ranks=2", "threads=2")
    assert SerialLauncher(retries=0).cores_of(free) == 16
    assert [JoblibLauncher(n_jobs=n, retries=0).cores_of(free) for n in (0, 1, 2, 32)] == [4, 16, 8, 1]
    assert JoblibLauncher(n_jobs=0, retries=0).cores_of(one_rank) == 1
    assert JoblibLauncher(n_jobs=0, retries=0).cores_of(compose("sim=mujoco_warp")) == 16  # there is one GPU
    assert SubmititLauncher().cores_of(two_by_two) == 4
    assert SubmititLauncher(cpus_per_task=6).cores_of(two_by_two) == 6
    monkeypatch.setenv("ROBO_PPO_CORES", "2")
    assert JoblibLauncher(n_jobs=0, retries=0).cores_of(free) == 1
    monkeypatch.setenv("ROBO_PPO_CORES", "3")
    assert cores() == 3
    assert resolved(compose("num_envs=64")).ranks == 2  # 64 environments do not go into three
    assert resolved(compose("num_envs=64"), available=8).ranks == 4
