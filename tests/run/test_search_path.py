"""Installed packages announce their configurations, and every command finds them; a broken one is told."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.search_path import announced, offered_configs
from tests.run.training import run

COMMAND = str(Path(sys.executable).with_name("robo-ppo"))
REWARD = "progress: {weight: 7.0}\n"
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a distribution into a folder that is on the path: its files, and what it announces."""
    folder = tmp_path / "installed"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def installed(name: str, files: dict[str, str], package: str | None = None) -> Path:
        information = folder / f"{name}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[robo_ppo.conf]\n{name} = {package or f'{name}.conf'}\n")
        for path, text in files.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / path).write_text(text)
        return folder

    return installed


def files(**options: str) -> dict[str, str]:
    """A package with a `conf` that has these files: `reward__theirs` is reward/theirs.yaml."""
    configs = {f"conf/{name.replace('__', '/')}.yaml": text for name, text in options.items()}
    return {"__init__.py": "", "conf/__init__.py": "", **configs}


def test_nobody_announces_anything_by_default() -> None:
    assert announced() == []
    assert set(offered_configs().values()) == {"robo_ppo.conf"}
    assert {"train.yaml", "task/uav_nav.yaml", "hydra/help/train.yaml"} <= set(offered_configs())


def test_an_announced_option_is_composed(install: Install) -> None:
    install("theirs_a", files(reward__theirs_a=REWARD))
    install("theirs_b", files(task__theirs_b="# @package _global_\ndefaults: [uav_hover]\ntask: {name: theirs_b}\n"))
    config = compose("task=theirs_b", "reward=theirs_a")
    assert (config.task.name, config.task.episode_seconds) == ("theirs_b", 6.0)
    assert config.reward == {"progress": {"weight": 7.0}}


def test_every_command_finds_it_from_any_folder(install: Install, tmp_path: Path) -> None:
    folder = str(install("theirs_c", files(task__theirs_c="# @package _global_\n", randomization__theirs_c="{}\n")))
    listed = run([COMMAND, "train", "--help"], tmp_path, PYTHONPATH=folder)
    assert (listed.returncode, listed.stderr) == (0, "")
    (tasks,) = [line for line in listed.stdout.splitlines() if line.startswith("task: ")]
    assert {"theirs_c", "uav_nav"} <= set(tasks.removeprefix("task: ").split(", "))
    nearest = run([COMMAND, "train", "task=theirs_d"], tmp_path, PYTHONPATH=folder)
    assert nearest.stderr == "error: there is no task=theirs_d; did you mean theirs_c?\n"
    evaluated = run([COMMAND, "evaluate", "run=latest", "randomization=theirs_d"], tmp_path, PYTHONPATH=folder)
    assert evaluated.stderr == "error: there is no randomization=theirs_d; did you mean theirs_c?\n"


@pytest.mark.parametrize(
    ("name", "content", "package", "said"),
    [
        (
            "gone",
            {},
            None,
            r"'gone' says that its configurations are in gone.conf, .* imported: No module named 'gone'",
        ),
        ("half", {"__init__.py": ""}, None, "in half.conf, which cannot be imported: No module named 'half.conf'"),
        ("odd", {"__init__.py": "\n1 / 0"}, None, r"ZeroDivisionError: division by zero \(.*/odd/__init__.py:2\)"),
        ("bad", {"__init__.py": "", "conf/__init__.py": "("}, None, r"SyntaxError: .* \(.*/bad/conf/__init__.py:1\)"),
        ("bare", {"__init__.py": "", "conf/a.yaml": ""}, None, "bare.conf, which must be a folder with an __init__.py"),
        ("flat", {"__init__.py": "", "conf.py": ""}, None, "flat.conf, which must be a folder with an __init__.py"),
        ("path", {"__init__.py": ""}, "path/conf", "in path/conf, which cannot be imported: No module named"),
    ],
    ids=["gone", "half", "odd", "bad", "bare", "flat", "path"],
)
def test_a_broken_package_is_named(
    install: Install, name: str, content: dict[str, str], package: str | None, said: str
) -> None:
    install(name, content, package)
    with pytest.raises(UserError, match=said):
        offered_configs()


def test_two_packages_with_the_same_option(install: Install) -> None:
    install("twin_a", files(reward__twin=REWARD))
    assert "reward/twin.yaml" in offered_configs()
    install("twin_b", files(reward__twin=REWARD))
    with pytest.raises(UserError, match=r"twin_a.conf and twin_b.conf both have reward/twin.yaml; rename one"):
        offered_configs()


def test_what_we_offer_cannot_be_replaced_in_silence(install: Install, tmp_path: Path) -> None:
    folder = str(install("greedy", files(reward__uav_nav=REWARD)))
    done = run([COMMAND, "train", "info=true"], tmp_path, PYTHONPATH=folder)
    assert done.returncode == 2
    assert done.stderr == "error: robo_ppo.conf and greedy.conf both have reward/uav_nav.yaml; rename one of them\n"
