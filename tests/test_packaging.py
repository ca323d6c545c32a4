"""The parts of robo_ppo have the same names everywhere: editable, as a wheel elsewhere, and for the root scripts."""

import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
MAPPED = ("conf", "export", "policies", "robots", "tasks")
FOLDERS = ("robo_ppo", *MAPPED)
ONBOARD = ROOT / "export/onboard"
PACKAGES = ("robo_ppo", "robo_ppo_onboard")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc")

PROBE = """
import importlib, importlib.resources, json, sys
found = {name: importlib.import_module(name).__file__ for name in sys.argv[1:]}
conf = importlib.resources.files("robo_ppo.conf")
print(json.dumps({
    "found": found,
    "groups": sorted(entry.name for entry in conf.iterdir() if entry.name.endswith(".yaml") or entry.is_dir()),
    "generic": [name for name in ("conf", "export", "robots", "tasks", "tests") if importlib.util.find_spec(name)],
}))
"""


def settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def installed_name(path: Path) -> str:
    """Where a file of the repository lies in a wheel: tasks/uav/nav.py in robo_ppo/tasks/uav/nav.py."""
    if path.is_relative_to(ONBOARD):
        return (Path("robo_ppo_onboard") / path.relative_to(ONBOARD)).as_posix()
    relative = path.relative_to(ROOT).as_posix()
    return relative if relative.split("/")[0] == "robo_ppo" else f"robo_ppo/{relative}"


def library_files() -> list[Path]:
    """Every file that an installed copy needs: all that lie in the library's folders."""
    return sorted(
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not (path.parent == ONBOARD and path.suffix in (".md", ".toml"))  # of its own distribution
    )


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def probe(python: Path | str, *options: str, cwd: Path) -> dict[str, Any]:
    names = [*PACKAGES, *(f"robo_ppo.{name}" for name in MAPPED), "robo_ppo.tasks.uav", "robo_ppo.robots.crazyflie"]
    return json.loads(run(python, *options, "-c", PROBE, *names, cwd=cwd))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing that an earlier build left behind gets in."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, source / folder, ignore=IGNORED)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", target, source, cwd=target)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def python_elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment with nothing but the wheel in it."""
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    options = ("--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    return python


def test_every_package_is_listed() -> None:
    folders = {path.parent for path in library_files() if path.suffix == ".py"}
    packages = {installed_name(folder).replace("/", ".") for folder in folders}
    setuptools = settings()["tool"]["setuptools"]
    assert sorted(setuptools["packages"]) == sorted(packages)
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]
    mapped = {f"robo_ppo.{name}": name for name in MAPPED}
    assert setuptools["package-dir"] == {"robo_ppo": "robo_ppo", "robo_ppo_onboard": "export/onboard"} | mapped


def test_the_wheel_holds_every_file_and_no_generic_name(wheel: Path) -> None:
    contents = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in contents}
    assert {name for name in top if not name.endswith(".dist-info")} == set(PACKAGES)
    inside = sorted(name for name in contents if name.split("/")[0] in PACKAGES)
    assert inside == sorted(installed_name(path) for path in library_files())


def test_the_wheel_works_in_an_empty_environment(python_elsewhere: Path, tmp_path: Path) -> None:
    seen = probe(python_elsewhere, cwd=tmp_path)
    assert all(Path(file).is_relative_to(python_elsewhere.parents[1]) for file in seen["found"].values())
    assert set(seen["groups"]) >= {path.name for path in (ROOT / "conf").iterdir() if path.suffix == ".yaml"}
    assert seen["generic"] == []


def test_the_wheel_brings_the_command(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    entry_points = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "robo-ppo = robo_ppo.command_line:main" in archive.read(entry_points).decode()


@pytest.mark.parametrize("options", [(), ("-I",)], ids=["from the root, as a script", "from the installation alone"])
def test_the_editable_installation_finds_the_same_names(options: tuple[str, ...]) -> None:
    seen = probe(sys.executable, *options, cwd=ROOT)
    folders = {name: ROOT / name.removeprefix("robo_ppo.").replace(".", "/") for name in seen["found"]}
    expected = {name: folder / "__init__.py" for name, folder in (folders | {"robo_ppo_onboard": ONBOARD}).items()}
    assert {name: Path(file) for name, file in seen["found"].items()} == expected


def test_a_script_in_the_root_finds_them_whatever_the_folder_it_is_started_from(tmp_path: Path) -> None:
    """`python train.py` puts the root first on sys.path, where robo_ppo/ lies without its mapped parts."""
    source = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import robo_ppo.tasks.uav as uav; print(uav.__file__)"
    assert Path(run(sys.executable, "-c", source, cwd=tmp_path).strip()) == ROOT / "tasks/uav/__init__.py"


def test_constraints_pin_what_is_required() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {canonicalize_name(pin.name): pin.specifier for pin in map(Requirement, lines[1:])}
    project = settings()["project"]
    required = [Requirement(text) for text in project["dependencies"] + project["optional-dependencies"]["dev"]]
    for requirement in required:
        (pin,) = pins[canonicalize_name(requirement.name)]
        assert pin.operator == "==", f"{requirement.name} is pinned to one version"
        assert "+" not in pin.version, f"{requirement.name}: a local build is not what others can install"
        assert requirement.specifier.contains(pin.version)
    assert {"torch", "mujoco", "mujoco-core"} <= set(pins)
