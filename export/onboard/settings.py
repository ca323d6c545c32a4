"""The command line of the controller: `name=value` words, as everywhere in robo_ppo, without its configuration library.

    python -m robo_ppo_onboard bundle=policy.onnx link=mavlink link.address=udpin:0.0.0.0:14540 limits=room.yaml

`link` and `source` name classes of `LINKS` and `SOURCES`; their settings are the keyword-only parameters of the class,
written `link.address=…`, `source.mocap.port=…`. Several sources are listed with commas.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence, Tuple, TypeVar, Union

from .errors import UserError, did_you_mean
from .links.link import Link
from .sources.source import Source

LINKS = {
    "betaflight": ("links.betaflight", "BetaflightLink"),
    "crazyflie": ("links.crazyflie", "CrazyflieLink"),
    "mavlink": ("links.mavlink", "MavlinkLink"),
}
SOURCES = {
    "constant": ("sources.constant", "ConstantSource"),
    "mavlink": ("sources.mavlink", "MavlinkSource"),
    "crazyflie": ("sources.crazyflie", "CrazyflieSource"),
    "mocap": ("sources.mocap", "MocapSource"),
}
LINK_AS_SOURCE = "link"
"""The source that is the link itself: a vehicle that also tells its state."""

Kind = TypeVar("Kind")
Value = Union[bool, int, float, str, Tuple[float, ...]]


@dataclass
class Settings:
    """What a person asked for."""

    bundle: str = ""
    link: str = ""
    source: str = ""
    limits: str = ""
    log: str = "flights"  # a folder; empty: no log
    plan: bool = False  # launch, engage and land without being asked
    launch: bool = True  # of the plan
    land_after: float = 0.0  # s with the policy, of the plan; 0: never
    settings: dict[str, Value] = field(default_factory=dict)  # of the link and the sources, by dotted name


def parse(words: Sequence[str]) -> Settings:
    """Settings from the command line; UserError for a word that means nothing."""
    found = Settings()
    known = {name: type(value) for name, value in vars(found).items() if name != "settings"}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise UserError(f"'{word}': expected name=value; names: {', '.join(known)}, link.…, source.…")
        if name.startswith(("link.", "source.")):
            found.settings[name] = value_of(text)
        elif name not in known:
            raise UserError(f"there is no setting '{name}'; {did_you_mean(name, known)}")
        elif known[name] is str:
            setattr(found, name, text)
        else:
            value = value_of(text)
            if not isinstance(value, (known[name], int)) or (known[name] is bool) != isinstance(value, bool):
                raise UserError(f"{name}={text}: expected {'true or false' if known[name] is bool else 'a number'}")
            setattr(found, name, value)
    for name in ("bundle", "link"):
        if not getattr(found, name):
            example = "policy.onnx" if name == "bundle" else " or link=".join(LINKS)
            raise UserError(f"say what to fly: {name}={example}")
    return found


def value_of(text: str) -> Value:
    """A boolean, a number, a list of numbers (with commas) or a text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return text


def make_link(settings: Settings) -> Link:
    """The link that was asked for, not yet open."""
    own = {name[len("link.") :]: v for name, v in settings.settings.items() if name.startswith("link.")}
    return make(LINKS, settings.link, own, "link", Link)


def make_sources(settings: Settings, link: Link) -> list[Source]:
    """The sources that were asked for; without any, the link, if it tells the vehicle's state."""
    names = [name for name in settings.source.split(",") if name]
    if not names and isinstance(link, Source):
        names = [LINK_AS_SOURCE]
    if not names:
        raise UserError(f"link={settings.link} tells no state; name a source: source={' or source='.join(SOURCES)}")
    sources: list[Source] = []
    for name in names:
        prefix = f"source.{name}."
        own = {key[len(prefix) :]: v for key, v in settings.settings.items() if key.startswith(prefix)}
        if name != LINK_AS_SOURCE:
            sources.append(make(SOURCES, name, own, "source", Source))
        elif isinstance(link, Source):
            sources.append(link)
        else:
            raise UserError(f"source=link: link={settings.link} tells no state")
    for key in settings.settings:
        if key.startswith("source.") and key.split(".")[1] not in names:
            raise UserError(f"{key}: '{key.split('.')[1]}' is not among the sources; source={','.join(names)}")
    return sources


def make(
    table: Mapping[str, tuple[str, str]], name: str, settings: Mapping[str, Value], what: str, kind: type[Kind]
) -> Kind:
    """An object of the class that a table has under a name, with these settings."""
    if name not in table:
        raise UserError(f"{what}={name}: there is none of that name; {did_you_mean(name, table)}")
    module, class_name = table[name]
    found: Any = getattr(importlib.import_module(f"{__package__}.{module}"), class_name)
    parameters = inspect.signature(found).parameters.values()
    known = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for key in settings:
        if key not in known and not anything:
            raise UserError(f"{what}={name} has no setting '{key}'; {did_you_mean(key, known)}")
    try:
        made: object = found(**settings)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what}={name}: a setting has a value that it cannot take: {error}") from error
    assert isinstance(made, kind)
    return made
