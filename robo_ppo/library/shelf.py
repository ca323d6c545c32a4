"""The folder of a library: cards with their bundles, put in whole or not at all, and checked whenever they are read.

    add(Path("library"), Path("policy.onnx"), name="gate", text="Fly through a square gate")
    shelf = read_shelf(Path("library"))
    shelf.entries["gate"].bundle                     # library/gate.3fa9….onnx
    shelf.broken["door"]                             # "its bundle door.77c1….onnx is missing"

The shipped policies (`robo_ppo.policies`) are on every shelf, with cards made from their bundles. A card of the same
name in the folder stands in front of a shipped one, even a broken one: nobody gets another policy than they asked for.
"""

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path

from robo_ppo import atomic
from robo_ppo.errors import UserError
from robo_ppo.library.cards import LARGEST_CARD, LONGEST_TEXT, Card, card_from_json, card_of, card_to_json, checked_name
from robo_ppo.library.cards import name_from as name_from_task
from robo_ppo.library.described import described
from robo_ppo.library.pictures import LARGEST_FILE, read_picture
from robo_ppo.library.plain import plain
from robo_ppo.run.folder import shipped_policies
from robo_ppo_onboard.bundle import read_bundle


@dataclass(frozen=True)
class Entry:
    """A policy that can be flown: its card is true of its bundle."""

    card: Card
    bundle: Path
    picture: Path | None = None


@dataclass(frozen=True)
class Shelf:
    """What a library holds, by name and in its order."""

    folder: Path
    entries: Mapping[str, Entry]
    broken: Mapping[str, str]  # cards that cannot be used, with the reason


def read_shelf(folder: Path) -> Shelf:
    """Everything in a folder, and the shipped policies; what is broken is told, never raised."""
    entries: dict[str, Entry] = {}
    broken: dict[str, str] = {}
    for path in _cards_in(folder):
        try:
            entry = _entry(path)
            entries[entry.card.name] = entry
        except (UserError, ValueError, OSError) as error:
            broken[plain(path.stem, 80)] = plain(str(error), 300)
    for name, path in shipped_policies().items():
        if name not in entries and name not in broken:
            contract = read_bundle(path).contract
            entries[name] = Entry(card_of(contract, name, text=_text(described(contract))), path)
    return Shelf(folder, dict(sorted(entries.items())), dict(sorted(broken.items())))


def add(folder: Path, bundle: Path, *, name: str = "", text: str = "", image: str = "", replace: bool = False) -> Entry:
    """Copy a verified bundle into the folder and write its card; UserError where that cannot be, with nothing left."""
    found = read_bundle(bundle)
    name = checked_name(name) if name else name_from_task(found.contract.task)
    picture = read_picture(image) if image else b""
    card = card_of(
        found.contract,
        name,
        text=plain(text) or _text(described(found.contract)),
        picture=hashlib.sha256(picture).hexdigest() if picture else "",
        added=date.today().isoformat(),
    )
    path = folder / f"{name}.json"
    if not replace and (path.exists() or name in shipped_policies()):
        kind = "a policy" if path.exists() else "a shipped policy"
        raise UserError(f"there is {kind} '{name}' already; choose another name=…, or replace=true")
    document = card_to_json(card)
    files = {card.bundle_file: found.model, **({card.picture_file: picture} if picture else {})}
    _write_all(folder, files, path, document.encode())
    _forget_others(folder, card, keep=set(files))
    return Entry(card, folder / card.bundle_file, folder / card.picture_file if picture else None)


def _entry(path: Path) -> Entry:
    """What a card in a folder offers; UserError, ValueError or OSError with the reason why it cannot be used."""
    checked_name(path.stem)
    with path.open("rb") as file:
        data = file.read(LARGEST_CARD + 1)
    if len(data) > LARGEST_CARD:
        raise ValueError(f"its card has more than {LARGEST_CARD // 1000} kB")
    try:
        card = card_from_json(data.decode("utf-8"))
    except ValueError as error:
        raise ValueError(f"its card cannot be read: {error}") from error
    if card.name != path.stem:
        raise ValueError(f"its card is that of '{plain(card.name, 80)}'")
    bundle = path.with_name(card.bundle_file)
    if not bundle.is_file():
        raise ValueError(f"its bundle {bundle.name} is missing")
    contract = read_bundle(bundle).contract
    text = plain(card.text, LONGEST_TEXT)
    true = card_of(contract, card.name, text=text, picture=card.picture, added=plain(card.added, 40))
    false = [field.name for field in fields(Card) if getattr(card, field.name) != getattr(true, field.name)]
    if "sha256" in false:
        raise ValueError(f"its bundle {bundle.name} is another one than was added; add it again with replace=true")
    if set(false) - {"text", "added"}:
        raise ValueError(f"its card gives another {' and '.join(false)} than its bundle")
    return Entry(true, bundle, _picture(path, card))


def _picture(path: Path, card: Card) -> Path | None:
    picture = path.with_name(card.picture_file)
    if not card.picture:
        return None
    if not picture.is_file():
        raise ValueError(f"its picture {picture.name} is missing")
    if picture.stat().st_size > LARGEST_FILE or hashlib.sha256(picture.read_bytes()).hexdigest() != card.picture:
        raise ValueError(f"its picture {picture.name} was altered")
    return picture


def _cards_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".json" and path.is_file())
    except FileNotFoundError:
        return []  # nothing was added yet
    except OSError as error:
        raise UserError(f"cannot read the library {folder}: {error.strerror}") from error


def _text(text: str) -> str:
    return plain(text, LONGEST_TEXT)


def _write_all(folder: Path, files: Mapping[str, bytes], card: Path, document: bytes) -> None:
    """Bundle and picture first, under names that only this content has, then the card: without it they are nothing."""
    made: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            path = folder / name
            if not path.exists():
                made.append(path)
            atomic.write(path, data)
        atomic.write(card, document)
    except OSError as error:
        for path in made:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise UserError(f"cannot write into the library {folder}: {error.strerror}") from error


def _forget_others(folder: Path, card: Card, keep: set[str]) -> None:
    """Remove the files of the card that this one took the place of."""
    own = re.compile(re.escape(card.name) + r"\.[0-9a-f]{12}\.(onnx|png)")
    for path in folder.iterdir():
        if own.fullmatch(path.name) and path.name not in keep:
            with suppress(OSError):
                path.unlink()
