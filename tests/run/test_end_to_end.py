"""The newcomer's two commands, as they would type them, on a training that is over in seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from robo_ppo.run.rendering import choose_gl
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.verify import verify

ROOT = Path(__file__).parents[2]
TINY = (
    *("num_envs=32", "ranks=1", "threads=1", "total_steps=4096", "checkpoint_every=2048"),
    *("validation.every=2048", "validation.episodes=8", "evaluation.episodes=16", "evaluation.video_seconds=2"),
)


def command(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    everything = os.environ | environment
    call = [sys.executable, str(ROOT / script), *arguments]
    return subprocess.run(call, env=everything, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def trained(runs: Path) -> subprocess.CompletedProcess[str]:
    # With MUJOCO_GL set, as many have it in their shell, MuJoCo imports its OpenGL library before anything is said.
    job = command("train.py", "task=uav_hover", f"runs={runs}", *TINY, MUJOCO_GL=choose_gl())
    assert job.returncode == 0, job.stderr
    return job


def test_everything_comes_out(trained: subprocess.CompletedProcess[str], runs: Path) -> None:
    run = (runs / "latest").resolve()
    files = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    evaluation = {
        f"evaluation/{name}" for name in ("metrics.json", "trajectories.png", "learning_curves.png", "video.mp4")
    }
    assert evaluation | {"config.yaml", "versions.json", "metrics.jsonl", "policy.onnx", "report.html"} <= files
    assert {"checkpoints/best.pt", "checkpoints/step_000000004096.pt"} <= files
    assert any(name.startswith("tensorboard/events") for name in files)
    assert not [name for name in files if "partial" in name or "tmp" in name or "unchecked" in name]

    contract = read_bundle(run / "policy.onnx").contract
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert verify(run / "policy.onnx").passed
    assert contract.evaluation is not None and contract.evaluation["success"] == metrics["success"]
    assert (metrics["sha256"], metrics["episodes"], metrics["split"]) == (contract.sha256, 16, "test")
    assert 0 < contract.training.steps <= 4096
    with Image.open(run / "evaluation" / "trajectories.png") as picture:
        assert picture.width > 1000
    assert (run / "evaluation" / "video.mp4").read_bytes()[4:8] == b"ftyp"
    assert "data:video/mp4" in (run / "report.html").read_text()


def test_what_is_said_is_meant_for_people(trained: subprocess.CompletedProcess[str]) -> None:
    assert "uav_hover: success" in trained.stdout and "report: " in trained.stdout
    for noise in ("initializer", "OpenGL", "Warning", "Traceback", "[torch", "DEBUG"):
        assert noise not in trained.stdout + trained.stderr


def without_rendering(job: subprocess.CompletedProcess[str]) -> None:
    assert job.returncode == 0, job.stderr
    assert job.stderr.startswith("no film: rendering") and len(job.stderr.splitlines()) == 1
    assert "report: " in job.stdout


def test_evaluated_again_without_rendering_the_numbers_are_the_same(
    trained: subprocess.CompletedProcess[str], runs: Path
) -> None:
    first = json.loads((runs / "latest" / "evaluation" / "metrics.json").read_text())
    without_rendering(
        command("evaluate.py", "run=latest", f"runs={runs}", "episodes=16", "video_seconds=1", **hidden("off"))
    )
    assert json.loads((runs / "latest" / "evaluation" / "metrics.json").read_text()) == first


@pytest.mark.slow
def test_a_bundle_alone_without_a_display(
    trained: subprocess.CompletedProcess[str], runs: Path, tmp_path: Path
) -> None:
    bundle = runs / "latest" / "policy.onnx"
    words = (f"bundle={bundle}", f"runs={tmp_path}", "episodes=2", "video_seconds=1")
    without_rendering(command("evaluate.py", *words, **hidden("glfw")))


def hidden(library: str) -> dict[str, str]:
    return {"MUJOCO_GL": library, "DISPLAY": "", "WAYLAND_DISPLAY": ""}


@pytest.mark.parametrize(
    "arguments", [("run=nowhere",), ("run=latest", "randomization=strange"), ("run=latest", "episods=3")]
)
def test_a_mistake_is_one_message(runs: Path, arguments: tuple[str, ...]) -> None:
    job = command("evaluate.py", f"runs={runs}", *arguments)
    assert job.returncode == 2
    assert job.stderr.startswith("error: ") and "Traceback" not in job.stderr
