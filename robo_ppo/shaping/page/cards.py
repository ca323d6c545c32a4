"""A candidate of a refinement as its page shows it: what was said of it, what it changes, and what it learned to do.

card = make_card(files, candidate, 3, 1, parent_card, leader="r01_c03", winner="")
card.badges, card.difference, card.packet, card.pictures
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from robo_ppo.errors import UserError
from robo_ppo.run import palette
from robo_ppo.run.files import Files
from robo_ppo.shaping.packets.packet import FILE, Packet, Term, read_packet
from robo_ppo.shaping.page.points import points
from robo_ppo.shaping.page.text import Line, difference, visible
from robo_ppo.shaping.page.timeline import Kind
from robo_ppo.shaping.record import Candidate, Share

GATE = ("language", "dry run", "ranking")
METRICS = "seed_*/metrics.jsonl"
FILM = "seed_*/evaluation/video.mp4"
LARGEST_FILM = 16e6  # bytes; a larger one is linked
ROOM = 96e6  # bytes of pictures and films in a page


@dataclass(frozen=True)
class Picture:
    """A PNG of a diagnosis."""

    source: str
    caption: str


@dataclass(frozen=True)
class Film:
    """A film in the page, or where it lies."""

    title: str
    source: str | None
    link: str
    note: str


@dataclass(frozen=True)
class Outcome:
    """How often episodes ended in a way."""

    name: str
    count: int
    share: float
    colour: str


@dataclass
class Card:
    """One candidate."""

    number: int
    round: int  # 0: what the loop began with
    candidate: Candidate
    kind: Kind
    badges: list[tuple[str, str]]  # (look, text)
    success: Share | None  # at the last rung
    trainings: dict[str, list[dict[str, Any]]]  # rows of metrics by folder
    difference: list[Line] | None = None
    parent: "Card | None" = None
    note: str = ""  # why there is no difference
    packet: Packet | None = None
    terms: list[Term] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    film: Film | None = None

    @property
    def steps(self) -> float:
        """Environment steps that went into it: each training as far as it came."""
        reached = {
            name: max((x for x, _ in points(rows, "step")), default=0.0) for name, rows in self.trainings.items()
        }
        for rung in self.candidate.rungs:
            name = f"seed_{rung.seed}"
            reached[name] = max(reached.get(name, 0.0), float(rung.steps))
        return sum(reached.values())


def make_card(
    files: Files, one: Candidate, number: int, turn: int, parent: Card | None, *, leader: str, winner: str
) -> Card:
    """A candidate's card; what its folder lacks is left out, and noted where it should be there."""
    trainings = {PurePosixPath(name).parent.name: files.rows(name) for name in files.below(one.folder, METRICS)}
    refused = [v for v in one.verdicts if not v.passed and (v.stage in GATE or not one.rungs)]
    failed = [v for v in one.verdicts if not v.passed and v.stage == "training" and v not in refused]
    flagged = [v for v in one.verdicts if not v.passed and v not in refused and v not in failed]
    badges: list[tuple[str, str]] = []
    if one.name == winner:
        badges.append(("good", "winner" if turn else "stays"))
    elif one.name == leader and turn:
        badges.append(("lead", "leads"))
    if refused and turn:
        badges.append(("bad", f"refused: {refused[0].stage}"))
    if failed:
        badges.append(("bad", "training failed"))
    if flagged:
        badges.append(("warn", f"flagged: {flagged[0].stage}"))
    success = one.rungs[-1].success if one.rungs else None
    if success is None and not refused:
        badges.append(("", "trains" if trainings else "not trained yet"))
    if turn == 0:
        kind: Kind = "given"
    elif success is None:
        kind = "refused" if refused else "waiting"
    else:
        kind = "flagged" if flagged or failed else "leader" if one.name in (leader, winner) else "trained"
    card = Card(number, turn, one, kind, badges, success, trainings)
    _compare(card, parent)
    _diagnosis(files, card)
    return card


def challengers(cards: Sequence[Card], seeds: Sequence[int]) -> list[Card]:
    """Who met the given reward in the final: trained with all of its seeds."""
    return [card for card in cards[1:] if all(f"seed_{seed}" in card.trainings for seed in seeds)]


def film_of(files: Files, card: Card) -> Film | None:
    """The film of a candidate's best policy, if one was made."""
    name = next(iter(files.below(card.candidate.folder, FILM)), None)
    if name is None:
        return None
    source = files.embedded(name, "video/mp4", LARGEST_FILM)
    seed = PurePosixPath(name).parts[-3].removeprefix("seed_")
    return Film(card.candidate.name, source, files.link(name), f"test episodes, trained with seed {seed}")


def _compare(card: Card, parent: Card | None) -> None:
    one = card.candidate
    if card.round == 0:
        card.note = "what the loop began with"
    elif parent is None:
        card.note = f"its parent, {one.parent}, is not known" if one.parent else "it has no parent"
    else:
        card.parent = parent
        card.difference = difference(parent.candidate.program, one.program)
        if card.difference is None:
            card.note = "too long to be compared line by line"
        elif not card.difference:
            card.note = "the same text"


def _diagnosis(files: Files, card: Card) -> None:
    name = f"{card.candidate.folder}/{FILE}"
    if not files.has(name):
        return
    try:
        packet = visible(read_packet(files.folder / name))
    except (UserError, RecursionError):
        files.missing[name] = "is damaged, or of another version"
        return
    card.packet = packet
    card.terms = sorted(packet.terms, key=lambda term: -_finite(term.share))
    total = sum(packet.outcomes.values())
    card.outcomes = [
        Outcome(name, count, count / total if total else 0.0, palette.outcome_colour(name))
        for name, count in sorted(packet.outcomes.items(), key=lambda one: (one[0] != "success", -one[1]))
    ]
    for picture in packet.files:
        source = files.embedded(f"{card.candidate.folder}/{picture.file}", "image/png")
        if source is not None:
            card.pictures.append(Picture(source, picture.caption))


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
