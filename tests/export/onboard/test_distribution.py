"""`robo-ppo-onboard` as a distribution: its wheel alone, in an environment with nothing but what it asks for."""

import importlib.metadata
import json
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[3]
ONBOARD = ROOT / "export/onboard"
HEAVY = ("torch", "mujoco", "hydra", "onnx", "onnxruntime", "pymavlink", "cflib", "yaml", "google", "robo_ppo")

IMPORTS = """
import importlib, json, sys
for name in sys.argv[2:]:
    importlib.import_module(name)
print(json.dumps(sorted(set(json.loads(sys.argv[1])) & set(sys.modules))))
"""

FLIGHT = """
import importlib.util, json, sys
import numpy as np
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.links.simulated import Fleet
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.verify import verify

policy = Policy(read_bundle(sys.argv[1]))
fleet = Fleet(policy, 2)
for _ in range(50):
    measured = {port.name: np.zeros((2, *port.shape), np.float32) for port in policy.contract.inputs}
    measured["position"][:, 2], measured["attitude"][:, 0], measured["ranges"][:] = 1.0, 1.0, 3.0
    commands = fleet.fly(measured)
print(json.dumps({
    "error": verify(sys.argv[1]).max_error,
    "seconds": 50 * policy.contract.control_period,
    "finite": bool(np.isfinite(commands).all()),
    "interventions": len(fleet.interventions()),
    "importable": [name for name in sys.argv[2:] if importlib.util.find_spec(name)],
}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def settings() -> dict[str, Any]:
    return tomllib.loads((ONBOARD / "pyproject.toml").read_text(encoding="utf-8"))


def modules() -> list[str]:
    names = [path.relative_to(ONBOARD).with_suffix("").parts for path in sorted(ONBOARD.rglob("*.py"))]
    return [".".join(("robo_ppo_onboard", *(part for part in parts if part != "__init__"))) for parts in names]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that nothing that an earlier build left behind gets in."""
    source, target = tmp_path_factory.mktemp("source") / "onboard", tmp_path_factory.mktemp("wheel")
    shutil.copytree(ONBOARD, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", target, source, cwd=target)
    return next(target.glob("*.whl"))


@pytest.fixture(scope="module")
def python_on_board(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and, linked from this one, what the wheel asks for; no more."""
    folder = tmp_path_factory.mktemp("on_board") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin/python"
    options = ("--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=folder)
    site = next(folder.glob("lib/python*/site-packages"))
    for path in needed(settings()["project"]["dependencies"]):
        if not (site / path.name).exists():
            (site / path.name).symlink_to(path)
    return python


def needed(requirements: list[str]) -> Iterator[Path]:
    """Everything in site-packages that belongs to these distributions and to those that they ask for in turn."""
    waiting, seen = list(requirements), set[str]()
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(requirement.name)
        distribution = importlib.metadata.distribution(requirement.name)
        waiting += distribution.requires or []
        tops = {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}
        yield from (Path(str(distribution.locate_file(top))) for top in sorted(tops))


def test_it_asks_for_three_packages_and_python_3_8() -> None:
    project = settings()["project"]
    assert project["name"] == "robo-ppo-onboard"
    assert project["requires-python"] == ">=3.8"
    assert [Requirement(text).name for text in project["dependencies"]] == ["numpy", "onnxruntime", "PyYAML"]


def test_every_package_is_listed() -> None:
    packages = {
        name for name, file in zip(modules(), sorted(ONBOARD.rglob("*.py")), strict=True) if "__init__" in file.name
    }
    assert sorted(settings()["tool"]["setuptools"]["packages"]) == sorted(packages)


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    contents = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    expected = [f"robo_ppo_onboard/{path.relative_to(ONBOARD).as_posix()}" for path in ONBOARD.rglob("*.py")]
    assert sorted(contents) == sorted(expected)


def test_the_wheel_alone_verifies_and_flies(python_on_board: Path, tmp_path: Path) -> None:
    without = ("torch", "mujoco", "hydra", "onnx", "onnxscript", "scipy", "robo_ppo")
    flown = json.loads(run(python_on_board, "-I", "-c", FLIGHT, ROOT / "policies/uav_nav.onnx", *without, cwd=tmp_path))
    assert flown.pop("error") <= 1e-5
    assert flown == {"seconds": 1.0, "finite": True, "interventions": 0, "importable": []}


def test_the_command_line_helps_and_refuses(python_on_board: Path, tmp_path: Path) -> None:
    for command in ((python_on_board, "-I", "-m", "robo_ppo_onboard"), (python_on_board.parent / "robo-ppo-onboard",)):
        assert "bundle=<policy.onnx>" in run(*command, "--help", cwd=tmp_path)
        wrong = subprocess.run([*command, "bundel=x"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert wrong.returncode == 2
        assert wrong.stderr == "error: there is no setting 'bundel'; did you mean bundle?\n"


def test_importing_it_loads_nothing_heavy() -> None:
    """Where all of it is installed: what is not loaded costs a companion computer no time."""
    base = [name for name in modules() if not name.startswith("robo_ppo_onboard.links.") or name.endswith("simulated")]
    assert "robo_ppo_onboard.controller" in base
    assert json.loads(run(sys.executable, "-c", IMPORTS, json.dumps(HEAVY), *base, cwd=ROOT)) == []
