"""`docs/new_task.md` and `docs/new_robot.md` are right: someone who has the wheel alone follows them line by line."""

import ast
import os
import sysconfig
from pathlib import Path

import pytest

from robo_ppo_onboard.bundle import read_bundle
from tests.run.following import Reader
from tests.test_packaging import python_elsewhere as python_elsewhere
from tests.test_packaging import run
from tests.test_packaging import wheel as wheel

PAGES = Path(__file__).parents[2] / "docs"
TINY = (
    "num_envs=64 ranks=2 threads=1 total_steps=2048 ppo.horizon=16 ppo.minibatches=4 validation.episodes=8 "
    "evaluation.episodes=8 evaluation.video=false"
)


@pytest.fixture(scope="module")
def reader(python_elsewhere: Path, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Someone in an empty folder: robo_ppo is the wheel, all other libraries are this environment's."""
    libraries = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    own = run(python_elsewhere, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=PAGES).strip()
    Path(own, "libraries.pth").write_text("\n".join(libraries))
    for tool in ("pip", "pytest"):
        command = python_elsewhere.with_name(tool)
        command.write_text(f'#!/bin/sh\nexec "{python_elsewhere}" -m {tool} "$@"\n')
        command.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
    environment |= {
        "PATH": f"{python_elsewhere.parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # means that there is none
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "OMP_NUM_THREADS": "1",
    }
    return Reader(tmp_path_factory.mktemp("anywhere"), environment, TINY)


def test_the_pages_are_right(reader: Reader) -> None:
    reader.follow((PAGES / "new_task.md").read_text())
    project = reader.folder
    policy = read_bundle(project / "runs/latest/policy.onnx").contract
    assert (policy.task, policy.robot) == ("my_project", "arm")
    assert [port.name for port in policy.inputs] == ["joint_position", "joint_velocity", "goal"]
    assert [(port.name, port.unit) for port in policy.outputs] == [("shoulder_torque", "N·m"), ("elbow_torque", "N·m")]
    reader.follow((PAGES / "new_robot.md").read_text())
    assert sum(map(lines_of_code, project.rglob("*.py"))) <= 100


def lines_of_code(path: Path) -> int:
    """Lines of a Python file without blank ones, comments and docstrings."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node):
            node.body[0] = ast.Pass(lineno=0, end_lineno=0)
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.expr, ast.stmt, ast.arg)) and node.lineno:
            lines |= {node.lineno, node.end_lineno or node.lineno}
    return len(lines)
