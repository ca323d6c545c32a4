"""Betaflight's modes lie on ranges of the receiver's AUX channels: where our two switches are, and that they are alone.

    arm, angle = find_switches(ranges)      # of MSP_MODE_RANGES; UserError with the line to type where that cannot fly

ARM and ANGLE each need one range on a channel of their own, with room beside it for off. Every other channel stays at
1000 µs. A mode that would be on at any of these values is refused, since the policy never met it: HORIZON, GPS RESCUE,
whatever this file does not know. Only modes of `HARMLESS` may be on: they do not touch how the vehicle flies.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..errors import UserError

LOW, MIDDLE, HIGH = 1000, 1500, 2000  # µs of a channel
ARM, ANGLE, FAILSAFE_MODE = 0, 1, 27  # permanent ids of Betaflight's modes
NAMES: dict[int, str] = {
    ARM: "ARM",
    ANGLE: "ANGLE",
    2: "HORIZON",
    3: "ALTHOLD",
    4: "ANTI GRAVITY",
    5: "MAG",
    6: "HEADFREE",
    7: "HEADADJ",
    11: "POS HOLD",
    FAILSAFE_MODE: "FAILSAFE",
    29: "3D",
    30: "FPV ANGLE MIX",
    35: "FLIP OVER AFTER CRASH",
    45: "PARALYZE",
    46: "GPS RESCUE",
    47: "ACRO TRAINER",
    49: "LAUNCH CONTROL",
    50: "MSP OVERRIDE",
}
HARMLESS = (13, 15, 19, 20, 26, 28, 36, 52)
"""BEEPER, LEDLOW, OSD DISABLE, TELEMETRY, BLACKBOX, AIR MODE, PREARM, BEEPER MUTE."""
_FIRST_AUX = 4


class Switch(NamedTuple):
    """A channel, and where on it a mode is on and off."""

    channel: int
    on: int
    off: int


class _Range(NamedTuple):
    """One line `aux`: a mode is on where a channel is from `low` to below `high` (µs)."""

    line: int
    mode: int
    channel: int
    low: int
    high: int

    def holds(self, value: int) -> bool:
        return self.low <= value < self.high


def find_switches(answer: bytes) -> tuple[Switch, Switch]:
    """The switches of ARM and ANGLE, from Betaflight's list of ranges."""
    ranges = [
        _Range(line, mode, _FIRST_AUX + aux, 900 + 25 * start, 900 + 25 * end)
        for line, (mode, aux, start, end) in enumerate(struct.iter_unpack("<4B", answer))
        if start < end
    ]
    arm, angle = _switch(ranges, ARM), _switch(ranges, ANGLE)
    if arm.channel == angle.channel:
        raise UserError(
            f"ARM and ANGLE both lie on AUX{arm.channel - _FIRST_AUX + 1}; each needs a channel of its own, as in: "
            "aux 1 1 1 1700 2100 0 0"
        )
    sent = {arm.channel: (arm.on, arm.off), angle.channel: (angle.on, angle.off)}
    for span in ranges:
        value = next((value for value in sent.get(span.channel, (LOW,)) if span.holds(value)), None)
        if value is not None and span.mode not in (ARM, ANGLE, *HARMLESS):
            raise UserError(
                f"{NAMES.get(span.mode, f'mode {span.mode}')} lies on AUX{span.channel - _FIRST_AUX + 1} from "
                f"{span.low} to {span.high} µs and would be on at the {value} µs that are sent there; to take it away: "
                f"aux {span.line} 0 0 900 900 0 0"
            )
    return arm, angle


def _switch(ranges: list[_Range], mode: int) -> Switch:
    """The channel on which a mode lies."""
    spans = [span for span in ranges if span.mode == mode]
    if len(spans) != 1:
        raise UserError(
            f"{NAMES[mode]} must lie on one range of one channel, not on {len(spans)}; as in: "
            f"aux {mode} {mode} {mode} 1700 2100 0 0"
        )
    (span,) = spans
    on = (max(span.low, LOW) + min(span.high, HIGH)) // 2
    off = next((value for value in (LOW, HIGH) if not span.holds(value)), None)
    if off is None or not span.holds(on):
        raise UserError(
            f"{NAMES[mode]} is on from {span.low} to {span.high} µs, which leaves no place for on and off within "
            f"{LOW} to {HIGH} µs"
        )
    return Switch(span.channel, on, off)
