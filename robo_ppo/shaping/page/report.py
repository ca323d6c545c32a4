"""The page of a refinement: what was tried, what came of it, and whether to believe it, to read or send.

    write_refine_report(Path("runs/refine_uav_nav/2026-11-21_10-30-00"))      # → that folder's refine_report.html

It is written anew after every event of the loop, from what lies in the folder. Pictures and films are embedded, nothing
is loaded from elsewhere and no script runs. What a model or a person wrote is shown as text, whatever it contains. A
file that is missing or damaged is named on the page, and the rest is shown.
"""

import itertools
import math
import shlex
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from robo_ppo import atomic
from robo_ppo.errors import UserError
from robo_ppo.run.files import Files
from robo_ppo.run.output import program
from robo_ppo.run.templates import template
from robo_ppo.shaping import record
from robo_ppo.shaping.final import POLICY
from robo_ppo.shaping.llm.plain_text import one_line, printable
from robo_ppo.shaping.page.cards import ROOM, Card, Film, film_of, make_card
from robo_ppo.shaping.page.curves import curves
from robo_ppo.shaping.page.final import shown_final
from robo_ppo.shaping.page.text import visible
from robo_ppo.shaping.page.timeline import Entry, Turn, timeline
from robo_ppo.shaping.record import Candidate, Refinement, Round

PAGE = "refine_report.html"

State = Literal["unknown", "running", "stopped", "final", "better", "nothing"]


def write_refine_report(folder: Path) -> Path:
    """Write `refine_report.html` into a refinement's folder from what it holds, and return its path.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"no refinement at {folder}: give its folder, such as runs/refine_uav_nav/<time>")
    files = Files(folder, room=ROOM)
    page = template("refine_report.html.jinja", __package__ or "").render(_contents(files))
    atomic.write(folder / PAGE, page)
    return folder / PAGE


def try_to_write(folder: Path) -> None:
    """The same for whoever goes on without the page: what went wrong is printed."""
    try:
        write_refine_report(folder)
    except Exception as error:  # a page is no reason to lose a night of training
        print(f"{folder / PAGE} could not be written: {error.__class__.__name__}: {one_line(str(error))}", flush=True)


def _contents(files: Files) -> dict[str, Any]:
    """What the template shows."""
    config = files.mapping("config.yaml")
    refinement = _record(files)
    known = refinement is not None
    refinement = refinement or _without_record(files, config)
    state = _state(refinement) if known else "unknown"
    leader = next((turn.best for turn in reversed(refinement.rounds) if turn.best), "")
    winner = refinement.winner if state in ("better", "nothing") else ""
    cards = _cards(files, refinement, "" if winner else leader, winner)
    best = next((card for card in cards if card.candidate.name == (winner or leader)), None) or cards[0]
    films = _films(files, cards, best)
    seeds = refinement.comparison.seeds if refinement.comparison else []
    place = files.place(str(config.get("runs", "runs")))
    settings = config.get("refine")
    subject, best_file = refinement.target or "reward", record.best_file(refinement.target)
    return {
        "refinement": refinement,
        "state": state,
        "of_rounds": settings.get("rounds") if isinstance(settings, dict) else None,
        "written": _moment(files),
        "run": printable(files.folder.name),
        "resume": f"{program('refine')} {shlex.join([f'resume={place}'])}",
        "leader": next((card for card in cards if card.candidate.name == leader), None),
        "best": best,
        "cards": cards,
        "final": shown_final(refinement.comparison),
        "timeline": timeline(_turns(refinement, cards)),
        "curves": curves(cards, refinement.rounds, seeds, best),
        "films": films,
        "steps": sum(card.steps for card in cards),
        "trained": sum(card.success is not None for card in cards),
        "minutes": refinement.seconds / 60.0 if math.isfinite(refinement.seconds) else None,
        "subject": subject,
        "best_file": best_file if files.has(best_file) else "",
        "commands": _commands(files, refinement, best, place),
        "missing": {printable(name): problem for name, problem in files.missing.items()},
    }


def _record(files: Files) -> Refinement | None:
    try:
        return visible(record.load(files.folder))
    except (UserError, RecursionError):
        there = files.has(record.NAME)
        files.missing[record.NAME] = "is damaged, or of another version" if there else "is missing"
        return None


def _without_record(files: Files, config: Mapping[str, Any]) -> Refinement:
    """What the folders of candidates say by themselves."""
    task, llm = config.get("task"), config.get("llm")
    found = [
        Candidate(PurePosixPath(name).parent.name, "", "", "", files.read(name) or "", str(PurePosixPath(name).parent))
        for name in files.below("candidates", f"*/{record.item_file(str(config.get('target', '')))}")
    ]
    found = [visible(one) for one in found]
    given = next((one for one in found if one.name == "given"), None)
    return Refinement(
        task=printable(str(task.get("name"))) if isinstance(task, dict) else "",
        target=printable(str(config.get("target", ""))),
        llm=printable(str(llm.get("name"))) if isinstance(llm, dict) else "",
        given=given or Candidate("given", "", "given", "", "", "candidates/given"),
        rounds=[Round(1, [one for one in found if one is not given])] if len(found) > (given is not None) else [],
    )


def _state(refinement: Refinement) -> State:
    if refinement.test_after is not None:
        return "better" if refinement.winner not in ("", refinement.given.name) else "nothing"
    if refinement.stopped_by in signal.Signals.__members__:
        return "stopped"
    return "final" if refinement.stopped_by else "running"


def _cards(files: Files, refinement: Refinement, leader: str, winner: str) -> list[Card]:
    """All candidates in their order, the given one first."""
    everyone = [(0, refinement.given), *((turn.number, one) for turn in refinement.rounds for one in turn.candidates)]
    cards: dict[str, Card] = {}
    made: list[Card] = []
    for number, (turn, one) in enumerate(everyone):
        card = make_card(files, one, number, turn, cards.get(one.parent), leader=leader, winner=winner)
        cards.setdefault(one.name, card)
        made.append(card)
    for turn in refinement.rounds:
        best = cards.get(turn.best)
        if best is not None and best.round == turn.number and best.candidate.name not in (leader, winner):
            best.kind = "leader" if best.kind == "trained" else best.kind
            best.badges.append(("lead", f"led round {turn.number}"))
    return made


def _turns(refinement: Refinement, cards: Sequence[Card]) -> list[Turn]:
    """The timeline's rows: a title, a sentence, and the candidates."""
    given = refinement.given.name
    turns = [
        Turn("Before", f"the {refinement.target or 'reward'} that the loop began with", [_entry(cards[0], "")], given)
    ]
    rest = iter(cards[1:])
    for turn in refinement.rounds:
        mine = list(itertools.islice(rest, len(turn.candidates)))
        parts = [f"{len(mine)} proposed"]
        for kind, word in (("refused", "refused"), ("flagged", "flagged"), ("waiting", "not trained yet")):
            count = sum(card.kind == kind for card in mine)
            parts += [f"{count} {word}"] * (count > 0)
        note = f"{f'{turn.best} leads' if turn.best else 'not over'}; {', '.join(parts)}"
        turns.append(Turn(f"Round {turn.number}", note, [_entry(card, turn.best) for card in mine], turn.best))
    return turns


def _entry(card: Card, best: str) -> Entry:
    """A candidate's dot; who led after its round is a leader there, also if another one leads now."""
    kind, name = card.kind, card.candidate.name
    if kind in ("leader", "trained"):
        kind = "leader" if name == best else "trained"
    return Entry(card.number, name, kind, card.success.value if card.success else None)


def _films(files: Files, cards: Sequence[Card], best: Card) -> list[Film]:
    """The given reward's film and the best one's, side by side; any other is on its own candidate's card."""
    side_by_side = [film for card in dict.fromkeys([0, best.number]) if (film := film_of(files, cards[card]))]
    for card in cards[1:]:
        if card is not best:
            card.film = film_of(files, card)
    return side_by_side


def _commands(files: Files, refinement: Refinement, best: Card, place: str) -> list[str]:
    """What to type to train with what is best, and to measure and watch the policy."""
    target, of_best = refinement.target, record.best_file(refinement.target)
    chosen = of_best if files.has(of_best) else f"{best.candidate.folder}/{record.item_file(target)}"
    commands: list[str] = []
    if files.has(chosen):
        settings = [f"task={refinement.task}", f"{target or 'reward'}={place}/{chosen}"]
        commands.append(f"{program('train')} {shlex.join(settings)}")
    if files.has(POLICY):
        bundle = shlex.join([f"bundle={place}/{POLICY}"])
        commands += [f"{program(command)} {bundle}" for command in ("evaluate", "play")]
    return commands


def _moment(files: Files) -> str:
    """When the record was last written."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime((files.folder / record.NAME).stat().st_mtime))
    except OSError:
        return ""
