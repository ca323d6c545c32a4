"""The rounds of a refinement as rows of dots: where each dot stands, so that none covers another.

    timeline([Turn("Before", …), Turn("Round 1", …)]).rows

Across is success at the last rung that a candidate reached, in per cent. Dots that would touch stand in lanes below
one another. Who was refused has no success and stands in a column of its own. A line goes from leader to leader.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["given", "trained", "flagged", "leader", "refused", "waiting"]

APART = 5.0  # per cent of the width between dots of a lane: more than a dot's width on a phone
LANE = 20  # px between lanes
HEAD = 30  # px of a row's line of text
BESIDE = 3  # dots in a line of the column for those without success
FOOT = 14  # px below its dots


@dataclass(frozen=True)
class Entry:
    """A candidate, as the timeline sees it."""

    number: int  # of its card
    label: str
    kind: Kind
    success: float | None


@dataclass(frozen=True)
class Dot:
    """Where a candidate stands."""

    entry: Entry
    x: float  # per cent of the width
    y: float  # px from the top of all rows


@dataclass(frozen=True)
class Turn:
    """A row before it is drawn."""

    title: str
    note: str
    entries: list[Entry]
    best: str  # the label of who leads after it, of whatever round


@dataclass(frozen=True)
class Row:
    """A round."""

    title: str
    note: str
    top: int  # px
    height: int
    dots: list[Dot]
    aside: list[Entry]  # without a success


@dataclass(frozen=True)
class Timeline:
    """All rows."""

    rows: list[Row]
    height: int
    line: str  # the leaders' points, in an SVG that is 100 wide


def timeline(turns: Sequence[Turn]) -> Timeline:
    """Rows, one below another."""
    rows: list[Row] = []
    line: list[str] = []
    known: dict[str, float] = {}  # where a label stands across
    top = 0
    for turn in turns:
        dots = _dots(turn.entries, top + HEAD + LANE / 2)
        known |= {dot.entry.label: dot.x for dot in dots}
        aside = [entry for entry in turn.entries if _share(entry.success) is None]
        lanes = max([1, -(-len(aside) // BESIDE), *(round((dot.y - top - HEAD) / LANE + 0.5) for dot in dots)])
        if turn.best in known:
            y = next((dot.y for dot in dots if dot.entry.label == turn.best), top + HEAD + LANE / 2)
            line.append(f"{known[turn.best]:.2f},{y:.1f}")
        rows.append(Row(turn.title, turn.note, top, HEAD + lanes * LANE + FOOT, dots, aside))
        top += rows[-1].height
    return Timeline(rows, top, " ".join(line))


def _dots(entries: Sequence[Entry], first: float) -> list[Dot]:
    """Where those with a success stand; `first` is the first lane's y."""
    shown = [(entry, 100.0 * share) for entry in entries if (share := _share(entry.success)) is not None]
    dots: list[Dot] = []
    # The leader first, which keeps it in the first lane, then from left to right.
    for entry, x in sorted(shown, key=lambda one: (one[0].kind != "leader", one[1])):
        near = {dot.y for dot in dots if abs(dot.x - x) < APART}
        lanes = (first + number * LANE for number in itertools.count())
        dots.append(Dot(entry, x, next(y for y in lanes if y not in near)))
    return dots


def _share(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else min(1.0, max(0.0, value))
