"""Ranks that torchrun starts: the real one on two processes, and processes with its variables for two machines."""

import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from robo_ppo import command_line
from robo_ppo.errors import UserError
from robo_ppo.run import checkpoint, resolve
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.equality import refuse_unequal
from robo_ppo.run.launch import Launch, find
from robo_ppo.run.torchrun import joined
from robo_ppo.run.train import train
from tests.run.training import (
    ALONE,
    LONG,
    ROOT,
    TINY,
    TOTAL,
    configure,
    differing,
    final_state,
    rows,
    run,
    start,
    wait_for_rows,
)

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]
TRAIN = [sys.executable, "-c", ALONE]
AGAIN = "torchrun --nproc-per-node 2 train.py resume="
# The folder's configuration says two ranks, as that of `unbroken(2)` does.
TWO = (*LONG, "ranks=2")


def ranks_of(agent: subprocess.Popen[str]) -> dict[int, psutil.Process]:
    """The processes that torchrun has started, by rank."""
    children = psutil.Process(agent.pid).children()
    return {int(child.environ()["RANK"]): child for child in children if "RANK" in child.environ()}


def whole_and_equal(one: Path, other: Path) -> bool:
    assert checkpoint.newest(other).name == f"step_{TOTAL:012d}.pt"
    return not differing(final_state(one), final_state(other))


@pytest.mark.parametrize("goes_on", ["without torchrun", pytest.param("under torchrun", marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_job_with_a_message_and_a_checkpoint_to_go_on_from(
    unbroken: Callable[[int], Path], tmp_path: Path, goes_on: str
) -> None:
    job = start([*TORCHRUN, *TRAIN, *TWO, f"runs={tmp_path / 'runs'}"], tmp_path)
    folder = wait_for_rows(job, tmp_path / "runs", 6)
    ranks_of(job)[1].kill()
    out, err = job.communicate(timeout=30)
    left = checkpoint.steps_of(checkpoint.newest(folder))
    assert 1024 <= left < TOTAL
    (message,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message.startswith("error: rank 1 has died without a word; torchrun says below how (SIGKILL")
    assert message.endswith(f"; the checkpoint of step {left:,} is whole; go on with: {AGAIN}{folder}")
    assert out.count("reward: sum of weight × term") == 1 and out.count("run: ") == 1
    assert [path.name for path in (tmp_path / "runs" / "uav_hover").iterdir()] == [folder.name]

    if goes_on == "under torchrun":
        resumed = run([*TORCHRUN, *TRAIN, f"resume={folder}"], tmp_path)
        assert resumed.returncode == 0, resumed.stderr
        assert resumed.stdout.count("trained 0.01 M steps") == 1
    else:
        train(folders.load_config(folder), folder)
    assert whole_and_equal(unbroken(2), folder)


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path: Path) -> None:
    job = start([*TORCHRUN, *TRAIN, *TWO, "checkpoint_every=1_000_000", f"runs={tmp_path / 'runs'}"], tmp_path)
    folder = wait_for_rows(job, tmp_path / "runs", 5)
    for member in (psutil.Process(job.pid), *ranks_of(job).values()):  # as a terminal does
        member.send_signal(signal.SIGINT)
    out, err = job.communicate(timeout=30)
    assert err.count("stopping after this iteration, then writing a checkpoint") == 1
    assert out.splitlines()[-1].startswith("stopped by SIGINT after ")
    assert out.splitlines()[-1].endswith(f"go on with: {AGAIN}{folder}")
    assert checkpoint.steps_of(checkpoint.newest(folder)) == int(rows(folder)[-1]["step"]) < TOTAL


def start_by_hand(place: Path, rank: int, port: int, *arguments: str, machines: int = 2) -> "subprocess.Popen[str]":
    """One rank of two, each on its own machine as far as it can tell."""
    place.mkdir(exist_ok=True)
    local = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    if machines == 1:
        local = {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": "2"}
    variables = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **local}
    return start([*TRAIN, *arguments], place, GLOO_SOCKET_IFNAME="lo", **variables)


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.slow
def test_two_machines_go_on_without_a_common_folder(unbroken: Callable[[int], Path], tmp_path: Path, port: int) -> None:
    """And with messages for sums, where the ranks of `unbroken` have shared memory."""
    (tmp_path / "a").mkdir()
    folder = shutil.copytree(unbroken(2), tmp_path / "a" / "run")
    checkpoint.newest(folder).unlink()
    jobs = [
        start_by_hand(tmp_path / place, rank, port, "resume=run", f"runs=on_{place}")
        for rank, place in enumerate(("a", "b"))
    ]
    (out, err), (nothing, quiet) = (job.communicate(timeout=60) for job in jobs)
    assert [job.returncode for job in jobs] == [0, 0], err + quiet
    assert "trained 0.01 M steps" in out and nothing == ""
    assert not list((tmp_path / "b").iterdir())
    assert whole_and_equal(unbroken(2), folder)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (
            (),
            ("num_envs=64",),
            "unequal ranks: rank 1 was started with num_envs=64, rank 0 with num_envs=32; start",
        ),
        pytest.param(
            ("num_envs=33",),
            ("num_envs=33",),
            "num_envs=33 cannot be shared equally by 2 ranks; 34 can",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_be_ends_all_ranks_with_one_message(
    tmp_path: Path, port: int, first: tuple[str, ...], second: tuple[str, ...], said: str
) -> None:
    alike = (*TINY, "ranks=0")
    jobs = [start_by_hand(tmp_path, rank, port, *alike, *own, machines=1) for rank, own in enumerate((first, second))]
    shown = [job.communicate(timeout=60) for job in jobs]
    assert [job.returncode for job in jobs] == [2, 2]
    errors = [line for _, err in shown for line in err.splitlines() if line.startswith("error")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {said}")
    assert not any("Traceback" in err for _, err in shown)
    assert not list(tmp_path.iterdir())


VARIABLES = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_RESTART_COUNT": "2",
}


def test_a_place_is_read_from_the_environment() -> None:
    launch = find(VARIABLES)
    assert launch is not None and launch == Launch(rank=5, size=8, local_rank=1, local_size=4, attempt=2)
    assert not launch.leads and not launch.is_on_one_machine
    assert launch.command == "torchrun --nnodes 2 --rdzv-backend c10d --rdzv-endpoint … --nproc-per-node 4"
    assert find({name: text for name, text in VARIABLES.items() if name != "LOCAL_RANK"}) is None


@pytest.mark.parametrize(("name", "text"), [("RANK", "eight"), ("RANK", "8"), ("LOCAL_RANK", "4")])
def test_a_place_that_cannot_be(name: str, text: str) -> None:
    with pytest.raises(UserError, match=f"{name}"):
        find(VARIABLES | {name: text})


@pytest.mark.parametrize(
    ("overrides", "attempt", "said"),
    [
        (["ranks=4"], 0, "ranks=4, but torchrun has started 2; leave ranks=… out, or start as many"),
        ([], 1, "torchrun has started the ranks again (--max-restarts), which would begin another run"),
        (["device=cuda"], 0, "torchrun has started 2 ranks on this machine, which has 1 GPUs; each needs its own"),
        (["device=cuda:1"], 0, "device=cuda:1: torchrun gives each rank a GPU of its own; write device=cuda"),
    ],
)
def test_what_is_refused_before_the_ranks_meet(
    monkeypatch: pytest.MonkeyPatch, overrides: list[str], attempt: int, said: str
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = compose("task=uav_hover", *overrides)
    place = Launch(rank=0, size=2, local_rank=0, local_size=2, attempt=attempt)
    with pytest.raises(UserError, match=re.escape(said)), joined(place, config, lambda: None):
        pass


def test_a_sweep_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in (VARIABLES | {"LOCAL_RANK": "0"}).items():
        monkeypatch.setenv(name, text)
    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "seed=1,2"])
    with pytest.raises(SystemExit) as ended:
        command_line.train()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: torchrun starts the ranks of one run; start each job of a sweep")


def test_a_run_goes_on_with_as_many_ranks_as_it_had() -> None:
    config = configure("ranks=2")
    resolve.check(config, Launch(0, 2, 0, 2))
    said = "this run has 2 ranks, and torchrun has started 4; a run goes on with as many as it had: start "
    with pytest.raises(UserError, match=re.escape(f"{said}--nproc-per-node 2")):
        resolve.check(config, Launch(0, 4, 0, 4))
    with pytest.raises(UserError, match=re.escape(f"{said}2 in all")):
        resolve.check(config, Launch(0, 4, 0, 2))


def test_ranks_and_threads_are_those_that_torchrun_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "cores", lambda: 8)
    config = resolve.resolved(compose("task=uav_hover"), Launch(rank=0, size=4, local_rank=0, local_size=2))
    assert (config.ranks, config.threads, config.sim.threads) == (4, 4, 4)


class Together(Ranks):
    """Three ranks of which two are made up."""

    def __init__(self, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self._change = change

    def gather(self, thing: Any) -> list[Any]:
        return [thing, thing, self._change(thing)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda own: (own[0] | {"seed": 1}, *own[1:]), "rank 2 was started with seed=1, rank 0 with seed=0"),
        (
            lambda own: (own[0] | {"task.name": "x"}, *own[1:]),
            "task.name=x, rank 0 with task.name=uav_hover",
        ),
        (lambda own: (own[0], own[1] | {"torch": "1.0"}, own[2]), r"rank 2 has torch 1\.0, rank 0 has 2"),
        (lambda own: (own[0], own[1] | {"commit": "abc"}, own[2]), "rank 2 has commit abc, rank 0 has"),
        (lambda own: (*own[:2], "a CPU with MMX"), "rank 2 computes on a CPU with MMX, rank 0 on a CPU with "),
    ],
)
def test_ranks_must_be_equal(change: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(UserError, match=f"^unequal ranks: .*{said}"):
        refuse_unequal(Together(change), compose("task=uav_hover"))


HANGING = """
import os, signal, time
from robo_ppo.run.last_words import ending_in_time
with ending_in_time(lambda: "it is whole", patience=0.3):
    if {is_heard}:
        signal.signal(signal.SIGTERM, lambda *_: None)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
"""


@pytest.mark.parametrize(("is_heard", "said"), [(True, "\nerror: it is whole\n"), (False, "")])
def test_who_hangs_ends_in_time_and_says_so_where_there_is_something_to_lose(is_heard: bool, said: str) -> None:
    began = time.monotonic()
    done = run([sys.executable, "-c", HANGING.format(is_heard=is_heard)], ROOT)
    assert (done.returncode, done.stderr) == (143, said)
    assert time.monotonic() - began < 15.0
