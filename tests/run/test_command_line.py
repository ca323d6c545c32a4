"""The scripts and the installed command: help, usage, tasks of one's own, sweeps; and what a machine fills in."""

import os
import signal
import sys
from pathlib import Path

import pytest

from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.resolve import cores, resolved
from tests.run.training import ROOT, TINY, command, run


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "train.py",
            [
                "python train.py task=uav_nav",
                "task: gymnasium, isaac_lab, uav_hover, uav_nav",
                "resume=latest",
                "gamma: 0.99",
            ],
        ),
        ("evaluate.py", ["python evaluate.py run=latest", "episodes: 1000", "bundle="]),
    ],
)
def test_help_says_what_can_be_done(tmp_path: Path, script: str, told: list[str]) -> None:
    done = run(command("--help", script=script), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(text in done.stdout for text in told), done.stdout
    assert "Hydra" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        ([], 2, "usage: robo-ppo"),
        (["trian"], 2, "usage: robo-ppo"),
        (["--help"], 0, "usage: robo-ppo"),
        (["train", "task=uav_hoover"], 2, "error: there is no task=uav_hoover; did you mean uav_hover?"),
        (["evaluate", "episods=1"], 2, "error: there is no 'episods' in the configuration; did you mean episodes?"),
    ],
)
def test_the_installed_command(tmp_path: Path, arguments: list[str], code: int, told: str) -> None:
    done = run([str(Path(sys.executable).with_name("robo-ppo")), *arguments], tmp_path)
    assert done.returncode == code
    assert done.stderr.startswith(told)


def test_info_prints_the_composed_task_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = run(command(*TINY, "info=true"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for text in (
        "uav_hover · crazyflie (body_rates)",
        "goal_offset",
        "near_goal",
        "distance=0.2",
        "tipped_over",
        "mass",
    ):
        assert text in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_task_of_ones_own_beside_ones_own_package(tmp_path: Path) -> None:
    (tmp_path / "conf/task").mkdir(parents=True)
    (tmp_path / "conf/task/odd.yaml").write_text(
        "# @package _global_\n"
        "defaults: [uav_hover]\n"
        "task:\n  name: odd\n  entry_point: odd_tasks:OddTask\n  observation: {policy: {roott: {}}}\n"
    )
    own = str(Path(__file__).with_name("own_package"))
    done = run(command("task=odd", "info=true", "--config-dir", "conf"), tmp_path, PYTHONPATH=own)
    assert done.returncode == 2
    assert done.stderr == "error: there is no signal 'roott'; did you mean root?\n"
    done = run(command("task=od", "--config-dir", "conf"), tmp_path, PYTHONPATH=own)
    assert done.stderr.startswith("error: there is no task=od; ")
    assert "odd" in done.stderr


def test_what_depends_on_the_machine_is_filled_in_once() -> None:
    config = resolved(compose("num_envs=64"))
    assert config.ranks == max(1, min(4, cores()))
    assert config.threads == config.sim.threads == max(1, cores() // config.ranks)
    assert resolved(config) == config
    chosen = resolved(compose("num_envs=64", "ranks=4", "threads=3", "sim.threads=1"))
    assert (chosen.ranks, chosen.threads, chosen.sim.threads) == (4, 3, 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity of processes")
def test_cores_are_those_that_the_process_may_use() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize("key", ["num_envs", "ppo.horizon", "ppo.minibatches", "validation.every", "task.decimation"])
def test_numbers_that_must_be_positive(key: str) -> None:
    with pytest.raises(UserError, match=f"{key} must be at least 1, not 0"):
        resolved(compose(f"{key}=0"))


def test_a_reader_who_has_seen_enough_is_no_fault(tmp_path: Path) -> None:
    call = f"set -o pipefail; {sys.executable} {ROOT / 'train.py'} info=true | head -n 1"
    done = run(["bash", "-c", call], tmp_path)
    assert done.stderr == ""
    assert done.stdout.startswith("uav_nav · crazyflie")
    assert done.returncode in (0, 128 + signal.SIGPIPE)  # the latter, if the reader was gone before the end
