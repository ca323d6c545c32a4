"""The house keeps its shape: imports run one way, files stay short and say what they are, skips are decided on."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 500

# Folders at the top of the repository that are imported as robo_ppo.<name>.
MAPPED = ("conf", "export", "policies", "robots", "tasks")

# The package that flies policies: a distribution of its own, which lies inside another folder.
ONBOARD = "robo_ppo_onboard"

# What each part may import besides itself, and whatever those may import in turn. A part that is missing here is a
# failure of the test, not a freedom.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    ONBOARD: (),
    "robo_ppo.errors": (ONBOARD,),
    "robo_ppo.atomic": (),
    "robo_ppo.config": ("robo_ppo.errors",),
    "robo_ppo.conf": (),
    "robo_ppo.policies": (),
    "robo_ppo.sim": ("robo_ppo.errors",),
    "robo_ppo.learn": ("robo_ppo.errors", "robo_ppo.config"),
    "robo_ppo.env": ("robo_ppo.sim", "robo_ppo.errors", "robo_ppo.config", ONBOARD),
    "robo_ppo.tasks": ("robo_ppo.env",),
    "robo_ppo.robots": ("robo_ppo.env",),
    "robo_ppo.export": ("robo_ppo.env", "robo_ppo.learn", "robo_ppo.atomic", ONBOARD),
    # The entry point of a command that needs runs; nothing imports it.
    "robo_ppo.export.__main__": ("robo_ppo.run",),
    "robo_ppo.run": ("robo_ppo.env", "robo_ppo.learn", "robo_ppo.export"),
    "robo_ppo.shaping": ("robo_ppo.run",),
    "robo_ppo.library": ("robo_ppo.shaping",),
    # `robo-ppo <command>`: it starts every command, wherever that lives, and nothing in the house imports it.
    "robo_ppo.command_line": ("robo_ppo.run", "robo_ppo.shaping", "robo_ppo.library"),
    # A command: it stands where people look for it, and its body is part of `run`, which films and plots.
    "robo_ppo.export.demo": ("robo_ppo.run",),
}


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


LIBRARY = python_files("robo_ppo", *MAPPED)
FLIES = python_files("export/onboard")
SCRIPTS = sorted(ROOT.glob("*.py"))
EVERYTHING = [*LIBRARY, *SCRIPTS, *python_files("benchmarks", "tests")]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    """Where a file of the library is imported from: tasks/uav/nav.py is robo_ppo.tasks.uav.nav."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[:2] == ("export", "onboard"):
        parts = (ONBOARD, *parts[2:])
    elif parts[0] != "robo_ppo":
        parts = ("robo_ppo", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str | None:
    """The part that a module (or a name within one) belongs to; None for robo_ppo itself and for other libraries."""
    parts = [part for part in MAY_IMPORT if module == part or module.startswith(part + ".")]
    return max(parts, key=len, default=None)


def imports_of(module: str, is_package: bool, source: str) -> Iterator[tuple[int, str]]:
    """Every import in a module, wherever it stands, as (line, absolute name)."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def wrong_imports(module: str, is_package: bool, source: str) -> list[str]:
    """What a module imports against the direction of the house, one sentence each."""
    own = part_of(module)
    wrong: list[str] = []
    for line, name in imports_of(module, is_package, source):
        other = part_of(name)
        if f"{name}.".startswith("robo_ppo.export.onboard."):
            wrong.append(f"line {line}: '{name}' is imported as '{name.replace('robo_ppo.export.onboard', ONBOARD)}'")
        elif name.split(".")[0] in MAPPED:
            wrong.append(f"line {line}: '{name}' is imported as 'robo_ppo.{name}'")
        elif own and other and other != own and other not in reachable(own):
            wrong.append(f"line {line}: {own} may not import {other} ('{name}')")
    return wrong


def reachable(part: str) -> set[str]:
    direct = set(MAY_IMPORT[part])
    return direct.union(*(reachable(other) for other in direct))


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_imports_run_one_way(path: Path) -> None:
    module = module_of(path)
    assert module == "robo_ppo" or part_of(module), f"{module} is in no part of the house: add it to MAY_IMPORT"
    assert not wrong_imports(module, path.name == "__init__.py", path.read_text(encoding="utf-8"))


def test_what_is_mapped_is_imported_by_its_name_in_scripts_and_tests() -> None:
    wrong = {
        name_of(path): wrong_imports(path.stem, False, path.read_text()) for path in EVERYTHING if path not in LIBRARY
    }
    assert not {path: sentences for path, sentences in wrong.items() if sentences}


@pytest.mark.parametrize(
    ("module", "source", "refused"),
    [
        ("robo_ppo.sim.mujoco_cpu", "from robo_ppo.errors import UserError", False),
        ("robo_ppo.sim.mujoco_cpu", "from robo_ppo import __version__", False),
        ("robo_ppo.sim.mujoco_cpu", "from robo_ppo import env", True),
        ("robo_ppo.sim.mujoco_cpu", "def f():\n    import robo_ppo.env.signals", True),
        ("robo_ppo.learn.ppo", "from ..env import signals", True),
        ("robo_ppo.learn.ppo", "from . import gaussian", False),
        ("robo_ppo.learn.ppo", "from ..learn.gaussian import Gaussian", False),
        ("robo_ppo.env.task", "from robo_ppo.sim.simulation import Simulation", False),
        ("robo_ppo.env.task", "from robo_ppo.tasks.uav import nav", True),
        ("robo_ppo.tasks.uav.nav", "from robo_ppo.robots.crazyflie import robot", True),
        ("robo_ppo.run.train", "from robo_ppo.sim.mujoco_cpu import MujocoCpu", False),
        ("robo_ppo.run.train", "from tasks.uav import nav", True),
        ("robo_ppo_onboard.controller", "from robo_ppo.export.bundle import Bundle", True),
        ("robo_ppo_onboard.controller", "from robo_ppo.errors import UserError", True),
        ("robo_ppo_onboard.links.simulated", "from ..contract import Contract", False),
        ("robo_ppo.export.bundle", "from robo_ppo_onboard.controller import Controller", False),
        ("robo_ppo.export.bundle", "from robo_ppo.export.onboard.controller import Controller", True),
        ("robo_ppo.export.bundle", "from .onboard.controller import Controller", True),
        ("robo_ppo.export.bundle", "from robo_ppo.export import onboard", True),
        ("robo_ppo.sim.mujoco_cpu", "from robo_ppo_onboard.errors import UserError", False),
        ("robo_ppo.export.bundle", "from robo_ppo.environment_of_another_kind import x", False),
        ("robo_ppo.export.bundle", "from robo_ppo.run import train", True),
    ],
)
def test_the_rule_tells_right_imports_from_wrong_ones(module: str, source: str, refused: bool) -> None:
    assert bool(wrong_imports(module, False, source)) == refused


@pytest.mark.parametrize("path", FLIES, ids=name_of)
def test_what_flies_runs_on_python_3_8_and_knows_itself_by_no_name(path: Path) -> None:
    """Imports within it are relative, so that it works from wherever it was put."""
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        assert not [name for name in names if name.startswith("robo_ppo")], f"line {getattr(node, 'lineno', 0)}"


def test_no_part_of_the_house_depends_on_itself() -> None:
    assert not [part for part in MAY_IMPORT if part in reachable(part)]


@pytest.mark.parametrize("path", EVERYTHING, ids=name_of)
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= LONGEST_FILE, f"no file is longer than {LONGEST_FILE} lines"
    assert ast.get_docstring(ast.parse(source)), "a module starts with a docstring"


def test_a_skip_that_nobody_decided_on_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((ROOT / "tests/conftest.py").read_text(encoding="utf-8"))
    (tmp_path / "allowed_skips.txt").write_text("# decided\ntest_skips.py::test_allowed | no * here\n")
    (tmp_path / "test_skips.py").write_text(
        "import pytest\n"
        "def test_allowed(): pytest.skip('no device here')\n"
        "def test_for_another_reason(): pytest.skip('too lazy')\n"
        "@pytest.mark.skip(reason='no device here')\n"
        "def test_marked(): pass\n"
        "@pytest.mark.xfail(strict=True)\n"
        "def test_expected_failure(): assert False\n"
        "def test_passes(): pass\n"
    )
    (tmp_path / "test_module.py").write_text("import pytest\npytest.importorskip('there_is_no_such_module')\n")

    def run(file: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-rA",
            "--rootdir=.",
            "-c",
            "pytest.ini",
            file,
        ]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    skips = run("test_skips.py")
    assert skips.returncode == 1, skips.stdout
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error" in skips.stdout
    assert "test_for_another_reason was skipped (too lazy)" in skips.stdout
    assert "test_marked was skipped (no device here)" in skips.stdout
    module = run("test_module.py")
    assert module.returncode != 0
    assert "test_module.py was skipped (could not import" in module.stdout
