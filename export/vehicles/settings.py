"""Settings of a simulated vehicle's command line: `name=value`, by the fields of a dataclass."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar, get_type_hints

from robo_ppo.errors import UserError, did_you_mean

Settings = TypeVar("Settings")


def parse_settings(schema: type[Settings], arguments: Sequence[str]) -> Settings:
    """A dataclass from `name=value` arguments; UserError for an unknown name or a value of another kind."""
    hints = get_type_hints(schema)
    given: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or name not in hints:
            raise UserError(f"{argument}: settings are written name=value; {did_you_mean(name, hints)}")
        given[name] = _value(name, text, hints[name])
    assert dataclasses.is_dataclass(schema)
    return schema(**given)


def _value(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        if text not in ("true", "false"):
            raise UserError(f"{name}={text}: it must be true or false")
        return text == "true"
    try:
        return kind(text)
    except ValueError as error:
        raise UserError(f"{name}={text}: it must be {'a whole number' if kind is int else 'a number'}") from error
