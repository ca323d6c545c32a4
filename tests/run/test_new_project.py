"""`robo-ppo new`: what it writes, and the names that it refuses. `test_pages` trains in such a project."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from robo_ppo.errors import UserError
from robo_ppo.run.new_project import main, project_files
from tests.run.training import run

COMMAND = str(Path(sys.executable).with_name("robo-ppo"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_a_project_of_that_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["reacher2"])
    files = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert set(files) == {
        "reacher2/.gitignore",
        "reacher2/README.md",
        "reacher2/pyproject.toml",
        "reacher2/reacher2/__init__.py",
        "reacher2/reacher2/arm.xml",
        "reacher2/reacher2/conf/__init__.py",
        "reacher2/reacher2/conf/randomization/reacher2.yaml",
        "reacher2/reacher2/conf/reward/reacher2.yaml",
        "reacher2/reacher2/conf/robot/reacher2.yaml",
        "reacher2/reacher2/conf/task/reacher2.yaml",
        "reacher2/reacher2/robot.py",
        "reacher2/reacher2/task.py",
        "reacher2/reacher2/terms.py",
        "reacher2/tests/test_task.py",
    }
    assert not [name for name, text in files.items() if "{{" in text or "my_project" in text or "jinja" in text]
    assert yaml.safe_load(files["reacher2/reacher2/conf/task/reacher2.yaml"])["task"]["name"] == "reacher2"
    assert "robo-ppo train task=reacher2" in capsys.readouterr().out


def test_a_hundred_lines_of_python_at_most() -> None:
    """Tests and docstrings included, blank lines not."""
    lines = [line for path, text in project_files("own") if path.suffix == ".py" for line in text.splitlines()]
    assert len([line for line in lines if line.strip()]) <= 100


def test_what_it_writes_is_well_formatted(folder: Path) -> None:
    main(["my_project"])
    (folder / "my_project/ruff.toml").write_text('line-length = 120\n[lint]\nselect = ["E", "F", "I", "B", "UP"]\n')
    ruff = str(Path(sys.executable).with_name("ruff"))
    for command in (("check",), ("format", "--check")):
        done = subprocess.run([ruff, *command, "--no-cache", "my_project"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my-project", "'my-project' cannot be the name of a Python package .*; my_project can"),
        ("2arms", "'2arms' cannot be .*; arms can"),
        ("a/b", "'a/b' cannot be .*; a_b can"),
        ("_hidden", "'_hidden' cannot be .*; hidden can"),
        ("größe", "'größe' cannot be"),
        ("", "'' cannot be the name of a Python package"),
        ("class", "'class' is a word of Python or YAML"),
        ("on", "'on' is a word of Python or YAML"),
        ("null", "'null' is a word of Python or YAML"),
        ("nan", "'nan' is a word of Python or YAML"),
        ("robo_ppo", "'robo_ppo' is the name of something else"),
        ("tests", "'tests' is the name of something else"),
        ("test", "'test' is the name of something else"),
        ("json", "'json' is the name of something else in Python"),
        ("numpy", "there is a package 'numpy' already, .*numpy"),
        ("uav_nav", "'uav_nav' is taken: robo_ppo has a reward/uav_nav.yaml"),
        ("crazyflie", "'crazyflie' is taken: robo_ppo has a robot/crazyflie.yaml"),
    ],
)
def test_names_that_are_refused(folder: Path, name: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        main([name])
    assert not list(folder.iterdir())


@pytest.mark.parametrize("arguments", [[], ["one", "two"], ["--force"], ["--help", "name"]])
def test_it_takes_one_name(folder: Path, arguments: list[str]) -> None:
    with pytest.raises(UserError, match=r"takes one name, as in robo-ppo new my_project, not "):
        main(arguments)
    assert not list(folder.iterdir())


def test_what_is_there_stays(folder: Path) -> None:
    (folder / "full").mkdir()
    (folder / "full/precious.py").write_text("x = 1\n")
    (folder / "file").write_text("x")
    for name in ("full", "file"):
        with pytest.raises(UserError, match=f"{folder / name} exists already and is not an empty folder"):
            main([name])
    assert [path.name for path in (folder / "full").iterdir()] == ["precious.py"]
    (folder / "empty").mkdir()
    main(["empty"])
    assert (folder / "empty/pyproject.toml").is_file()


def test_a_place_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/proc")
    with pytest.raises(UserError, match="cannot write /proc/own_project: "):
        main(["own_project"])


def test_projects_do_not_offer_the_same_options() -> None:
    offered = [{path.name for path, _ in project_files(name) if path.suffix == ".yaml"} for name in ("one", "two")]
    assert offered == [{"one.yaml"}, {"two.yaml"}]


def test_the_command(tmp_path: Path) -> None:
    done = run([COMMAND, "new", "--help"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: robo-ppo new <my_project>")
    done = run([COMMAND, "new", "my-project"], tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 'my-project' cannot be the name of a Python package")
    assert done.stderr.count("\n") == 1
