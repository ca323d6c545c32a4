"""`task=gymnasium` from the command line: trained, exported, measured, filmed, reported, resumed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robo_ppo.config import parse_config
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.verify import verify
from tests.run.decoding import decode
from tests.run.training import command, rows, run

TINY = (
    "task=gymnasium",
    "env_id=InvertedPendulum-v5",
    "num_envs=4",
    "ranks=2",
    "threads=1",
    "ppo.horizon=64",
    "ppo.minibatches=4",
    "total_steps=2048",
    "checkpoint_every=1024",
    "validation.every=1024",
    "validation.episodes=4",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("gymnasium")
    done = run(command(*TINY, "evaluation.episodes=6", "evaluation.video_seconds=1"), cwd)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "Gymnasium" in done.stdout and "InvertedPendulum-v5: return " in done.stdout
    assert [path.name for path in cwd.iterdir()] == ["runs"], "MuJoCo writes no log into the working directory"
    return cwd / "runs/latest"


def test_a_run_holds_what_a_task_of_ours_would(finished: Path) -> None:
    assert finished.resolve().parent.name == "InvertedPendulum-v5"
    evaluation = json.loads((finished / "evaluation/metrics.json").read_text())
    assert "success" not in evaluation and evaluation["episodes"] == 6
    # It rewards every step but the one in which the pole has fallen.
    length, mean = evaluation["metrics"]["episode_length"]["mean"], evaluation["metrics"]["return"]["mean"]
    fell = evaluation["outcomes"].get("terminated", 0) / 6
    assert mean == pytest.approx(length - fell, abs=1e-6) and mean > 1.0
    assert rows(finished)[-1]["validation/return"] > 1.0
    assert {path.name for path in (finished / "evaluation").iterdir()} == {
        "metrics.json",
        "returns.png",
        "learning_curves.png",
        "video.mp4",
    }
    page = (finished / "report.html").read_text()
    assert "mean return" in page and "python train.py task=gymnasium env_id=InvertedPendulum-v5 seed=0" in page
    assert "is missing" not in page


def test_the_exported_policy_takes_the_observation_and_gives_actions(finished: Path) -> None:
    contract = read_bundle(finished / "policy.onnx").contract
    assert [(port.name, port.shape) for port in contract.inputs] == [("observation", (4,))]
    assert [(port.name, port.lower, port.upper) for port in contract.outputs] == [("action_0", (-3.0,), (3.0,))]
    assert (contract.robot, contract.control_period) == ("InvertedPendulum-v5", pytest.approx(0.04))
    assert verify(finished / "policy.onnx").passed
    assert parse_config(contract.training.config, "it").env_id == "InvertedPendulum-v5"


def test_the_film_shows_the_environment(finished: Path) -> None:
    stream, pictures = decode(finished / "evaluation/video.mp4")
    assert "25 fps" in stream and len(pictures) == 25
    assert pictures[0].std() > 8.0  # a pole on a cart before a black sky
    assert any(np.abs(picture.astype(int) - pictures[0]).max() > 60 for picture in pictures), "nothing moves"


@pytest.mark.slow
def test_it_resumes_with_new_episodes_and_refuses_another_configuration(finished: Path) -> None:
    cwd = finished.parents[1]
    done = run(command("resume=latest", "task=gymnasium", "env_id=InvertedPendulum-v5", "ppo.gamma=0.9"), cwd)
    assert done.returncode == 2
    assert "goes on as it was configured (task=gymnasium env_id=InvertedPendulum-v5), so ppo.gamma=0.9" in done.stderr
    newest = max((finished / "checkpoints").glob("step_*.pt"))
    newest.unlink()
    done = run(command("resume=latest"), cwd)
    assert done.returncode == 0, done.stderr
    assert "these environments cannot be saved: they begin new episodes" in done.stdout
    assert [row["step"] for row in rows(finished)] == sorted({row["step"] for row in rows(finished)})


def test_a_policy_of_another_environment_is_no_start(finished: Path, train: Callable[..., None]) -> None:
    """Sizes alone would not tell: InvertedPendulum and another registration of it have the same."""
    other = "gymnasium.envs.mujoco:InvertedPendulum-v5"
    said = "was trained with env_id=InvertedPendulum-v5, this run has gymnasium.envs.mujoco:Inv"
    train(*TINY, f"env_id={other}", f"init={finished.resolve()}", "evaluation.episodes=0", said=said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["task=gymnasium"], "error: task=gymnasium needs the name of an environment: env_id=HalfCheetah-v5\n"),
        (
            ["task=gymnasium", "env_id=CartPole-v1", "ranks=1"],
            "error: CartPole-v1 has the actions Discrete(2); a Gaussian policy needs a Box",
        ),
        (
            ["task=uav_nav", "env_id=Hopper-v5"],
            "error: env_id=Hopper-v5 is for task=gymnasium and task=isaac_lab; uav_nav takes none\n",
        ),
    ],
)
def test_mistakes_are_told(train: Callable[..., None], tmp_path: Path, arguments: list[str], said: str) -> None:
    train(*arguments, said=said)
    assert not list(tmp_path.iterdir())
