"""What PX4 and ArduPilot call their modes, and their failsafe parameters. HEARTBEAT says which of them a vehicle is.

Numbers of modes: PX4's `px4_custom_mode.h`, ArduCopter's `mode.h`. Parameters and their values: the parameter
references of PX4 1.14 and later and of ArduCopter 4.2 and later; `docs/mavlink.md` shows them as a table.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Mapping

REAL32, INT32 = 9, 6  # MAV_PARAM_TYPE


@dataclass(frozen=True)
class Parameter:
    """A parameter as it must be; `names` are those of newer and older firmware, the first that exists counts.

    With `bits`, the value's bits must be set, whatever others are; with `own_system` it is this controller's number.
    """

    names: tuple[str, ...]
    value: float
    why: str
    is_integer: bool = True
    bits: bool = False
    own_system: bool = False


@dataclass(frozen=True)
class Autopilot:
    """One kind of flight controller."""

    name: str
    modes: Mapping[int, str]  # by `custom_mode` of a heartbeat
    command: str  # the mode in which it takes setpoints
    hold: str
    land: str
    takeoff: str
    launched: tuple[str, ...]  # modes in which it may be while it takes off, and when it has
    takes_setpoints_always: bool  # whether they may be streamed in every mode without being obeyed
    integers_bytewise: bool  # whether an integer parameter travels as its bytes, not as a float of its value
    failsafe: tuple[Parameter, ...]

    def mode(self, custom_mode: int) -> str:
        """A mode in words."""
        return self.modes.get(custom_mode, f"mode {custom_mode}")

    def numbers(self, mode: str) -> tuple[float, float]:
        """Parameters 2 and 3 of MAV_CMD_DO_SET_MODE: PX4's main mode and its part, ArduPilot's number."""
        number = next(key for key, name in self.modes.items() if name == mode)
        return (float(number), 0.0) if number < _px4(1) else (float(number >> 16 & 0xFF), float(number >> 24))

    def encoded(self, value: float, is_integer: bool) -> float:
        """A parameter's value as the float of PARAM_SET."""
        if is_integer and self.integers_bytewise:
            return struct.unpack("<f", struct.pack("<i", int(value)))[0]
        return value

    def decoded(self, value: float, kind: int) -> float:
        """A parameter's value from the float of PARAM_VALUE."""
        if kind == INT32 and self.integers_bytewise:
            return float(struct.unpack("<i", struct.pack("<f", value))[0])
        return value


def _px4(main: int, sub: int = 0) -> int:
    return main << 16 | sub << 24


PX4 = Autopilot(
    name="PX4",
    modes={
        _px4(1): "manual",
        _px4(2): "altitude",
        _px4(3): "position",
        _px4(4, 1): "ready",
        _px4(4, 2): "takeoff",
        _px4(4, 3): "hold",
        _px4(4, 4): "mission",
        _px4(4, 5): "return",
        _px4(4, 6): "land",
        _px4(4, 8): "follow",
        _px4(4, 9): "precision land",
        _px4(5): "acro",
        _px4(6): "offboard",
        _px4(7): "stabilized",
    },
    command="offboard",
    hold="hold",
    land="land",
    takeoff="takeoff",
    launched=("takeoff", "hold"),
    takes_setpoints_always=True,
    integers_bytewise=True,
    failsafe=(
        Parameter(("COM_OF_LOSS_T",), 0.5, "without setpoints for 0.5 s it acts by itself", is_integer=False),
        Parameter(("COM_OBL_RC_ACT",), 4, "what it then does is to land"),
        Parameter(("NAV_DLL_ACT",), 3, "it lands when this controller's heartbeat is lost in its own modes, too"),
        Parameter(("NAV_RCL_ACT",), 3, "it lands when a remote control is lost"),
    ),
)

ARDUPILOT = Autopilot(
    name="ArduPilot",
    modes={
        0: "stabilize",
        1: "acro",
        2: "alt_hold",
        3: "auto",
        4: "guided",
        5: "loiter",
        6: "rtl",
        7: "circle",
        9: "land",
        11: "drift",
        13: "sport",
        14: "flip",
        15: "autotune",
        16: "poshold",
        17: "brake",
        18: "throw",
        19: "avoid_adsb",
        20: "guided_nogps",
        21: "smart_rtl",
        22: "flowhold",
        23: "follow",
        27: "auto_rtl",
    },
    command="guided",
    hold="brake",
    land="land",
    takeoff="guided",
    launched=("guided",),
    takes_setpoints_always=False,
    integers_bytewise=False,
    failsafe=(
        Parameter(("GUID_TIMEOUT",), 0.5, "without setpoints for 0.5 s it levels out", is_integer=False),
        Parameter(("MAV_GCS_SYSID", "SYSID_MYGCS"), 0, "it listens for this controller's heartbeat", own_system=True),
        Parameter(("FS_GCS_ENABLE",), 5, "it lands when that heartbeat is lost"),
        Parameter(("FS_GCS_TIMEOUT",), 2, "which it takes for lost after 2 s", is_integer=False),
        Parameter(("FS_OPTIONS",), 16, "but not while a pilot flies it by hand"),
    ),
)

THRUST_IS_THRUST = Parameter(("GUID_OPTIONS",), 8, "thrust means thrust, not a rate of climb", bits=True)

AUTOPILOTS: Mapping[int, Autopilot] = {12: PX4, 3: ARDUPILOT}
"""By MAV_AUTOPILOT."""
