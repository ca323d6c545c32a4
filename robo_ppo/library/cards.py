"""A card: what a policy does, how well, and of which bundle it speaks.

    card = card_of(read_bundle("policy.onnx").contract, "gate", text="Fly through a square gate", added="2026-11-22")
    card_from_json(card_to_json(card)) == card

On disk it is one JSON file, `gate.json`. It names no file: its bundle is `gate.<first 12 digits of the SHA-256>.onnx`
and its picture `gate.<…>.png` beside it, so that no card can lead out of its folder. What it says of the bundle is
written for people; `shelf` believes it only where the bundle says the same.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from robo_ppo.errors import UserError
from robo_ppo.library.plain import plain
from robo_ppo_onboard.contract import Contract

LONGEST_TEXT = 2000
LARGEST_CARD = 100_000  # bytes

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NOT_NAMES = re.compile(r"none|con|prn|aux|nul|(com|lpt)[0-9]")  # "no policy" to a model, and Windows' devices
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Card:
    """What the library says of a policy."""

    name: str
    text: str  # what it does, in a person's words
    task: str
    robot: str
    control_period: float  # s
    evaluation: Mapping[str, object] | None  # as the bundle has it; None: never evaluated
    sha256: str  # of the bundle, the one that its contract gives
    picture: str  # SHA-256 of the picture; empty: none
    added: str  # a date

    @property
    def bundle_file(self) -> str:
        """Name of the bundle's file beside the card."""
        return f"{self.name}.{self.sha256[:12]}.onnx"

    @property
    def picture_file(self) -> str:
        """Name of the picture's file beside the card."""
        return f"{self.name}.{self.picture[:12]}.png"


def card_of(contract: Contract, name: str, *, text: str, picture: str = "", added: str = "") -> Card:
    """The card of a bundle, by its contract; UserError where the name or the text cannot stand on one."""
    if not text or len(text) > LONGEST_TEXT:
        raise UserError(f"a card's text has 1 to {LONGEST_TEXT} characters, not {len(text)}")
    return Card(
        name=checked_name(name),
        text=text,
        task=plain(contract.task),
        robot=plain(contract.robot),
        control_period=contract.control_period,
        evaluation=contract.evaluation,
        sha256=contract.sha256,
        picture=picture,
        added=added,
    )


def checked_name(name: str) -> str:
    """The name, if a card may have it; else a UserError."""
    if not _NAME.fullmatch(name) or _NOT_NAMES.fullmatch(name):
        raise UserError(
            f"'{plain(name, 80)}' is no name for a policy: up to 64 small letters a to z, digits, '_' and '-', as in "
            "name=gate_fast"
        )
    return name


def name_from(text: str) -> str:
    """A name that a card may have, from that of a task."""
    return checked_name(re.sub("[^a-z0-9_-]+", "_", text.lower()).strip("_-")[:64])


def card_to_json(card: Card) -> str:
    """The card as JSON for people to read; UserError where it is larger than any card should be."""
    try:
        document = json.dumps(asdict(card), indent=2, allow_nan=False) + "\n"
    except RecursionError:
        raise UserError("the bundle's evaluation is nested too deep for a card") from None
    if len(document) > LARGEST_CARD:
        raise UserError(
            f"the bundle's evaluation is too long for a card: {len(document)} bytes, {LARGEST_CARD} at most"
        )
    return document


def card_from_json(text: str) -> Card:
    """A card from JSON; ValueError with what does not belong. Whether it tells the truth is not known by that."""
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested without end") from error
    names = [field.name for field in fields(Card)]
    if not isinstance(document, dict) or sorted(document) != sorted(names):
        raise ValueError(f"it does not have exactly the keys {', '.join(names)}")
    for name in names:
        value, kinds = document[name], _KINDS.get(name, (str,))
        if type(value) not in kinds:
            raise ValueError(f"its {name} is a {type(value).__name__}")
    for name in ("sha256", "picture"):
        if not _SHA256.fullmatch(document[name]) and (name, document[name]) != ("picture", ""):
            raise ValueError(f"its {name} is no SHA-256")
    return Card(**document)


_KINDS: dict[str, tuple[type, ...]] = {"control_period": (float, int), "evaluation": (dict, type(None))}


def headline(card: Card) -> str:
    """How good the policy is: success with its interval, or the return where a task knows no success."""
    evaluation = card.evaluation or {}
    success, episodes = evaluation.get("success"), _number(evaluation.get("episodes"))
    counted = "" if episodes is None else f" of {episodes:g}"
    if isinstance(success, Mapping):
        value, low, high = (_number(success.get(key)) for key in ("value", "low", "high"))
        if value is not None and low is not None and high is not None and 0.0 <= low <= value <= high <= 1.0:
            return f"{value:.1%} ({low:.1%} … {high:.1%}){counted}"
    found = means(card).get("return")
    return "not evaluated" if found is None else f"return {found:.4g}{counted}"


def means(card: Card) -> dict[str, float]:
    """The mean of every metric of the evaluation, by name."""
    metrics = (card.evaluation or {}).get("metrics")
    found: dict[str, float] = {}
    for name, spread in metrics.items() if isinstance(metrics, Mapping) else ():
        mean = _number(spread.get("mean")) if isinstance(spread, Mapping) else None
        if mean is not None:
            found[plain(str(name), 60)] = mean
    return found


def _number(value: object) -> float | None:
    """A number of an evaluation, in which a stranger's bundle may have anything that JSON can say."""
    try:
        return float(value) if isinstance(value, float | int) and not isinstance(value, bool) else None
    except OverflowError:
        return None
