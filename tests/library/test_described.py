"""What a task's source says of it is read, and nothing of a stranger's is imported on the way."""

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from robo_ppo.library.described import described
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.contract import Contract
from tests.library.librarian import NAV

FROM_CONTRACT = "uav_nav with crazyflie: takes position, "


def contract(config: str) -> Contract:
    whole = read_bundle(NAV).contract
    return replace(whole, training=replace(whole.training, config=config))


def of(entry_point: str) -> str:
    return described(contract(f"task: {{entry_point: '{entry_point}'}}"))


@pytest.fixture
def strangers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "strangers_project"
    (package / "tasks").mkdir(parents=True)
    for folder in (package, package / "tasks"):
        (folder / "__init__.py").write_text("raise SystemExit('imported')\n")
    source = '"""`gate`: fly through\na gate.\n\nMore."""\nraise SystemExit\nclass Gate:\n    """It moves."""\n'
    (package / "tasks" / "gate.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    return package


def test_a_task_of_ones_own_is_read_and_not_run(strangers: Path) -> None:
    assert of("strangers_project.tasks.gate:Gate") == "Fly through a gate. It moves."
    assert not [name for name in sys.modules if name.startswith("strangers_project")]


@pytest.mark.parametrize(
    "entry_point",
    [
        "strangers_project.tasks.gate:Other",
        "strangers_project.tasks.none:Gate",
        "strangers_project.none.gate:Gate",
        "strangers_project.tasks:Gate",
        "no_such_project.tasks:Gate",
        "robo_ppo.no_such.module:Gate",
        "robo_ppo.:Gate",
        "..:Gate",
        "a..b:c",
        "sys:exit",
        "math:sin",
        "nothing",
        "",
    ],
)
def test_a_task_that_is_not_here_is_described_by_its_contract(strangers: Path, entry_point: str) -> None:
    assert of(entry_point).startswith(FROM_CONTRACT)


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[]",
        "task: 1",
        "task: {}",
        "task: {entry_point: 1}",
        "{",
        "\x00",
        "[" * 1000,
        "!!python/object:os.system {}",
    ],
)
def test_any_configuration_will_do(config: str) -> None:
    assert described(contract(config)).startswith(FROM_CONTRACT)


def test_an_environment_of_another_library_is_not_described_by_its_adapter() -> None:
    config = "{env_id: Pendulum-v1, task: {entry_point: 'robo_ppo.env.gym:GymEnvironment'}}"
    assert described(contract(config)).startswith(FROM_CONTRACT)


def test_a_configuration_that_grows_without_end_is_not_unfolded() -> None:
    names = "abcdefghij"
    bomb = "a: &a {x: 1}\n" + "".join(
        f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 9)}]}}\n" for a, b in itertools.pairwise(names)
    )
    assert described(contract(bomb)).startswith(FROM_CONTRACT)
