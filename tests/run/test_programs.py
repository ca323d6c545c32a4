"""`reward=my_reward.py`: found, checked, kept with the run, and replaced by whatever is chosen instead."""

import os
import sys
from pathlib import Path

import pytest

from robo_ppo.config import RunConfig
from robo_ppo.env.language import applied, parse, read
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.describe import describe_reward
from robo_ppo.run.folder import load_config, parse_config, portable, save_config
from tests.run.training import ROOT, run

PROGRAM = '''"""Prefer to arrive slowly."""
version = 1
weights = {"progress": 3.0, "slow_near": {"weight": 0.5}, "failure": 10}


def slow_near(goal_distance, speed, *, margin=0.3):
    return -square(speed) * exp(-goal_distance / margin)
'''
OTHER = PROGRAM.replace('"failure": 10', '"time": 1').replace("slowly", "early")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with two programs."""
    (tmp_path / "a.py").write_text(PROGRAM)
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    (tmp_path / "below" / "deeper" / "b.py").write_text(OTHER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_program_takes_the_place_of_the_whole_reward(folder: Path) -> None:
    for name in ("a.py", "./a.py", str(folder / "a.py")):
        config = compose("task=uav_nav", f"reward={name}")
        assert config.program == PROGRAM
        assert config.reward == {
            "progress": {"weight": 3.0},
            "slow_near": {"weight": 0.5, "margin": 0.3},
            "failure": {"weight": 10.0},
        }
        assert list(config.reward) == ["progress", "slow_near", "failure"]
    assert list(compose("task=uav_nav", "reward=below/deeper/b.py").reward) == ["progress", "slow_near", "time"]
    assert compose("task=uav_nav", "reward=uav_hover").program == ""
    assert compose("task=uav_hover").program == ""


def test_the_command_line_changes_a_program(folder: Path) -> None:
    changes = ("reward.progress.weight=2", "reward.slow_near.margin=0.1", "~reward.failure", "+reward.time.weight=0.1")
    config = compose("task=uav_nav", "reward=a.py", *changes)
    assert config.reward == {
        "progress": {"weight": 2},
        "slow_near": {"weight": 0.5, "margin": 0.1},
        "time": {"weight": 0.1},
    }


def test_a_program_that_is_wrong_is_told_with_its_line(folder: Path) -> None:
    (folder / "bad.py").write_text(PROGRAM.replace("exp(", "torch.exp("))
    with pytest.raises(UserError, match=r"bad.py:7: there are no dots here: '.exp'; write exp\(x\)"):
        compose("task=uav_nav", "reward=bad.py")
    with pytest.raises(UserError, match=r"the reward program none.py cannot be read: No such file"):
        compose("task=uav_nav", "reward=none.py")
    (folder / "folder.py").mkdir()
    with pytest.raises(UserError, match=r"the reward program folder.py is not a file"):
        compose("task=uav_nav", "reward=folder.py")
    (folder / "latin.py").write_bytes(PROGRAM.replace("slowly", "s\xe4umig").encode("latin-1"))
    with pytest.raises(UserError, match=r"latin.py is not a text in UTF-8"):
        compose("task=uav_nav", "reward=latin.py")
    with pytest.raises(UserError, match=r"cannot be read: File name too long"):
        read(Path("a" * 300))
    (folder / "endless.py").symlink_to("/dev/zero")
    with pytest.raises(UserError, match=r"endless.py is not a file"):
        compose("task=uav_nav", "reward=endless.py")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_that_nobody_writes_to_is_no_program(folder: Path) -> None:
    os.mkfifo(folder / "pipe.py")
    with pytest.raises(UserError, match=r"pipe.py is not a file"):
        compose("task=uav_nav", "reward=pipe.py")


HOSTILE = [
    "Plain.",
    "quotes ' and \" and ''",
    "??? and ?",
    "key: value, - item, # comment, {a: [b]}, &anchor *alias !!python/object:os.system %TAG |",
    "  spaces at both ends  ",
    "--- ... <<: null ~ yes no 1e3 0x10 2026-11-22 12:30:45",
    "$x $(x) {{x}} %(x)s @x `x`",
    "çéß → 😀 “quotes” 漢字 x²",
    "a\ttab, lines\n\n  - with\n   indents:\n\t\n",
    "x" * 900,
]


NAMES = ["null", "yes", "on", "e1", "items", "keys", "weight", "pop", "update"]


@pytest.mark.parametrize(
    ("description", "name"), [*[(text, "slow_near") for text in HOSTILE], *[("Plain.", name) for name in NAMES]]
)
def test_a_run_keeps_the_text_as_it_is(tmp_path: Path, description: str, name: str) -> None:
    text = PROGRAM.replace("Prefer to arrive slowly.", description).replace("slow_near", name)
    config = applied(CONFIG, parse(text, "a.py"))
    save_config(config, tmp_path)
    assert load_config(tmp_path).program == text
    assert load_config(tmp_path).reward == config.reward
    assert parse_config(portable(config), "the bundle").program == text


CONFIG = RunConfig(total_steps=1)
CONFIG.task.name = CONFIG.task.entry_point = "none"


def test_the_table_says_where_each_term_comes_from(folder: Path) -> None:
    table = describe_reward(compose("task=uav_nav", "reward=a.py"))
    assert "a program: Prefer to arrive slowly." in table
    assert [line.split()[-1] for line in table.splitlines()[2:]] == ["task", "program", "task"]
    assert "program" not in describe_reward(compose("task=uav_nav"))


def test_a_program_that_is_wrong_ends_the_command_with_2(folder: Path) -> None:
    (folder / "bad.py").write_text(PROGRAM.replace("exp(", "torch.exp("))
    done = run([sys.executable, str(ROOT / "train.py"), "task=uav_nav", "reward=bad.py"], folder)
    assert done.returncode == 2
    assert done.stderr == "error: bad.py:7: there are no dots here: '.exp'; write exp(x)\n"
    assert not (folder / "runs").exists()
