"""The report of a run: one HTML page with everything in it, to read, print or send.

    write_report(Path("runs/uav_nav/2026-11-21_10-30-00"))      # → that folder's report.html

The page is `report.html.jinja`, filled from the run's files; pictures and the film are embedded, nothing is loaded from
elsewhere and no script runs. A file that is missing or cannot be read is named on the page, and the rest is shown.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robo_ppo import atomic
from robo_ppo.errors import UserError
from robo_ppo.run import palette
from robo_ppo.run.files import Files
from robo_ppo.run.folder import chosen_task
from robo_ppo.run.output import program
from robo_ppo.run.statistics import wilson_interval
from robo_ppo.run.templates import template

_CAPTIONS = {
    "learning_curves": "The run while it learned, over environment steps.",
    "returns": "How the returns of the test episodes are spread.",
    "trajectories": "Flights from above and their altitude over time; each episode has a scene of its own.",
}
_COLUMNS = {
    "mean": "mean",
    "std": "std",
    "min": "least",
    "p5": "5th pct.",
    "p50": "median",
    "p95": "95th pct.",
    "max": "most",
}


def write_report(run_dir: Path) -> Path:
    """Write `report.html` into a run's folder from what it holds, and return its path.

    Raises:
        UserError: there is no such folder.
    """
    if not run_dir.is_dir():
        raise UserError(f"no run at {run_dir}: give the folder of a run, such as runs/uav_nav/<time>")
    files = Files(run_dir)
    page = template("report.html.jinja").render(_contents(files))
    path = run_dir / "report.html"
    atomic.write(path, page)
    return path


def _contents(files: Files) -> dict[str, Any]:
    """What the template shows."""
    config_text = files.read("config.yaml") or ""
    config = files.mapping("config.yaml")
    evaluation = files.mapping("evaluation/metrics.json")
    versions = files.mapping("versions.json")
    progress = files.last_line("metrics.jsonl")
    task, training = _section(config, "task"), _section(evaluation, "training")
    observation = _section(task, "observation")
    name = task.get("name") or evaluation.get("task") or files.folder.name
    success = _section(evaluation, "success")
    columns, metrics = _metrics(_section(evaluation, "metrics"))
    return {
        "task": name,
        "robot": _section(config, "robot").get("name"),
        "run": files.folder.name,
        "success": success if "value" in success else None,
        "mean_return": _section(_section(evaluation, "metrics"), "return"),
        "split": evaluation.get("split", "test"),
        "episodes": evaluation.get("episodes"),
        "policy": evaluation.get("policy", "policy.onnx"),
        "steps": training.get("steps", progress.get("step")),
        "duration": _duration(training.get("seconds", progress.get("seconds"))),
        "seed": training.get("seed", config.get("seed")),
        "validation": progress.get("validation/success"),
        "validation_return": progress.get("validation/return"),
        "outcomes": _outcomes(_section(evaluation, "outcomes")),
        "metric_columns": columns,
        "metrics": metrics,
        "film": files.embedded("evaluation/video.mp4", "video/mp4"),
        "pictures": _pictures(files),
        "reward": _terms(_section(config, "reward")),
        "observation": {g: list(_section(observation, g)) for g in ("policy", "critic") if observation.get(g)},
        "history": observation.get("history", 1),
        "measurements": _errors(_section(task, "measurements")),
        "varied": _varied(evaluation),
        "scenes": {name: value for name, value in _section(evaluation, "scenes").items() if _is_number(value)},
        "commands": _commands(files, config, evaluation),
        "versions": _flat(versions),
        "config_text": config_text,
        "missing": files.missing,
    }


def _section(mapping: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A mapping within a mapping; an empty one where there is none."""
    value = mapping.get(key)
    return value if isinstance(value, dict) else {}


def _outcomes(counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for each outcome, success first and then by how often it came, with 95 % Wilson intervals."""
    whole = {name: int(count) for name, count in counts.items() if isinstance(count, int | float)}
    total = sum(whole.values())
    rows: list[dict[str, Any]] = []
    for name in sorted(whole, key=lambda name: (name != "success", -whole[name], name)):
        low, high = wilson_interval(whole[name], total)
        share = whole[name] / total if total else 0.0
        colour = palette.outcome_colour(name)
        rows.append({"name": name, "count": whole[name], "share": share, "low": low, "high": high, "colour": colour})
    return rows


def _metrics(metrics: Mapping[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """The statistics' headings, and one row for each metric with its values in that order."""
    tables = {name: values for name, values in metrics.items() if isinstance(values, dict)}
    known = [key for key in _COLUMNS if any(key in values for values in tables.values())]
    rows = [
        {"name": name, "unit": _unit(values.get("unit")), "values": [_rounded(values.get(key)) for key in known]}
        for name, values in tables.items()
    ]
    return [_COLUMNS[key] for key in known], rows


def _pictures(files: Files) -> list[dict[str, str]]:
    """The evaluation's pictures, those that every run has first; a missing one of these is noted."""
    found = {path.stem for path in (files.folder / "evaluation").glob("*.png")}
    pictures: list[dict[str, str]] = []
    # An evaluation draws the flights where it can follow the vehicle, and else the returns.
    expected = [stem for stem in _CAPTIONS if stem != ("trajectories" if "returns" in found else "returns")]
    for stem in [*expected, *sorted(found - set(_CAPTIONS))]:
        source = files.embedded(f"evaluation/{stem}.png", "image/png")
        if source is not None:
            title = palette.outcome_label(stem)
            pictures.append({"title": title, "caption": _CAPTIONS.get(stem, ""), "source": source})
    return pictures


def _terms(terms: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a table by name: a weight where there is one, and the other settings as text."""
    rows: list[dict[str, Any]] = []
    for name, settings in terms.items():
        values = dict(settings) if isinstance(settings, dict) else {}
        weight = values.pop("weight", None)
        rows.append({"name": name, "weight": weight, "settings": ", ".join(f"{k} {v}" for k, v in values.items())})
    return rows


def _errors(measurements: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a table by measurement: how it errs, where it does."""
    rows: list[dict[str, Any]] = []
    for name, errors in measurements.items():
        known = errors if isinstance(errors, dict) else {}
        parts = [f"{key} {value:g}" for key, value in known.items() if _is_number(value) and value]
        delay = known.get("delay")
        if isinstance(delay, list) and len(delay) == 2 and all(map(_is_number, delay)) and delay[1]:
            parts.append(f"delay {delay[0]:g} – {delay[1]:g} s")
        if parts:
            rows.append({"name": name, "settings": ", ".join(parts)})
    return rows


def _varied(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of a table by parameter: between what it varied from episode to episode of the evaluation."""
    randomization = _section(evaluation, "randomization")
    rows: list[dict[str, Any]] = []
    for name, limits in _section(randomization, "parameters").items():
        if isinstance(limits, list) and len(limits) == 2 and all(map(_is_number, limits)):
            rows.append({"name": name, "settings": f"{limits[0]:g} – {limits[1]:g}"})
    factor = randomization.get("measurement_errors")
    if _is_number(factor) and factor != 1:
        rows.append({"name": "measurement_errors", "settings": f"{factor:g} times those of the task"})
    return rows


def _rounded(value: object) -> object:
    """A measured value without the digits that only its rounding errors have."""
    return round(value, 4) + 0.0 if isinstance(value, float) else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _unit(unit: object) -> str:
    """A unit for a reader: none for a pure number."""
    return "" if unit in (None, "1") else str(unit)


def _commands(files: Files, config: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[str]:
    """What to type to train such a run again, and to measure this one again."""
    task, entry_point = (_section(config, "task").get(key, "") for key in ("name", "entry_point"))
    run = files.place(str(config.get("runs", "runs")))
    evaluate = f"{program('evaluate')} run={run} episodes={evaluation.get('episodes', 1000)}"
    if not task:
        return [evaluate]
    chosen = chosen_task(str(task), str(config.get("env_id", "")), str(entry_point))
    return [f"{program('train')} {' '.join(chosen)} seed={config.get('seed', 0)}", evaluate]


def _flat(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _duration(seconds: object) -> str | None:
    """A time for a reader: "3 min 10 s"."""
    if not isinstance(seconds, int | float):
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest, "s")]
    return " ".join(f"{value} {unit}" for value, unit in parts if value) or "0 s"
