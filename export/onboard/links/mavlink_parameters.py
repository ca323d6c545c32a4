"""Parameters of a MAVLink vehicle: set, and read back, so that what the vehicle has is known.

set_parameters(connection, PX4, PX4.failsafe, {"COM_OBL_RC_ACT": 5.0})    # → ["COM_OF_LOSS_T = 0.5: without …", …]
"""

from __future__ import annotations

import math
from typing import Any, Callable, Mapping, Sequence

from ..errors import UserError, did_you_mean
from .mavlink_autopilots import INT32, REAL32, Autopilot, Parameter
from .mavlink_connection import Connection

PATIENCE = 0.5  # s, for one answer
TIMES = 3


def set_parameters(
    connection: Connection, pilot: Autopilot, wanted: Sequence[Parameter], own: Mapping[str, float]
) -> list[str]:
    """Set parameters, `own` values instead of those wanted; what was set, a sentence each.

    UserError where the vehicle does not know one or does not take it.
    """
    known = [name for parameter in wanted for name in parameter.names]
    for name in own:
        if name not in known:
            raise UserError(f"link.parameters: {name} is not one that is set here; {did_you_mean(name, known)}")
    return [_set(connection, pilot, parameter, own) for parameter in wanted]


def parse_parameters(text: str) -> dict[str, float]:
    """Values by name from `NAME=1,OTHER=2`; UserError for anything else."""
    try:
        pairs = [pair.split("=") for pair in text.split(",") if pair]
        return {name.strip(): float(value) for name, value in pairs}
    except ValueError as error:
        raise UserError(f"link.parameters={text}: write NAME=number,NAME=number ({error})") from error


def _set(connection: Connection, pilot: Autopilot, parameter: Parameter, own: Mapping[str, float]) -> str:
    for name in parameter.names:
        before = _read(connection, pilot, name)
        if before is None:
            continue
        value = own[name] if name in own else _value(connection, parameter, before)
        for _ in range(TIMES):
            after = _write(connection, pilot, name, value, parameter.is_integer)
            if after is not None and math.isclose(after, value, rel_tol=1e-6, abs_tol=1e-6):
                return f"{name} = {value:g}: {parameter.why}"
        raise UserError(
            f"the vehicle does not take {name} = {value:g} ({parameter.why}); it must not fly without its failsafe"
        )
    raise UserError(
        f"the vehicle does not know {' or '.join(parameter.names)} ({parameter.why}), or does not answer; "
        "it must not fly without its failsafe"
    )


def _value(connection: Connection, parameter: Parameter, before: float) -> float:
    if parameter.own_system:
        return float(connection.system)
    return float(int(before) | int(parameter.value)) if parameter.bits else parameter.value


def _read(connection: Connection, pilot: Autopilot, name: str) -> float | None:
    def ask() -> None:
        connection.mav.param_request_read_send(*connection.target, name.encode(), -1)

    for _ in range(TIMES):
        value = _exchange(connection, pilot, name, ask)
        if value is not None:
            return value
    return None


def _write(connection: Connection, pilot: Autopilot, name: str, value: float, is_integer: bool) -> float | None:
    """Set a parameter; the value that the vehicle then has, if it answers."""
    kind = INT32 if is_integer else REAL32

    def ask() -> None:
        connection.mav.param_set_send(*connection.target, name.encode(), pilot.encoded(value, is_integer), kind)

    return _exchange(connection, pilot, name, ask)


def _exchange(connection: Connection, pilot: Autopilot, name: str, ask: Callable[[], None]) -> float | None:
    found: list[float] = []

    def take(message: Any) -> None:
        if message.param_id == name:
            found.append(pilot.decoded(message.param_value, message.param_type))

    connection.pump()  # an answer to what was asked before is none to this
    with connection.listening("PARAM_VALUE", take):
        ask()
        connection.wait_until(lambda: bool(found), PATIENCE)
    return found[-1] if found else None
