"""What the two sides of a flight recorded: the vehicle's `flight.npz`, and the controller's log of every tick.

trace = trace_of(folder, task)          # for films and plots, from the moment the motors were armed
log = read_log(folder)                  # Log: columns by name, numbers where they are
measures(folder, task, log)             # → {"outcome": "success", "seconds": 4.7, "metrics": …, "latency": …}
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robo_ppo.env.task import Task
from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.recording import FILE
from robo_ppo.run.trace import EpisodeTrace

LIKE_UNDECIDED = "timeout"


@dataclass(frozen=True)
class Log:
    """A flight log: its texts (state, fault, mode) and its numbers, NaN where there is none, by the header's names."""

    texts: dict[str, list[str]]
    numbers: dict[str, np.ndarray]


def read_log(folder: Path) -> Log:
    """The controller's log in a folder; UserError where there is none."""
    path = next(iter(sorted(folder.glob("*.csv"))), None)
    if path is None:
        raise UserError(f"{folder} has no flight log of the controller")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0]) if rows else []
    texts = {name: [row[name] for row in rows] for name in names}
    return Log(texts, {name: np.array([_number(value) for value in values]) for name, values in texts.items()})


def trace_of(folder: Path, task: Task) -> EpisodeTrace:
    """The flight as the vehicle knew it, from arming on."""
    record = read_record(folder)
    armed = np.flatnonzero(record["armed"])
    rows = slice(int(armed[0]) if len(armed) else 0, int(armed[-1]) + 1 if len(armed) else None)
    states = {name.removeprefix("state/"): record[name][rows] for name in record if name.startswith("state/")}
    count = len(record["time"][rows])
    times = record["time"]
    return EpisodeTrace(
        episode=int(record["episode"]),
        outcome=_outcome(record, LIKE_UNDECIDED),
        control_period=float(np.median(np.diff(times))) if len(times) > 1 else task.control_period,
        qpos=record["signal/qpos"][rows],
        position=record[f"signal/{task.position_signal()}"][rows],
        shapes=[task.shapes({name: values[row] for name, values in states.items()}) for row in range(count)],
        readings={label: record[f"signal/{name}"][rows] for label, name in task.readings().items()},
    )


def measures(folder: Path, task: Task, log: Log) -> dict[str, Any]:
    """How the flight went: the task's metrics while it was judged, the controller's latencies, what it said."""
    record = read_record(folder)
    judged = record["judged"]
    seconds = float(record["time"][judged][-1] - record["time"][judged][0]) if judged.any() else 0.0
    reduce = {"sum": np.sum, "min": np.min, "max": np.max, "last": lambda values: values[-1]}
    metrics = {
        name: {"value": float(reduce[metric.reduce](record[f"signal/{metric.signal}"][judged])), "unit": metric.unit}
        for name, metric in task.metrics().items()
        if judged.any()
    }
    with_policy = np.array([state in ("RAMP", "POLICY") for state in log.texts.get("state", [])], bool)
    columns = {"late [ms]": "late", "policy [ms]": "policy"}
    columns |= {name: name.removesuffix(" [ms]") for name in log.numbers if name.startswith("age of ")}
    return {
        "outcome": _outcome(record, "undecided"),
        "seconds": seconds,
        "metrics": metrics,
        "states": list(dict.fromkeys(log.texts.get("state", []))),
        "taken_over": taken_over(log),
        "latency_ms": {label: _spread(log.numbers[name][with_policy]) for name, label in columns.items()},
    }


def taken_over(log: Log) -> list[str]:
    """Why the safety net took over from the policy, each time."""
    states, faults = log.texts.get("state", []), log.texts.get("fault", [])
    return [
        fault
        for before, state, fault in zip(states, states[1:], faults[1:], strict=False)
        if before in ("RAMP", "POLICY") and state in ("HOVER", "DESCEND") and fault
    ]


def read_record(folder: Path) -> dict[str, np.ndarray]:
    """The vehicle's recording; UserError where there is none."""
    try:
        with np.load(folder / FILE) as file:
            return dict(file)
    except OSError as error:
        raise UserError(f"the vehicle left no {FILE} in {folder}") from error


def _outcome(record: dict[str, np.ndarray], undecided: str) -> str:
    outcome = str(record["outcome"])
    return undecided if outcome == "undecided" else outcome


def _spread(values: np.ndarray) -> dict[str, float | None]:
    values = values[np.isfinite(values)]
    if not len(values):
        return {"p50": None, "p99": None, "max": None}
    p50, p99 = np.percentile(values, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "max": float(values.max())}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
