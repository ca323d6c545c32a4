"""What a sweep has found: a table for the terminal, and trials.csv in its folder."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robo_ppo import atomic
from robo_ppo.run.sweep.record import Record

NAME = "trials.csv"


@dataclass
class Trial:
    """A trial: what it differs in from the others, where it lies, and how it stands."""

    name: str
    values: Mapping[str, str]  # of what is swept
    folder: Path
    record: Record = field(default_factory=Record)


def save(folder: Path, trials: Sequence[Trial]) -> None:
    """Write trials.csv, a row for each trial, which is its folder's name, and a column for everything that is swept."""
    keys = list(dict.fromkeys(key for trial in trials for key in trial.values))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["trial", *keys, "state", "score", "value", "steps", "seconds", "attempts", "error"])
    for trial in trials:
        found = trial.record
        value = "" if found.value is None else found.value
        rows.writerow(
            (
                *(trial.name, *(trial.values.get(key, "") for key in keys), found.state, found.score, value),
                *(found.steps, round(found.seconds, 1), found.attempts, found.error),
            )
        )
    atomic.write(folder / NAME, text.getvalue())


def text(trials: Sequence[Trial]) -> str:
    """The table, and which trial was the best."""
    rows = [["trial", "score", "steps", "seconds", ""], *map(_row, trials)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for name, *numbers, ending in rows:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:-1], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *cells, ending]).rstrip())
    best = best_of(trials)
    if best is not None:
        lines.append(f"best: {best.name}, {score(best.record)}: {os.path.relpath(best.folder)}")
    return "\n".join(lines)


def _row(trial: Trial) -> list[str]:
    found = trial.record
    again = f" after {found.attempts} attempts" if found.attempts > 1 else ""
    if found.state != "finished":
        return [trial.name, "–", "–", "–", found.state + again]
    return [trial.name, score(found), f"{found.steps / 1e6:.2f} M", f"{found.seconds:.0f}", found.state + again]


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The finished trial with the highest score; None where the scores are not of one kind, or there is none."""
    finished = [trial for trial in trials if trial.record.state == "finished" and trial.record.value is not None]
    if len({trial.record.score for trial in finished}) != 1:
        return None
    return max(finished, key=lambda trial: trial.record.value or 0.0)


def score(record: Record) -> str:
    """A score for a reader."""
    if record.value is None:
        return "–"
    return f"{record.value:.1%}" if record.score == "success" else f"{record.value:,.1f}"


def ending(record: Record) -> str:
    """How a trial ended, in a line."""
    if record.state == "finished":
        return f"{record.score} {score(record)} after {record.steps / 1e6:.2f} M steps, {record.seconds:.0f} s"
    return f"{record.state}: {record.error}" if record.error else record.state
