"""Files that are there whole or not at all, and JSON whose fields and types are exactly those of a dataclass.

    write_json(folder / "sweep.json", dataclasses.asdict(sweep))
    sweep = from_json(Sweep, (folder / "sweep.json").read_bytes())      # ValueError, with the place, for anything else

A field with a default may be missing; one that the class does not know may not be there.
"""

import functools
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from robo_ppo import atomic
from robo_ppo.errors import UserError

Kind = TypeVar("Kind")


def write(path: Path, content: str | bytes) -> None:
    """Replace a file, or make it and its folder; a UserError where that cannot be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def write_json(path: Path, content: object) -> None:
    """Write JSON, indented for people."""
    write(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def set_aside(folder: Path) -> Path:
    """Rename a folder whose place is needed, and return what it is called now: what was paid for is not thrown away."""
    number = 1
    while (other := folder.with_name(f"replaced_{number}_{folder.name}")).exists():
        number += 1
    return folder.replace(other)


def from_json(kind: type[Kind], text: str | bytes) -> Kind:
    """An object of a dataclass; a ValueError says where the text does not fit it."""
    try:
        return _adapter(kind).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors()[0]
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        raise ValueError(f"{kind.__name__}{place}: {first['msg']}") from None


@functools.cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
