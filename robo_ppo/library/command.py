"""The command line of the policy library: `python -m robo_ppo.library add|list|select`, or `robo-ppo library …`.

    python -m robo_ppo.library add bundle=runs/latest/policy.onnx name=gate text="Fly through a square gate"
    python -m robo_ppo.library list
    python -m robo_ppo.library select "fly through the gate" image=scene.png llm=openai

`select` prints the path of a bundle and nothing else on standard output, so that another command can take it; why that
one, and how surely, goes to standard error. Where nothing fits it prints no path and ends with exit code 2.
"""

import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.settings import parse_settings
from robo_ppo.library.cards import headline
from robo_ppo.library.choice import Pick, checked_request, pick_by_model, pick_by_words
from robo_ppo.library.pictures import read_picture
from robo_ppo.library.plain import plain
from robo_ppo.library.shelf import Shelf, add, read_shelf
from robo_ppo.run import folder as folders
from robo_ppo.shaping.llm.model import Model

USAGE = """\
usage: python -m robo_ppo.library add bundle=<policy.onnx> [name=…] [text="What it does"] [image=…] [replace=true]
       python -m robo_ppo.library list
       python -m robo_ppo.library select "what it shall do" [image=scene.png] [llm=openai|… llm.model=…]
library=<folder> says where the cards and bundles are (library/ unless it is given)"""

_TEXT_COLUMN = 70  # characters of a card's text in the table


@dataclass
class AddSettings:
    """What `add` is told."""

    bundle: str = ""  # a file, or the name of a shipped policy
    name: str = ""  # empty: that of the task
    text: str = ""  # empty: what the task's source says of it
    image: str = ""  # a PNG or JPEG for the card
    replace: bool = False
    library: str = "library"


@dataclass
class ListSettings:
    """What `list` is told."""

    library: str = "library"


@dataclass
class SelectSettings:
    """What `select` is told, besides the request and `llm…`."""

    image: str = ""  # a PNG or JPEG of the scene
    library: str = "library"
    runs: str = "runs"  # where questions to a model and its answers are kept


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code is 2 for a person's mistake, and where nothing fits a request."""
    if list(arguments) in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    commands = {"add": _add, "list": _list, "select": _select}
    try:
        if not arguments or arguments[0] not in commands:
            raise UserError(f"say what to do with the library: add, list or select\n{USAGE}")
        commands[arguments[0]](arguments[1:])
    except UserError as error:
        print("\n".join(_line(line) for line in f"error: {error}".splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # somebody waited for an answer long enough
        print("\ninterrupted", file=sys.stderr)
        return 130
    return 0


def _add(arguments: Sequence[str]) -> None:
    settings = parse_settings(AddSettings, arguments)
    if not settings.bundle:
        raise UserError(f"say what to add: bundle=<policy.onnx>\n{USAGE}")
    entry = add(
        Path(settings.library),
        folders.find_bundle(settings.bundle),
        name=settings.name,
        text=settings.text,
        image=settings.image,
        replace=settings.replace,
    )
    print(f"added {entry.card.name}: {entry.card.text}")
    print(f"{entry.bundle} (success {headline(entry.card)}, SHA-256 {entry.card.sha256})")


def _list(arguments: Sequence[str]) -> None:
    print(table(read_shelf(Path(parse_settings(ListSettings, arguments).library))))


def _select(arguments: Sequence[str]) -> None:
    llm = [word for word in arguments if word.startswith(("llm=", "llm."))]
    rest = [word for word in arguments if word not in llm]
    requests = [word for word in rest if not re.match(r"\w+=", word)]
    if len(requests) != 1:
        raise UserError(f'say in one argument what the policy shall do, as in select "fly between columns"\n{USAGE}')
    settings = parse_settings(SelectSettings, [word for word in rest if word not in requests])
    request = checked_request(requests[0])
    scene = read_picture(settings.image) if settings.image else b""
    shelf = read_shelf(Path(settings.library))
    pick = _picked(shelf, request, scene, llm, settings)
    print(f"{pick.entry.card.name}, with a confidence of {pick.confidence:.2f}", file=sys.stderr)
    print(f"  {plain(pick.reason)}", file=sys.stderr)
    print(f"  success {headline(pick.entry.card)}", file=sys.stderr)
    print(pick.entry.bundle)


def _picked(shelf: Shelf, request: str, scene: bytes, llm: list[str], settings: SelectSettings) -> Pick:
    if llm in ([], ["llm=none"]):
        if scene:
            print("the picture was not looked at: that needs a model, llm=…", file=sys.stderr)
        return pick_by_words(shelf, request)
    model = _model(llm, settings.runs)
    with redirect_stdout(sys.stderr):  # where a model says how it goes on: standard output is for the path alone
        return pick_by_model(model, shelf, request, scene)


def _model(llm: list[str], runs: str) -> Model:
    """Who `llm=…` is, with a folder for the question and the answer."""
    # Each takes a while to import, and most selections need neither.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from robo_ppo.run.compose import compose_library
    from robo_ppo.run.hydra_errors import explain
    from robo_ppo.shaping.llm import keys
    from robo_ppo.shaping.llm.choices import make_model

    keys.refuse_in_arguments(llm)
    try:
        config = compose_library(*llm).llm
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise UserError(explain(error)) from error
    folder = folders.create(runs, "library_select", latest=False)
    try:
        model = make_model(config, folder)
        if model is None:
            raise UserError(f"{' '.join(llm)}: with llm=none nobody is asked; choose who, as in llm=openai")
    except UserError:
        folder.rmdir()
        raise
    print(f"question and answer are kept in {folder}", file=sys.stderr)
    return model


def table(shelf: Shelf) -> str:
    """What a library holds, a line for each policy; cards that cannot be used say why."""
    rows = [["name", "task", "robot", "success", "what it does"]]
    for name, entry in shelf.entries.items():
        card = entry.card
        rows.append([name, plain(card.task, 24), plain(card.robot, 24), headline(card), plain(card.text, _TEXT_COLUMN)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines += [f"{name} cannot be used: {reason}" for name, reason in shelf.broken.items()]
    return "\n".join(lines)


def _line(text: str) -> str:
    """A line of a message, indented as it was, without control characters."""
    return text[: len(text) - len(text.lstrip(" "))] + plain(text)
