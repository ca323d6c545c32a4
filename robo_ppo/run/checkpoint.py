"""Checkpoints: everything that an exact continuation needs, written so that an accident leaves the earlier one whole.

A checkpoint is written to a temporary file, synced and renamed. Loading never runs code from the file
(`torch.load(weights_only=True)`).
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from robo_ppo.errors import UserError

SCHEMA = 1
KEPT = 3
BEST = "best.pt"


def save(folder: Path, steps: int, content: dict[str, Any]) -> Path:
    """Write `checkpoints/step_<steps>.pt` and drop all but the last few."""
    path = folder / "checkpoints" / f"step_{steps:012d}.pt"
    write(path, content)
    for old in numbered(folder)[:-KEPT]:
        old.unlink()
    return path


def write(path: Path, content: dict[str, Any]) -> None:
    """Write one checkpoint; a `UserError` where the disk does not take it, with what was there before unharmed."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save({"schema": SCHEMA, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        reason = error.strerror if isinstance(error, OSError) else "the disk did not take it"
        raise UserError(f"cannot write {path}: {reason}; earlier checkpoints are unharmed") from error


def numbered(folder: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    return sorted(p for p in (folder / "checkpoints").glob("step_*.pt") if re.fullmatch(r"step_\d+\.pt", p.name))


def newest(folder: Path) -> Path:
    """The checkpoint to resume from."""
    found = numbered(folder)
    if not found:
        raise UserError(f"{folder.absolute()} has no checkpoint to resume from")
    return found[-1]


def read(path: Path) -> dict[str, Any]:
    """Content of a checkpoint; a `UserError` where it is missing, damaged or of another schema."""
    if not path.is_file():
        raise UserError(f"there is no checkpoint {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything on a damaged file
        raise UserError(f"{path} cannot be read: it is damaged or not a checkpoint") from error
    if not isinstance(content, dict) or "schema" not in content:
        raise UserError(f"{path} is not a checkpoint of robo_ppo")
    if content["schema"] != SCHEMA:
        raise UserError(f"{path} has schema {content['schema']}; this version of robo_ppo reads schema {SCHEMA}")
    return content
