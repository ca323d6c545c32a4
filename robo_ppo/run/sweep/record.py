"""What is known of a trial: `trial.json` in its folder, mostly written by the process that trains there."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robo_ppo import atomic
from robo_ppo.errors import UserError

NAME = "trial.json"

State = Literal["waiting", "running", "paused", "finished", "failed", "stopped", "lost"]
"""`paused`: trained as far as it should for now; `failed`: by a mistake or a fault, so that trying again does not help;
`lost`: killed too often."""


@dataclass(frozen=True)
class Record:
    """How a trial stands."""

    state: State = "waiting"
    attempts: int = 0  # processes that have been started for it
    score: str = ""  # what the value is: "success" or "return"
    value: float | None = None  # of the best validation; more is better
    steps: int = 0
    seconds: float = 0.0  # of training, over all attempts
    error: str = ""


def read(folder: Path) -> Record:
    """The record in a trial's folder; of a trial that waits where there is none, a `UserError` for a damaged one."""
    path = folder / NAME
    try:
        return Record(**json.loads(path.read_text()))
    except FileNotFoundError:
        return Record()
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {' '.join(str(error).split())[:200]}") from error


def write(folder: Path, record: Record) -> None:
    """Replace the record; whoever reads meanwhile sees the one or the other."""
    atomic.write(folder / NAME, json.dumps(dataclasses.asdict(record)) + "\n")
