"""`task=isaac_lab` from the command line, on the double: trained, validated, exported, measured, reported, resumed."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from robo_ppo.config import parse_config
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.verify import verify
from tests.run.training import ROOT, command, rows, run

ENV_ID = "tests.env.isaac_lab_double:Cart-v0"
TINY = (
    "task=isaac_lab",
    f"env_id={ENV_ID}",
    "+task.settings.launcher=tests.env.isaac_lab_double:DoubleLauncher",
    "device=cpu",
    "num_envs=64",
    "threads=1",
    "policy.hidden=[32]",
    "policy.critic_hidden=[32]",
    "total_steps=24576",
    "checkpoint_every=12288",
    "validation.every=12288",
    "evaluation.episodes=80",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("isaac_lab")
    done = run(command(*TINY), cwd, PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert f"a double of Isaac Lab {ENV_ID} on cpu" in done.stdout
    return cwd / "runs/latest"


def test_it_learns_and_what_the_simulation_reports_is_logged(finished: Path) -> None:
    found = rows(finished)
    assert found[-1]["train/return"] > found[1]["train/return"] + 0.05
    assert [row["step"] for row in found if "validation/return" in row] == [12288.0, 24576.0]
    assert found[-1]["isaac_lab/Episode_Termination/off_the_rail"] >= 0.0
    evaluation = json.loads((finished / "evaluation/metrics.json").read_text())
    assert evaluation["episodes"] == 80 and evaluation["metrics"]["episode_length"]["mean"] <= 25
    assert f"python train.py task=isaac_lab env_id={ENV_ID} seed=0" in (finished / "report.html").read_text()


def test_the_exported_policy_takes_terms_and_commands_joints(finished: Path) -> None:
    contract = read_bundle(finished / "policy.onnx").contract
    assert [(port.name, port.unit, port.note) for port in contract.inputs] == [
        ("joint_pos", "rad", "joints: slider"),
        ("joint_vel", "rad/s", "joints: slider"),
        ("target", "1", None),
    ]
    assert [(port.name, port.unit, port.upper) for port in contract.outputs] == [
        ("joint_effort_slider", "N·m", (10.0,))
    ]
    assert [state.name for state in contract.state] == ["last_action"]
    assert verify(finished / "policy.onnx").passed
    assert parse_config(contract.training.config, "it").env_id == ENV_ID


@pytest.mark.slow
def test_it_resumes_with_new_episodes_and_refuses_another_configuration(finished: Path) -> None:
    cwd = finished.parents[1]
    done = run(command("resume=latest", "ppo.gamma=0.9"), cwd, PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert f"goes on as it was configured (task=isaac_lab env_id={ENV_ID}), so ppo.gamma=0.9" in done.stderr
    max((finished / "checkpoints").glob("step_*.pt")).unlink()
    done = run(command("resume=latest"), cwd, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert "these environments cannot be saved: they begin new episodes" in done.stdout
    assert [row["step"] for row in rows(finished)] == sorted({row["step"] for row in rows(finished)})


def test_the_file_is_measured_by_itself(finished: Path) -> None:
    arguments = ("run=latest", "video=false", "episodes=70")
    done = run(command(*arguments, script="evaluate.py"), finished.parents[1], PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert json.loads((finished / "evaluation/metrics.json").read_text())["episodes"] == 70


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            [*TINY[1:], "validation.episodes=65"],
            "error: Isaac Lab has one simulation per process, and this one has 64 environments of ",
        ),
        ([*TINY[1:], "env_id=tests.env.isaac_lab_double:Kart-v0"], "error: env_id=tests.env.isaac_lab_double:Kart-v0"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run(command("task=isaac_lab", *arguments), tmp_path, PYTHONPATH=str(ROOT))
    assert (done.returncode, done.stderr[: len(said)]) == (2, said)


@pytest.mark.skipif(importlib.util.find_spec("isaaclab") is not None, reason="Isaac Lab is installed")
def test_without_isaac_lab_it_says_what_to_install(train: Callable[..., None], tmp_path: Path) -> None:
    said = "error: task=isaac_lab needs Isaac Lab: No module named 'isaaclab' for Python 3."
    train("task=isaac_lab", "env_id=Isaac-Cartpole", said=said)
    train("task=isaac_lab", "env_id=Isaac-Cartpole", said="docs/isaac_lab.md")
    assert not list(tmp_path.iterdir())


def test_an_environment_has_to_be_named(train: Callable[..., None]) -> None:
    train("task=isaac_lab", said="error: task=isaac_lab needs the name of an environment: env_id=Isaac-Velocity-Fl")
