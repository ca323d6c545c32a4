"""Checkpoints: everything that an exact continuation needs, written so that an accident leaves the earlier one whole.

A checkpoint is written to a temporary file, synced and renamed. Loading verifies the checksum of every part, which
torch itself does not, and never runs code from the file (`torch.load(weights_only=True)`).
"""

import os
import re
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import torch

from robo_ppo.errors import UserError

SCHEMA = 1
KEPT = 3
BEST = "best.pt"
Content = TypeVar("Content")


def save(folder: Path, steps: int, content: dict[str, Any]) -> Path:
    """Write `checkpoints/step_<steps>.pt` and drop all but the last few."""
    path = folder / "checkpoints" / f"step_{steps:012d}.pt"
    write(path, content)
    # A temporary file is what a killed run left half-written.
    for old in (*numbered(folder)[:-KEPT], *path.parent.glob("*.tmp")):
        with suppress(OSError):
            old.unlink()
    return path


def on_cpu(content: Content) -> Content:
    """The same dictionaries and lists with every tensor on the CPU, where each machine can read it."""
    if isinstance(content, torch.Tensor):
        return content.cpu()  # pyright: ignore[reportReturnType]
    if isinstance(content, dict):
        return {key: on_cpu(value) for key, value in content.items()}  # pyright: ignore[reportReturnType]
    if isinstance(content, list):
        return [on_cpu(value) for value in content]  # pyright: ignore[reportReturnType]
    return content


def write(path: Path, content: dict[str, Any]) -> None:
    """Write one checkpoint; a `UserError` where the disk does not take it, with what was there before unharmed."""
    temporary = path.with_suffix(".tmp")
    try:
        path.parent.mkdir(exist_ok=True)
        with open(temporary, "wb") as file:
            torch.save({"schema": SCHEMA, **content}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch's writer turns some of the system's errors into its own
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) else "the disk did not take it"
        raise UserError(f"cannot write {path}: {reason}; earlier checkpoints are unharmed") from error


def numbered(folder: Path) -> list[Path]:
    """Checkpoints of a run, oldest first."""
    return sorted(p for p in (folder / "checkpoints").glob("step_*.pt") if re.fullmatch(r"step_\d+\.pt", p.name))


def steps_of(path: Path) -> int:
    """After how many environment steps a numbered checkpoint was written."""
    return int(path.stem.removeprefix("step_"))


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
    content: object = None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is None:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise nearly anything on a damaged file
        raise UserError(_refusal(path, "it is damaged or not a checkpoint")) from error
    if damaged is not None:
        raise UserError(_refusal(path, "its content has been altered or damaged"))
    if not isinstance(content, dict) or "schema" not in content:
        raise UserError(_refusal(path, "it is not a checkpoint of robo_ppo"))
    if content["schema"] != SCHEMA:
        raise UserError(f"{path} has schema {content['schema']}; this version of robo_ppo reads schema {SCHEMA}")
    return content


def _refusal(path: Path, reason: str) -> str:
    """Why a file cannot be read, and what else there is."""
    earlier = [other for other in numbered(path.parent.parent) if other.name < path.name]
    hint = f"; without it, {earlier[-1].name} would be the newest" if path.name != BEST and earlier else ""
    return f"{path} cannot be read: {reason}{hint}"
