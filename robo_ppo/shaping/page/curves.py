"""How candidates learned: small pictures side by side, one for each round's finalists and one for the final.

    for title, source in curves(cards, refinement.rounds, seeds=[0, 1, 2], best=cards[3]): ...

A picture is drawn once for what it shows: a page that is rewritten after every event draws only what is new.
"""

import functools
import io
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, PercentFormatter

from robo_ppo.env.task import SUCCESS
from robo_ppo.run import palette
from robo_ppo.run.files import data_uri
from robo_ppo.run.plots import style
from robo_ppo.shaping.page.cards import Card, challengers
from robo_ppo.shaping.page.points import Points, points
from robo_ppo.shaping.record import Round

COLOURS = ("#2176c7", "#1f9d55", "#8e44ad", "#c8322b", "#d08700", "#0f8b8d")
GIVEN = palette.MUTED
WINNER = palette.VEHICLE


@dataclass(frozen=True)
class Line:
    """A training: its success in validation, and in its own episodes."""

    label: str  # "": not in the legend
    colour: str
    validation: Points
    training: Points
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """One picture."""

    title: str
    lines: tuple[Line, ...]


def curves(cards: Sequence[Card], rounds: Sequence[Round], seeds: Sequence[int], best: Card) -> list[tuple[str, str]]:
    """Titles and sources (data URIs) of pictures of all that came to the last rung, and of the final's seeds."""
    last = max(1, max(len(card.candidate.rungs) for card in cards))
    finalists = [card for card in cards if len(card.candidate.rungs) == last]
    panels = [
        Panel(f"Round {turn.number}", _loop([card for card in finalists if card.round in (0, turn.number)], best))
        for turn in rounds
        if any(card.round == turn.number for card in finalists)
    ]
    if seeds:
        names = [f"seed_{seed}" for seed in seeds]
        sides = [cards[0], *challengers(cards, seeds)]
        panels.append(Panel("Final: each seed, to the last rung", _final(sides, names, best)))
    shown = [panel for panel in panels if any(line.validation or line.training for line in panel.lines)]
    return [(panel.title, data_uri(drawn(panel), "image/png")) for panel in shown]


def _loop(cards: Sequence[Card], best: Card) -> tuple[Line, ...]:
    """Each as far as the loop trained it: the final may have gone on with it since."""
    lines: list[Line] = []
    for card, colour in _coloured(cards, best):
        rung = card.candidate.rungs[-1]
        lines.append(_line(card, f"seed_{rung.seed}", colour, card.candidate.name, rung.steps))
    return tuple(lines)


def _final(cards: Sequence[Card], names: Sequence[str], best: Card) -> tuple[Line, ...]:
    """Every seed of each, of which the first is in the legend."""
    return tuple(
        _line(card, name, colour, card.candidate.name if name == names[0] else "")
        for card, colour in _coloured(cards, best)
        for name in names
    )


def _coloured(cards: Sequence[Card], best: Card) -> list[tuple[Card, str]]:
    """Cards with their colours: the given one's and the best one's are always the same."""
    others = itertools.cycle(COLOURS)
    return [(card, GIVEN if card.round == 0 else WINNER if card is best else next(others)) for card in cards]


def _line(card: Card, seed: str, colour: str, label: str, until: float = math.inf) -> Line:
    rows = card.trainings.get(seed, [])
    validation, training = (points(rows, f"{kind}/{SUCCESS}", until) for kind in ("validation", "train"))
    return Line(label, colour, validation, training, dashed=card.round == 0)


@functools.lru_cache(maxsize=32)
def drawn(panel: Panel) -> bytes:
    """A panel as a PNG."""
    figure = Figure(figsize=(4.8, 3.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    style(axes, panel.title)
    for line in panel.lines:
        if line.training:
            axes.plot(*zip(*line.training, strict=True), color=line.colour, linewidth=0.9, alpha=0.35)
        if line.validation:
            axes.plot(*zip(*line.validation, strict=True), marker="o", markersize=3, **_look(line))
    axes.set_ylim(-0.02, 1.02)  # a line along zero is seen
    axes.set_xlim(left=0.0)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("environment steps", fontsize=8, color=palette.MUTED)
    legend = figure.legend(
        handles=[_handle(line) for line in panel.lines if line.label],
        loc="outside lower center",
        ncols=4,
        fontsize=7.5,
        frameon=False,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # else dollars in a name would make a formula of it
    content = io.BytesIO()
    figure.savefig(content, format="png", facecolor="white")
    return content.getvalue()


def _handle(line: Line) -> Line2D:
    # matplotlib leaves out what begins with an underscore, and makes room for whatever is long.
    label = " ".join(line.label.lstrip("_").split())[:24]
    return Line2D([], [], label=label or "–", **_look(line))


def _look(line: Line) -> dict[str, Any]:
    return {"color": line.colour, "linewidth": 1.5, "linestyle": (0, (4, 2)) if line.dashed else "-"}
