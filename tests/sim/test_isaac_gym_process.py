"""The worker as a process: how it starts, what it says when it fails, and that it ends with what started it."""

import ast
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.errors import UserError
from robo_ppo.sim.isaac_gym import IsaacGym, IsaacGymSettings
from robo_ppo.sim.isaac_gym.process import WORKER, WorkerProcess

from .conftest import XML, isaac_gym
from .isaac_gym_double.warm import DOUBLE

ROOT = Path(__file__).parents[2]


def settings(**changed: str) -> IsaacGymSettings:
    return IsaacGymSettings(
        python=changed.pop("python", sys.executable),
        environment={"PYTHONPATH": str(DOUBLE), **changed},
        device="cpu",
        threads=1,
    )


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "\nState:\tZ" not in status.read_text()


def wait_until_ended(pid: int) -> None:
    for _ in range(200):
        if not is_alive(pid):
            return
        time.sleep(0.05)
    raise AssertionError("the worker lives on")


def interpreter(folder: Path, script: str) -> str:
    """A program in Python's place."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_the_worker_is_python_3_8_and_needs_nothing_of_ours() -> None:
    """The types are checked as Python 3.8's by `make lint`."""
    tree = ast.parse(WORKER.read_text(), feature_version=(3, 8))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    assert imported - {"isaacgym", "numpy", "torch"} <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("python", ["", "/nowhere/bin/python3.8"])
def test_an_interpreter_that_is_not_there(python: str) -> None:
    with pytest.raises(
        UserError, match=r"isaac_gym.python=.*no such program. Isaac Gym needs an interpreter of its own"
    ):
        IsaacGym(mujoco.MjModel.from_xml_string(XML), 1, settings(python=python))


def test_an_interpreter_without_isaac_gym(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"(?s)cannot run Isaac Gym; it needs isaacgym, torch and numpy.*No module named"
    ):
        IsaacGym(mujoco.MjModel.from_xml_string(XML), 1, settings(PYTHONPATH=str(tmp_path)))


def test_an_interpreter_that_breaks_off_is_quoted(tmp_path: Path) -> None:
    python = interpreter(tmp_path, "echo 'libpython3.8m.so.1.0: cannot open shared object file' >&2; exit 127")
    with pytest.raises(RuntimeError, match=r"(?s)worker ended \(exit code 127\); it printed:.*libpython3\.8m"):
        IsaacGym(mujoco.MjModel.from_xml_string(XML), 1, settings(python=python))


def test_a_real_interpreter_from_start_to_end() -> None:
    sim = IsaacGym(mujoco.MjModel.from_xml_string(XML), 2, settings(), threads=1)
    before = sim.bind("qpos").clone()
    sim.step(5)
    assert not torch.equal(sim.bind("qpos"), before)
    pid = sim.process.pid
    assert is_alive(pid)
    os.kill(pid, signal.SIGINT)  # Ctrl-C reaches every process of the terminal
    sim.step(1)
    del sim
    wait_until_ended(pid)


def test_a_worker_that_dies_is_reported() -> None:
    sim = IsaacGym(mujoco.MjModel.from_xml_string(XML), 1, settings(), threads=1)
    os.kill(sim.process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"Isaac Gym worker ended \(signal 9\)"):
        sim.step(1)
        sim.step(1)


def test_the_worker_ends_when_the_run_is_killed() -> None:
    script = (
        "import mujoco, time\nfrom robo_ppo.sim.isaac_gym import IsaacGym, IsaacGymSettings\n"
        f"settings = IsaacGymSettings({sys.executable!r}, {{'PYTHONPATH': {str(DOUBLE)!r}}}, 'cpu')\n"
        f"sim = IsaacGym(mujoco.MjModel.from_xml_string({XML!r}), 1, settings)\n"
        "print(sim.process.pid, flush=True)\ntime.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    assert run.stdout is not None
    with run.stdout as output:
        pid = int(output.readline())
    run.kill()
    run.wait()
    wait_until_ended(pid)


def test_a_fault_in_the_worker_brings_its_stack_trace() -> None:
    sim = isaac_gym(mujoco.MjModel.from_xml_string(XML), 1)
    with pytest.raises(RuntimeError, match=r"(?s)worker failed.*worker\.py.*KeyError"):
        sim.process.ask({"do": "step"})
    sim.step(1)  # and goes on


def test_contacts_that_physx_dropped_are_told(tmp_path: Path) -> None:
    worker = WorkerProcess(
        interpreter(
            tmp_path,
            f'exec {sys.executable} -IS -c "\nimport socket, sys\n'
            "print('Contact buffer overflow detected, please increase its size to at least 12', flush=True)\n"
            "socket.socket(fileno=int(sys.argv[2])).makefile('rw').write('{}\\n')\n\" \"$@\"",
        ),
        {},
        {"a": (np.float32, (2,))},
    )
    with pytest.raises(UserError, match=r"lost contacts; raise .*max_gpu_contact_pairs.*Contact buffer overflow"):
        worker.check_log()
    worker.check_log()  # told once


def test_both_sides_see_the_same_numbers() -> None:
    sim = isaac_gym(mujoco.MjModel.from_xml_string(XML), 3)
    arrays = sim.process.arrays
    assert arrays["origin"].tolist() == [[0, 0, 0], [2, 0, 0], [0, 2, 0]]  # written by the worker
    assert all(array.data_ptr() % 64 == 0 for array in arrays.values())
