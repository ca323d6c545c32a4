"""An evaluation in numbers: what metrics.json holds, and the lines on the terminal."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from robo_ppo.config import RunConfig
from robo_ppo.env.task import SUCCESS, Metric
from robo_ppo.env.vector import Score
from robo_ppo.run.episodes import Episodes
from robo_ppo.run.statistics import wilson_interval
from robo_ppo_onboard.contract import Contract


def summarize(
    config: RunConfig, contract: Contract, split: str, episodes: Episodes, score: Score, metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    """What metrics.json holds, but for what the caller adds."""
    well = episodes.outcome == SUCCESS
    spreads = {"return": _spread(episodes.returns, "1")}
    if score == "success":
        spreads["time_to_goal"] = _spread(episodes.steps[well] * contract.control_period, "s")
    else:
        spreads["episode_length"] = _spread(episodes.steps, "steps")
    for name, metric in metrics.items():
        values = episodes.metrics[name]
        spreads[name] = _spread(values[well] if metric.only_success else values, metric.unit)
    names, counts = np.unique(episodes.outcome.astype(str), return_counts=True)
    outcomes = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda item: -item[1])
    training = contract.training
    return {
        "task": config.task.name,
        "sha256": contract.sha256,
        "split": split,
        "episodes": len(episodes.ids),
        "randomization": dataclasses.asdict(config.randomization),
        **({"success": _success(episodes)} if score == "success" else {}),
        "outcomes": dict(outcomes),
        "metrics": spreads,
        "training": {"steps": training.steps, "seed": training.seed, "commit": training.commit},
    }


def table(metrics: Mapping[str, Any]) -> str:
    """The result in a few lines for the terminal."""
    lines = [
        f"{metrics['task']}: {_headline(metrics)} in {metrics['episodes']} {metrics['split']} episodes",
        "  " + ", ".join(f"{name} {count}" for name, count in metrics["outcomes"].items()),
    ]
    for name, spread in metrics["metrics"].items():
        if spread["mean"] is not None:
            unit = "" if spread["unit"] == "1" else f" {spread['unit']}"
            numbers = ", ".join(f"{key} {spread[key]:z.2f}{unit}" for key in ("mean", "p5", "p95"))
            lines.append(f"  {name.replace('_', ' ')}: {numbers}")
    reasons = metrics.get("interventions") or {}
    told = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in reasons.items())
    lines.append(f"  the safety net took over: {told or 'never'}")
    return "\n".join(lines)


def _headline(metrics: Mapping[str, Any]) -> str:
    if "success" not in metrics:
        found = metrics["metrics"]["return"]
        return f"return {found['mean']:,.1f} (standard deviation {found['std']:,.1f})"
    success = metrics["success"]
    return f"success {success['value']:.1%} (95 % interval {success['low']:.1%} to {success['high']:.1%})"


def _success(episodes: Episodes) -> dict[str, Any]:
    count = episodes.count(SUCCESS)
    low, high = wilson_interval(count, len(episodes.ids))
    return {"value": episodes.success, "low": low, "high": high, "count": count}


def _spread(values: np.ndarray, unit: str) -> dict[str, Any]:
    if not len(values):
        return {"mean": None, "std": None, "p5": None, "p50": None, "p95": None, "unit": unit}
    p5, p50, p95 = (float(x) for x in np.percentile(values, (5, 50, 95)))
    return {"mean": float(values.mean()), "std": float(values.std()), "p5": p5, "p50": p50, "p95": p95, "unit": unit}
