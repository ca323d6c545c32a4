"""Evaluation: the numbers are right and come again, everything is written, and mistakes are named."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError
from robo_ppo.export.bundle import write_bundle
from robo_ppo.run import evaluate as evaluation
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose, compose_evaluation
from robo_ppo.run.evaluate import Options, evaluate, fly
from robo_ppo.run.rendering import choose_gl
from robo_ppo.run.statistics import wilson_interval
from robo_ppo_onboard.bundle import Bundle, read_bundle
from robo_ppo_onboard.contract import Port
from robo_ppo_onboard.verify import verify
from tests.run.by_hand import hover_config, make_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(runs: Path) -> Path:
    """A run with an exported policy, evaluated in 48 episodes."""
    config = hover_config(runs)
    folder = make_run(runs / "uav_hover" / "2026-11-21_10-00-00", config)
    folders.point_latest(runs, folder)
    path = folder / "policy.onnx"
    evaluate(folder, config, read_bundle(path), Options(48, "test", False, 1.0), record_in=path)
    return folder


@pytest.fixture(scope="module")
def config(finished: Path) -> RunConfig:
    return folders.load_config(finished)


@pytest.fixture(scope="module")
def bundle(finished: Path) -> Bundle:
    return read_bundle(finished / "policy.onnx")


def metrics_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "evaluation" / "metrics.json").read_text())


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the plots, which take longer than the flights."""
    for name in ("trajectories", "learning_curves"):
        monkeypatch.setattr(evaluation, name, lambda *_: None)


def run_it(runs: Path, *overrides: str) -> None:
    """What `python evaluate.py` does."""
    evaluation.run(compose_evaluation(f"runs={runs}", "video=false", *overrides))


def test_everything_is_written(finished: Path, bundle: Bundle) -> None:
    metrics = metrics_of(finished)
    success, count = metrics["success"], metrics["success"]["count"]
    assert (metrics["task"], metrics["split"], metrics["episodes"]) == ("uav_hover", "test", 48)
    assert 0.4 < success["value"] == count / 48 < 1.0
    assert (success["low"], success["high"]) == wilson_interval(count, 48)
    assert sum(metrics["outcomes"].values()) == 48 and metrics["outcomes"]["success"] == count
    assert {name: spread["unit"] for name, spread in metrics["metrics"].items()} == {
        "return": "1",
        "time_to_goal": "s",
        "path_length_ratio": "1",
        "smallest_clearance": "m",
        "top_speed": "m/s",
    }
    for spread in metrics["metrics"].values():
        assert spread["p5"] <= spread["p50"] <= spread["p95"] and spread["p5"] <= spread["mean"] <= spread["p95"]
    assert 1.0 <= metrics["metrics"]["time_to_goal"]["p5"] <= 6.0
    assert metrics["metrics"]["path_length_ratio"]["p5"] >= 0.9
    assert metrics["training"] == {"steps": 1000, "seed": 0, "commit": bundle.contract.training.commit}
    assert {file.name for file in finished.iterdir()} >= {"report.html", "evaluation", "policy.onnx"}
    assert {file.name for file in (finished / "evaluation").iterdir()} == {
        "metrics.json",
        "trajectories.png",
        "learning_curves.png",
    }


def test_the_result_is_in_the_bundle_and_the_bundle_in_the_result(finished: Path, bundle: Bundle) -> None:
    metrics = metrics_of(finished)
    assert bundle.contract.evaluation is not None
    assert bundle.contract.evaluation["success"] == metrics["success"]
    assert bundle.contract.sha256 == metrics["sha256"]
    assert verify(finished / "policy.onnx").passed


def test_the_same_numbers_come_again(finished: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = metrics_of(finished)
    run_it(runs, "run=latest", "episodes=48")
    assert metrics_of(finished) == before
    shown = capsys.readouterr().out
    assert f"uav_hover: success {before['success']['value']:.1%} (95 % interval" in shown
    assert "report: " in shown and "path length ratio: mean" in shown


def test_more_episodes_than_fly_at_once(config: RunConfig, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is counted once, and an episode is the same in whichever batch it flies."""
    config = dataclasses.replace(config, randomization=compose("randomization=none").randomization)
    together = fly(config, bundle, Options(23, "test", False, 1.0))
    monkeypatch.setattr(evaluation, "AT_ONCE", 10)
    monkeypatch.setattr(evaluation, "TRACED", 4)
    in_parts = fly(config, bundle, Options(23, "test", False, 1.0))
    once, parts = together.episodes, in_parts.episodes
    assert parts.ids.tolist() == list(range(23))
    assert parts.outcome.tolist() == once.outcome.tolist()
    np.testing.assert_array_equal(parts.steps, once.steps)
    np.testing.assert_array_equal(parts.returns, once.returns)
    assert [trace.episode for trace in parts.traces] == [0, 1, 2, 3]
    assert in_parts.scenes == together.scenes


def test_splits_and_randomization_differ(finished: Path, runs: Path, undrawn: None) -> None:
    """`randomization=…` chooses a group; without it, what was trained counts."""
    seen = {}
    for overrides in (
        (),
        ("split=validation",),
        ("randomization=none",),
        ("randomization=strong",),
        ("randomization=nominal", "randomization.measurement_errors=0.5"),
    ):
        run_it(runs, f"run={finished}", "episodes=3", *overrides)
        metrics = metrics_of(finished)
        seen[overrides] = metrics["metrics"]["top_speed"]["mean"]
        assert metrics["split"] == ("validation" if "split=validation" in overrides else "test")
    assert len(set(seen.values())) == len(seen)
    assert compose_evaluation().randomization is None
    run_it(runs, f"run={finished}", "episodes=3", "randomization=nominal")
    assert metrics_of(finished)["metrics"]["top_speed"]["mean"] == seen[()]  # trained with nominal


def test_a_bundle_alone_is_enough(finished: Path, runs: Path, tmp_path: Path, undrawn: None) -> None:
    carried = tmp_path / "carried.onnx"
    carried.write_bytes((finished / "policy.onnx").read_bytes())
    latest = (runs / "latest").resolve()
    run_it(tmp_path / "elsewhere", f"bundle={carried}", "episodes=16")
    (folder,) = (tmp_path / "elsewhere" / "uav_hover_evaluation").iterdir()
    assert metrics_of(folder)["success"]["value"] > 0.3
    assert (folder / "policy.onnx").read_bytes() == carried.read_bytes()
    versions = json.loads((folder / "versions.json").read_text())
    assert versions == read_bundle(carried).contract.versions
    assert not (tmp_path / "elsewhere" / "latest").exists() and (runs / "latest").resolve() == latest
    run_it(tmp_path, f"run={folder}", "episodes=1")  # such a folder can be evaluated again


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "say what to evaluate"),
        (("run=latest", "bundle=policy.onnx"), "two things to evaluate; name one of them"),
        (("run=latest",), r"there is no run in .* yet"),
        (("run=no/such/run",), "there is no run in .*no/such/run"),
        (("run=no/such/run", "episodes=0"), "episodes must be at least 1, not 0"),
        (("run=no/such/run", "episodes=-3"), "episodes must be at least 1, not -3"),
        (("run=no/such/run", "split=train"), "split=train; it must be test or validation"),
        (("run=no/such/run", "video=true", "video_seconds=0"), "video_seconds must be greater than 0"),
        (("bundle=no/such/policy.onnx",), r"cannot read the policy bundle no/such/policy\.onnx: No such file"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        run_it(tmp_path, *overrides)
    assert not list(tmp_path.iterdir())


def test_a_run_that_has_not_ended_yet_says_how_to_go_on(finished: Path, runs: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((finished / "config.yaml").read_text())
    with pytest.raises(UserError, match=rf"no policy\.onnx.*python train\.py resume={tmp_path}"):
        run_it(runs, f"run={tmp_path}")


def test_a_damaged_bundle_is_refused(finished: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes((finished / "policy.onnx").read_bytes()[:-1])
    with pytest.raises(UserError, match=r"damaged\.onnx is not a usable policy bundle"):
        run_it(tmp_path / "runs", f"bundle={damaged}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("robot.action=motors",), r"it commands collective_thrust \(1, in N\).* this one has thrust_front_left"),
        (("task.decimation=5",), r"trained for a step of 0\.02 s, but the task's is 0\.025 s"),
        (
            ("~task.observation.policy.gyro",),
            r"it takes gyro \(3, in rad/s, body\), where this one has nothing of that",
        ),
        (("task=uav_nav",), r"it takes nothing of that, where this one has ranges \(\d+, in m, heading\)"),
    ],
)
def test_a_bundle_for_another_task_or_robot_is_refused(
    runs: Path, bundle: Bundle, overrides: tuple[str, ...], message: str
) -> None:
    config = hover_config(runs, *overrides)
    with pytest.raises(UserError, match=message):
        fly(config, bundle, Options(1, "test", False, 1.0))


def test_commands_that_the_robot_would_cut_off_are_refused(config: RunConfig, bundle: Bundle, tmp_path: Path) -> None:
    import onnx

    def louder(port: Port) -> Port:
        return dataclasses.replace(port, upper=(9.0,)) if port.name == "yaw_rate" else port

    contract = dataclasses.replace(bundle.contract, outputs=tuple(map(louder, bundle.contract.outputs)))
    write_bundle(tmp_path / "loud.onnx", onnx.load_from_string(bundle.model), contract)
    with pytest.raises(UserError, match=r"commands yaw_rate from -3 to 9 rad/s, but the robot takes -3 to 3"):
        fly(config, read_bundle(tmp_path / "loud.onnx"), Options(1, "test", False, 1.0))


def test_a_place_that_cannot_be_written_is_named(config: RunConfig, bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "evaluation").write_text("in the way")
    with pytest.raises(UserError, match=r"cannot write into .*evaluation: File exists"):
        evaluate(tmp_path, config, bundle, Options(1, "test", False, 1.0))


def test_without_rendering_the_rest_is_there(
    config: RunConfig,
    bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MUJOCO_GL", "off")
    choose_gl.cache_clear()
    metrics = evaluate(tmp_path, config, bundle, Options(2, "test", True, 1.0))
    assert metrics["episodes"] == 2
    assert "no film: rendering is switched off by MUJOCO_GL=off" in capsys.readouterr().err
    assert (tmp_path / "report.html").is_file() and not (tmp_path / "evaluation" / "video.mp4").exists()
