"""Ranks work together, and none is left alone: whatever becomes of one, the job ends with one message and no orphan."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from robo_ppo.errors import UserError
from robo_ppo.run import checkpoint
from robo_ppo.run.equality import RanksDiffer
from tests.run.training import TINY, command, final_state, start, train_in, wait_for_rows

OWN = str(Path(__file__).with_name("own_package"))
TWO = (*TINY, "ranks=2", "total_steps=100_000", "validation.every=10_000_000")


def test_ranks_fly_their_own_episodes_and_learn_the_same(unbroken: Callable[[int], Path]) -> None:
    state = final_state(unbroken(2))
    ids = [state[f"/{rank}/environment/episode:id"].tolist() for rank in (0, 1)]
    assert [{i % 2 for i in own} for own in ids] == [{0}, {1}]
    for name, value in state.items():
        if name.startswith("/0/ppo/model/"):
            assert value.equal(state[name.replace("/0/", "/1/", 1)]), name


def test_a_killed_rank_ends_the_job_with_one_message(tmp_path: Path) -> None:
    process = start(command(*TWO, f"runs={tmp_path}"), tmp_path)
    folder = wait_for_rows(process, tmp_path, 3)
    (other,) = psutil.Process(process.pid).children()
    other.kill()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 2
    reason = "rank 1 was ended by SIGKILL (the system does that when memory runs out)"
    left = f"the checkpoint of step 0 is whole; go on with: python train.py resume={folder}"
    assert err == f"error: {reason}; {left}\n"
    assert checkpoint.newest(folder).name == "step_000000000000.pt"


@pytest.fixture
def second_rank_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the second rank alone raise something."""
    monkeypatch.syspath_prepend(OWN)  # which the ranks can import from too
    return lambda way: monkeypatch.setenv("ODD_RANK", way)


def test_a_mistake_that_one_rank_alone_sees_is_told(
    second_rank_goes_wrong: Callable[[str], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    second_rank_goes_wrong("mistake")
    with pytest.raises(UserError, match=r"^this rank has no camera$"):
        train_in(tmp_path, "ranks=2", "task.entry_point=odd_tasks:OddTask")
    assert capfd.readouterr().err == ""


def test_a_fault_of_one_rank_shows_its_stack_trace(
    second_rank_goes_wrong: Callable[[str], None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    second_rank_goes_wrong("fault")
    with pytest.raises(SystemExit) as ended:  # which prints it, and ends the program with 1
        train_in(tmp_path, "ranks=2", "task.entry_point=odd_tasks:OddTask")
    assert ended.value.code == "error: rank 1 failed; its stack trace stands above"
    shown = capfd.readouterr().err
    assert "RuntimeError: boom" in shown
    assert shown.count("Traceback") == 1


def test_weights_that_differ_are_a_fault_and_are_not_saved(
    second_rank_goes_wrong: Callable[[str], None], tmp_path: Path
) -> None:
    second_rank_goes_wrong("drift")
    said = r"after 1,024 steps model\.\S+ on rank 1 differs from rank 0's, by up to \S+e-0[56]\. .* checkpoint before"
    with pytest.raises(RanksDiffer, match=said):
        train_in(tmp_path, "ranks=2", "task.entry_point=odd_tasks:OddTask")
    assert checkpoint.newest(tmp_path).name == "step_000000000000.pt"


@pytest.mark.parametrize("stage", [pytest.param("at the start", marks=pytest.mark.slow), "in mid-training"])
def test_no_rank_survives_the_main_process(tmp_path: Path, stage: str) -> None:
    process = start(command(*TWO, f"runs={tmp_path}"), tmp_path)
    main = psutil.Process(process.pid)
    if stage == "at the start":
        wait_for_rank(main)
    else:
        wait_for_rows(process, tmp_path, 3)
    children = main.children(recursive=True)
    assert children
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def wait_for_rank(main: psutil.Process) -> None:
    """Wait until another rank runs; a training has other children too, which soon end."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in main.children():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if "robo_ppo.run.rank" in child.cmdline():
                    return
        time.sleep(0.01)
    raise AssertionError("no other rank has started")
