"""Text of others on a page: what cannot be seen is made visible, and a program is shown by what it changes.

    record = visible(record)                             # no control character or direction override in any text of it
    for line in difference(parent_text, text): ...       # Line("ins", "weights = {…}"), …

HTML is escaped where it is written, by the template.
"""

import dataclasses
import difflib
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from robo_ppo.shaping.llm.plain_text import printable

LONGEST = 60_000  # characters of one text
MOST_LINES = 600  # of programs that are compared line by line: beyond, that takes long

Whole = TypeVar("Whole")


@dataclass(frozen=True)
class Line:
    """A line of a difference."""

    kind: Literal["ins", "del", "same", "place"]
    text: str


def visible(value: Whole) -> Whole:
    """The same (dataclasses, lists, dicts of them) with every invisible character written as an escape."""
    return cast(Whole, _visible(value))


def difference(before: str, after: str) -> list[Line] | None:
    """What changed from one text to another, three lines around it; None where they are too long to compare."""
    old, new = before.splitlines(), after.splitlines()
    if max(len(old), len(new)) > MOST_LINES:
        return None
    lines = list(difflib.unified_diff(old, new, lineterm=""))[2:]
    return [_line(line) for line in lines]


def _line(line: str) -> Line:
    if line.startswith("@@"):
        return Line("place", line)
    return Line({"+": "ins", "-": "del"}.get(line[:1], "same"), line[1:])  # pyright: ignore[reportArgumentType]


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value, LONGEST)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        return type(value)(**{name: _visible(getattr(value, name)) for name in fields})
    if isinstance(value, dict):
        return {_visible(key): _visible(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        items = [_visible(item) for item in cast(list[Any], value)]
        return items if isinstance(value, list) else tuple(items)
    return value
