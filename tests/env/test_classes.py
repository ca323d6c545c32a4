"""A person's own classes: what is wrong with them ends in a message with their file and line."""

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import pytest

from robo_ppo.env.build import build
from robo_ppo.env.classes import load_class
from robo_ppo.env.robot import ActionInterface, Robot
from robo_ppo.env.scenes import Columns
from robo_ppo.env.task import Task
from robo_ppo.errors import UserError
from tests.env import toy
from tests.env.toy import Cart, Visits, config

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a package of one's own, with `task.py` and other modules, and return its name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(name: str, task: str, **others: str) -> str:
        (tmp_path / name).mkdir()
        for module, text in {"__init__": "", "task": task, **others}.items():
            (tmp_path / name / f"{module}.py").write_text(text)
        return name

    return written


@pytest.mark.parametrize(
    ("name", "task", "said"),
    [
        ("pkg_syntax", "x = 1\ndef f(:\n", r"SyntaxError: invalid syntax \(.*pkg_syntax/task.py:2\)$"),
        ("pkg_indent", "def f():\nreturn 1\n", r"IndentationError: .* \(.*pkg_indent/task.py:2\)$"),
        ("pkg_library", "\nimport numppy\n", r"No module named 'numppy' \(.*pkg_library/task.py:2\)$"),
        ("pkg_name", "from torch import Tensr\n", r"ImportError: cannot import name 'Tensr' .*pkg_name/task.py:1\)$"),
        ("pkg_deep", "from pkg_deep import other\n", r"NameError: name 'undefined' .*pkg_deep/other.py:3\)$"),
        ("pkg_called", "import json\n\njson.loads('{')\n", r"JSONDecodeError: .* \(.*pkg_called/task.py:3\)$"),
        ("pkg_empty", "class Tusk: ...\n", r"no such class \(did you mean Tusk\?\); it must be 'module:Class'$"),
        ("pkg_other", "class Task: ...\n", " is not a Task$"),
        ("pkg_value", "Task = 3\n", " is not a Task$"),
    ],
)
def test_what_cannot_be_loaded_is_told_with_its_line(write: Write, name: str, task: str, said: str) -> None:
    write(name, task, other="\n\nundefined\n")
    with pytest.raises(UserError, match=f"^task.entry_point={name}.task:Task.*{said}"):
        load_class(f"{name}.task:Task", Task, "task.entry_point")


@pytest.mark.parametrize("entry_point", ["pkg_nowhere.task:Task", ":Task", "", ".task:Task", "json.nothing:Task"])
def test_what_is_not_there(entry_point: str) -> None:
    with pytest.raises(UserError, match=r"it must be 'module:Class' of an installed package$"):
        load_class(entry_point, Task, "task.entry_point")


class Scenes(Visits):
    """Draws what `changes` makes of right scenes."""

    changes: Columns | None = None

    def scenes(self, rng: np.random.Generator, count: int) -> Columns:
        right = {"qpos": np.zeros((count, 1)), "qvel": np.zeros((count, 1)), "target": np.ones((count, 1))}
        drawn = right | (self.changes or {})
        return {name: values for name, values in drawn.items() if values.size}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"qpos": np.zeros(0)}, r"scenes\(\) must draw 'qpos', \(count, 1\)"),
        ({"qvel": np.zeros(0)}, r"scenes\(\) must draw 'qvel', \(count, 1\)"),
        ({"qpos": np.zeros((512, 7))}, r"must draw 'qpos' as \(count, 1\), not \(512, 7\)"),
        ({"target": np.zeros(512)}, r"must draw 'target' as \(count, 1\), not \(512,\)"),
        ({"target": np.zeros((3, 1))}, r"must draw 'target' as \(count, 1\), not \(3, 1\)"),
        ({"visited": np.zeros((512, 1))}, r"must draw 'visited' as \(count\), not \(512, 1\)"),
        ({"targt": np.zeros((512, 1))}, r"draws 'targt', which is no state; did you mean target\?"),
    ],
)
def test_scenes_that_do_not_fit(monkeypatch: pytest.MonkeyPatch, changes: Columns, said: str) -> None:
    monkeypatch.setattr(Scenes, "changes", changes)
    line = Scenes.scenes.__code__.co_firstlineno
    with pytest.raises(UserError, match=rf"{said} \(.*test_classes.py:{line}\)"):
        build(config(entry_point="tests.env.test_classes:Scenes"), "train", 2, episodes=4)


def two(names: int = 2, units: int = 2, lower: float = -1.0) -> ActionInterface:
    return ActionInterface(("a", "b")[:names], ("N", "N")[:units], (lower,) * names, (1.0,) * names)


class OddCart(Cart):
    """A cart with another action interface, and other fields."""

    own_action: ActionInterface | None = None
    own_fields: tuple[str, ...] = ("qpos", "qvel")

    def __init__(self, action: str) -> None:
        super().__init__(action)
        self.action = self.own_action or self.action

    def spec(self) -> mujoco.MjSpec:
        return super().spec()

    def fields(self) -> tuple[str, ...]:
        return self.own_fields


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"own_action": two()}, r"cart commands 2 numbers \(a, b\), but its model has 1 actuators"),
        ({"own_action": two(units=1)}, "has 2 names, but 1 units"),
        (
            {"own_action": two(names=1, units=1, lower=1.0)},
            "the command 'a' of cart must go from less to more, not 1.0",
        ),
        ({"own_fields": ("qpos", "qvle")}, r"cart reads 'qvle', which is no field .*; did you mean qvel"),
    ],
)
def test_robots_that_do_not_fit(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str) -> None:
    for name, value in changes.items():
        monkeypatch.setattr(OddCart, name, value)
    with pytest.raises(UserError, match=said):
        build(config(robot="tests.env.test_classes:OddCart"), "train", 2, episodes=4)


class FailingScenes(Visits):
    """Draws what cannot be drawn."""

    def scenes(self, rng: np.random.Generator, count: int) -> Columns:
        high = np.ones(3)
        return {"qpos": rng.uniform(0.0, high, (count, 1))}


def test_scenes_that_fail_are_told_with_the_line_that_failed() -> None:
    line = FailingScenes.scenes.__code__.co_firstlineno + 2
    with pytest.raises(UserError, match=rf"^scenes\(\) fails: ValueError: .* \(.*test_classes.py:{line}\)$"):
        build(config(entry_point="tests.env.test_classes:FailingScenes"), "train", 2, episodes=4)


class ForgetfulScenes(Visits):
    """Draws, and keeps it to itself."""

    def scenes(self, rng: np.random.Generator, count: int) -> Columns:  # pyright: ignore[reportReturnType]
        rng.uniform(size=count)


def test_scenes_that_return_nothing() -> None:
    with pytest.raises(UserError, match=r"^scenes\(\) must return arrays by name, not NoneType \(.*test_classes.py:"):
        build(config(entry_point="tests.env.test_classes:ForgetfulScenes"), "train", 2, episodes=4)


class Failing:
    """What raises while it is made keeps its stack trace, which names the line."""

    class InConstructor(Visits):
        def __init__(self, robot: Robot, settings: object, control_period: float) -> None:
            super().__init__(robot, settings, control_period)
            self.period = 1.0 / (control_period - control_period)

    class InSpec(Cart):
        def spec(self) -> mujoco.MjSpec:
            return mujoco.MjSpec.from_string("<mujoco><cart/></mujoco>")


@pytest.mark.parametrize("failing", [Failing.InConstructor, Failing.InSpec])
def test_an_exception_keeps_its_stack_trace(monkeypatch: pytest.MonkeyPatch, failing: type) -> None:
    monkeypatch.setattr(toy, "Own", failing, raising=False)
    own = {"robot" if issubclass(failing, Robot) else "entry_point": "tests.env.toy:Own"}
    with pytest.raises((ValueError, ZeroDivisionError)) as raised:
        build(config(**own), "train", 2, episodes=4)
    last = [frame for frame in traceback.extract_tb(raised.tb) if frame.filename == __file__][-1]
    assert last.name in ("__init__", "spec")
