"""Measures an exported policy: what onnxruntime computes from measurements, flown through episodes that training never saw.

evaluate(run_folder, config, bundle_path, options)     # → evaluation/{metrics.json, *.png, video.mp4}, report.html
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robo_ppo.config import EvaluateConfig, RunConfig
from robo_ppo.env.build import build, make_task
from robo_ppo.env.environment import Environment, Observation
from robo_ppo.env.scenes import Split
from robo_ppo.env.task import SUCCESS
from robo_ppo.errors import UserError
from robo_ppo.export.bundle import Bundle, read_bundle, replace_evaluation
from robo_ppo.export.runtime import Policy
from robo_ppo.run import folder as folders
from robo_ppo.run.episodes import Episodes, recorded_signals, run_episodes
from robo_ppo.run.plots import learning_curves, trajectories
from robo_ppo.run.rendering import RenderingUnavailable
from robo_ppo.run.report import write_report
from robo_ppo.run.statistics import wilson_interval
from robo_ppo.run.trace import EpisodeTrace
from robo_ppo.run.video import film

AT_ONCE = 1000  # episodes that fly side by side
TRACED = 60


@dataclass(frozen=True)
class Options:
    """What to measure."""

    episodes: int
    split: Split
    video: bool
    video_seconds: float


def run(config: EvaluateConfig) -> None:
    """`evaluate.py`: measure the policy of a run, or a bundle alone."""
    if (config.run is None) == (config.bundle is None):
        raise UserError("say what to evaluate: run=latest, run=<folder> or bundle=<policy.onnx>")
    if config.split not in ("test", "validation"):
        raise UserError(f"split={config.split}; it must be test or validation")
    options = Options(config.episodes, config.split, config.video, config.video_seconds)  # pyright: ignore[reportArgumentType]
    if config.run is not None:
        output = folders.find(config.run, config.runs)
        path = output / "policy.onnx"
        bundle = read_bundle(path)
        training = folders.load_config(output)
    else:
        path = Path(config.bundle or "")
        bundle = read_bundle(path)
        training = folders.parse_config(bundle.contract.training.config, str(path))
        output = folders.create(config.runs, f"{training.task.name}_evaluation")
        folders.save_config(training, output)
    if config.randomization is not None:
        training.randomization = config.randomization
    evaluate(output, training, bundle, options)


def evaluate(output: Path, config: RunConfig, bundle: Bundle, options: Options) -> dict[str, Any]:
    """Fly the episodes, write everything that there is to see into a run's folder, and return the metrics."""
    if options.episodes < 1:
        raise UserError(f"episodes must be at least 1, not {options.episodes}")
    episodes, scenes = fly(config, bundle, options)
    metrics = summarize(config, bundle, episodes, options) | {"scenes": scenes}
    folder = output / "evaluation"
    try:
        folder.mkdir(exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        trajectories(episodes.traces, folder / "trajectories.png")
        rows = _rows(output / "metrics.jsonl")
        if rows:
            learning_curves(rows, folder / "learning_curves.png")
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}") from error
    if options.video:
        _film(folder / "video.mp4", config, episodes.traces, options.video_seconds)
    write_report(output)
    print(table(metrics))
    print(f"report: {output / 'report.html'}")
    return metrics


def fly(config: RunConfig, bundle: Bundle, options: Options) -> tuple[Episodes, dict[str, float]]:
    """Run the episodes 0 to `episodes` - 1 of a split with the exported policy; also says what their scenes are like."""
    at_once = min(options.episodes, AT_ONCE)
    environment = build(
        config, options.split, at_once, episodes=options.episodes, extra_signals=recorded_signals(make_task(config))
    )
    policy = OnnxPolicy(environment, Policy(bundle, max(1, config.threads)))
    parts: list[Episodes] = []
    for first in range(0, options.episodes, at_once):
        parts.append(
            run_episodes(
                environment, policy.act, begin=policy.begin, first_id=first, traced=TRACED if first == 0 else 0
            )
        )
    keep = slice(0, options.episodes)
    flown = Episodes(
        ids=np.concatenate([p.ids for p in parts])[keep],
        outcome=np.concatenate([p.outcome for p in parts])[keep],
        steps=np.concatenate([p.steps for p in parts])[keep],
        metrics={name: np.concatenate([p.metrics[name] for p in parts])[keep] for name in parts[0].metrics},
        traces=parts[0].traces,
    )
    return flown, environment.task.scene_statistics(environment.bank.columns)


class OnnxPolicy:
    """An exported policy at the controls of every environment: it gets what the vehicle would measure, and nothing else."""

    def __init__(self, environment: Environment, policy: Policy) -> None:
        self._environment, self._policy = environment, policy
        self._check()
        self.begin()

    def begin(self) -> None:
        """Forget what was remembered of the last episodes."""
        self._state = self._policy.initial_state(self._environment.num_envs)

    def act(self, _observation: Observation) -> Tensor:
        """Actions for the present measurements."""
        measured = {name: values.numpy() for name, values in self._environment.measured.items()}
        commands, self._state = self._policy(measured, self._state)
        action = self._environment.task.robot.action
        return action.action(torch.from_numpy(np.stack([commands[name] for name in action.names], 1)))

    def _check(self) -> None:
        wanted = {port.name for port in self._policy.contract.inputs}
        given = set(self._environment.onboard.measurements)
        commands = tuple(port.name for port in self._policy.contract.outputs)
        names = self._environment.task.robot.action.names
        if wanted != given or commands != names:
            raise UserError(
                f"the policy takes {', '.join(sorted(wanted))} and commands {', '.join(commands)}, but the task measures "
                f"{', '.join(sorted(given))} and the robot takes {', '.join(names)}"
            )


def summarize(config: RunConfig, bundle: Bundle, episodes: Episodes, options: Options) -> dict[str, Any]:
    """What metrics.json holds."""
    total = len(episodes.ids)
    low, high = wilson_interval(episodes.count(SUCCESS), total)
    period = bundle.contract.control_period
    well = episodes.outcome == SUCCESS
    metrics: dict[str, Any] = {"time_to_goal": _spread(episodes.steps[well] * period, "s")}
    task = make_task(config)
    for name, metric in task.metrics().items():
        values = episodes.metrics[name]
        metrics[name] = _spread(values[well] if metric.only_success else values, metric.unit)
    outcomes = {
        str(name): int(count)
        for name, count in zip(*np.unique(episodes.outcome.astype(str), return_counts=True), strict=True)
    }
    training = bundle.contract.training
    return {
        "task": config.task.name,
        "policy": "policy.onnx",
        "sha256": bundle.contract.sha256,
        "split": options.split,
        "episodes": total,
        "randomization": dataclasses.asdict(config.randomization),
        "success": {"value": episodes.success, "low": low, "high": high, "count": episodes.count(SUCCESS)},
        "outcomes": dict(sorted(outcomes.items(), key=lambda item: -item[1])),
        "metrics": metrics,
        "training": {"steps": training.steps, "seed": training.seed, "commit": training.commit},
    }


def table(metrics: dict[str, Any]) -> str:
    """The result in a few lines for the terminal."""
    success = metrics["success"]
    lines = [
        f"{metrics['task']}: success {success['value']:.1%} (95 % interval {success['low']:.1%} to {success['high']:.1%}) "
        f"in {metrics['episodes']} {metrics['split']} episodes",
        "  " + ", ".join(f"{name} {count}" for name, count in metrics["outcomes"].items()),
    ]
    for name, spread in metrics["metrics"].items():
        if spread["mean"] is not None:
            unit = "" if spread["unit"] == "1" else f" {spread['unit']}"
            lines.append(f"  {name.replace('_', ' ')}: mean {spread['mean']:.3g}{unit}, p95 {spread['p95']:.3g}{unit}")
    return "\n".join(lines)


def _spread(values: np.ndarray, unit: str) -> dict[str, Any]:
    if not len(values):
        return {"mean": None, "p5": None, "p50": None, "p95": None, "unit": unit}
    p5, p50, p95 = (float(x) for x in np.percentile(values, (5, 50, 95)))
    return {"mean": float(values.mean()), "p5": p5, "p50": p50, "p95": p95, "unit": unit}


def _film(path: Path, config: RunConfig, traces: Sequence[EpisodeTrace], seconds: float) -> None:
    """A few episodes, one failure among them if there is one; says so where nothing can be rendered here."""
    failures = [t for t in traces if t.outcome != SUCCESS and len(t.qpos) > 50]
    successes = [t for t in traces if t.outcome == SUCCESS]
    chosen = [*successes[:2], *failures[:1], *successes[2:]]
    try:
        film(path, make_task(config).robot.spec(), chosen or traces, max_seconds=min(seconds, 20.0))
    except RenderingUnavailable as error:
        print(f"no film: {error}", file=sys.stderr)


def _rows(path: Path) -> list[dict[str, float]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def record_in_bundle(path: Path, metrics: dict[str, Any]) -> None:
    """Write the result of an evaluation into the bundle itself."""
    replace_evaluation(path, {name: metrics[name] for name in ("split", "episodes", "success", "outcomes", "metrics")})
