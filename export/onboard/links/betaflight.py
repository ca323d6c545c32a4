"""Betaflight over MSP: body rates as sticks, thrust as throttle, two switches to arm and to level.

    python -m robo_ppo_onboard bundle=policy.onnx link=betaflight link.address=/dev/ttyACM0 source=mocap,…

The link is the receiver (`feature RX_MSP`) and asks the flight controller for everything that it can know itself: which
channel is which, where its switches lie, how fast it turns at full stick. It refuses a set-up in which sticks would
mean something else than the policy learned; docs/betaflight.md has the settings. What it cannot ask is told:
`throttle`, which thrust (N) comes of which part of full throttle, as `N,part,N,part,…`, in place of the contract's own
map.

What a board is told, by order. Nothing but STOP is sent before it has said whether it is armed:

| order | not armed | armed |
|---|---|---|
| LAUNCH | arm switch on once the board would let it, lowest throttle | sticks and throttle |
| COMMAND | arm switch off, lowest throttle | sticks and throttle |
| LEVEL, LAND | arm switch off, lowest throttle | ANGLE, sticks centred, throttle |
| OWN | arm switch off, lowest throttle | flown from here before: as LEVEL; else nothing |
| STOP | arm switch off, lowest throttle | arm switch off, lowest throttle |

So only LAUNCH arms, and a switch that went off stays off until the next LAUNCH. A board that is found armed, with
nothing asked for, was armed by a process that is gone or by another one that still flies it; it may be in the air. A
word from here would end its failsafe's landing or disturb the other: silence lets either go on.

In a fallback the vehicle levels itself (ANGLE, sticks centred), whatever is known of its attitude here, and only the
throttle comes from the law. If nothing is sent any more, Betaflight's own failsafe acts: `prepare` makes it level the
vehicle and sink, on `landing_thrust` (N) for `landing_seconds`, then stop the motors.
"""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import Callable, Sequence

from ..contract import Contract
from ..errors import UserError
from ..safety.fallback import GRAVITY, SINKING
from ..vehicle import Order, Setpoint, Status
from .betaflight_switches import ARM, FAILSAFE_MODE, HIGH, LOW, MIDDLE, NAMES, find_switches
from .link import Link
from .msp import LostConnection, Msp, Wire, open_wire
from .throttle import Throttle

FC_VARIANT, FEATURES, MODE_RANGES, RX_CONFIG, RX_MAP, RC_TUNING, RC_DEADBAND, BOX_IDS = 2, 36, 34, 44, 64, 111, 125, 119
FAILSAFE, SET_FAILSAFE, RX_FAIL, SET_RX_FAIL, SAVE = 75, 76, 77, 78, 250
SET_RAW_RC, STATUS, BATTERY = 200, 150, 130

ROLL, PITCH, YAW, THROTTLE = range(4)
_STICKS = ((ROLL, "roll_rate", 1.0), (PITCH, "pitch_rate", 1.0), (YAW, "yaw_rate", -1.0))  # yaw turns right
CHANNELS = 18
COMMANDS = ("collective_thrust", "roll_rate", "pitch_rate", "yaw_rate")

_RX_MSP_FEATURE, _ACTUAL_RATES, _AUTO_LAND, _HOLD = 1 << 14, 3, 0, 1
_ARM_SWITCH = 1 << 28  # among the reasons not to arm
_ASK_STATUS, _ASK_BATTERY = 0.04, 1.0  # s between questions
_EMPTY_CELL, _FULL_CELL = 3.3, 4.2  # V
_LOSS_AFTER = 2  # tenths of a second without a command; from 3 on, the throttle is cut before the failsafe acts


class BetaflightLink(Link):
    """One flight controller, at `tcp:<host>:<port>` or on a serial port."""

    commands = (COMMANDS,)

    def __init__(
        self,
        wire: Callable[[str], Wire] = open_wire,
        *,
        address: str = "tcp:127.0.0.1:5761",
        throttle: tuple[float, ...] = (),
        landing_thrust: float | None = None,
        landing_seconds: int = 10,
    ) -> None:
        self._address, self._own_throttle, self._open_wire = address, throttle, wire
        self._landing_thrust, self._landing_seconds = landing_thrust, landing_seconds
        self._msp: Msp | None = None
        self._heard: float | None = None
        self._asked = {STATUS: -math.inf, BATTERY: -math.inf}
        self._modes: tuple[int, ...] = ()
        self._reasons = 0  # not to arm
        self._answered = False
        self._switch: bool | None = None  # the arm switch as it was last sent; None before anything was
        self._battery: float | None = None

    def open(self, contract: Contract) -> None:
        """Connect, and learn how the vehicle is set up."""
        names = tuple(port.name for port in contract.outputs)
        if names != COMMANDS:
            raise UserError(f"betaflight takes {', '.join(COMMANDS)}; the policy commands {', '.join(names)}")
        self._throttle = Throttle.of(contract.outputs[0], self._own_throttle)
        self._weight = self._thrust_to_land(contract)
        self._msp = Msp(self._open_wire(self._address))
        try:
            self._learn(contract, self._msp)
        except BaseException:
            self.close()
            raise

    def prepare(self) -> list[str]:
        """Make the failsafe land the vehicle, keep its switches as they are, save that, and read it back."""
        msp = self._connected()
        throttle = self._stick_of(self._weight)
        before = msp.request(FAILSAFE)
        _, _, _, switch, low_delay, _ = struct.unpack("<BBHBHB", before[:8])
        wanted = struct.pack("<BBHBHB", _LOSS_AFTER, self._landing_seconds, throttle, switch, low_delay, _AUTO_LAND)
        kept = {s.channel: (_HOLD, MIDDLE) for s in (self._arm, self._angle)}
        if before[:8] != wanted or not self._keeps(msp.request(RX_FAIL), kept):
            msp.request(SET_FAILSAFE, wanted)
            for channel, (mode, value) in kept.items():
                msp.request(SET_RX_FAIL, struct.pack("<BBH", channel, mode, value))
            msp.request(SAVE, timeout=5.0)
        if msp.request(FAILSAFE)[:8] != wanted or not self._keeps(msp.request(RX_FAIL), kept):
            raise UserError("the flight controller does not take the failsafe's settings; it must not be armed")
        return [
            f"failsafe: {0.1 * _LOSS_AFTER:g} s without a command, and Betaflight levels the vehicle and lands it",
            f"failsafe: on {self._weight:.3g} N of thrust (throttle {throttle} µs), it sinks",
            f"failsafe: {self._landing_seconds} s after that the motors stop, wherever the vehicle is",
        ]

    def status(self, now: float) -> Status:
        """What was heard last."""
        self._heard = now if self._heard is None else self._heard  # when it was opened
        if self._msp is not None:
            try:
                for command, payload in self._msp.received():
                    self._hear(command, payload, now)
                self._ask(now)
            except LostConnection:
                self._msp = None
        fails = FAILSAFE_MODE in self._modes
        return Status(
            heard=self._heard,
            armed=ARM in self._modes,
            in_control=not fails,
            pilot=fails and ARM in self._modes,
            ready=self._reasons & ~_ARM_SWITCH == 0 if self._answered else False,
            battery=self._battery,
            mode=" ".join(NAMES[mode] for mode in self._modes if mode in NAMES),
        )

    def send(self, setpoint: Setpoint, now: float) -> None:
        """Sticks and switches for this tick."""
        if self._msp is None or not (self._answered or setpoint.order is Order.STOP):
            return
        self._switch = self._next_switch(setpoint.order)
        if self._switch is None:
            return
        channels = self._channels(setpoint, self._switch)
        try:
            self._msp.send(SET_RAW_RC, struct.pack(f"<{CHANNELS}H", *channels))
        except LostConnection:
            self._msp = None

    def close(self) -> None:
        """Let go: without a word, so the failsafe acts if the vehicle flies."""
        if self._msp is not None:
            self._msp.close()
            self._msp = None

    def _learn(self, contract: Contract, msp: Msp) -> None:
        """Ask how the vehicle is set up; refuse one that sticks would not fly as the policy means."""
        variant = msp.request(FC_VARIANT)[:4]
        if variant != b"BTFL":
            raise UserError(f"{self._address}: the flight controller is {variant.decode(errors='replace')}, not BTFL")
        if not struct.unpack("<I", msp.request(FEATURES)[:4])[0] & _RX_MSP_FEATURE:
            raise UserError("the flight controller listens to another receiver; on its command line: feature RX_MSP")
        self._boxes = tuple(msp.request(BOX_IDS))
        self._map = tuple(msp.request(RX_MAP)[:4])
        self._least = struct.unpack_from("<H", msp.request(RX_CONFIG), 5)[0]  # µs at which throttle begins
        self._arm, self._angle = find_switches(msp.request(MODE_RANGES))
        self._rates = self._full_rates(contract, msp.request(RC_TUNING), msp.request(RC_DEADBAND))

    def _next_switch(self, order: Order) -> bool | None:
        """Where the arm switch shall be; None: say nothing."""
        is_armed = ARM in self._modes
        if order is Order.LAUNCH:
            # A switch that is on before the vehicle would let itself be armed is not looked at until it was off again.
            return is_armed or bool(self._switch) or self._reasons & ~_ARM_SWITCH == 0
        if order is Order.STOP or not is_armed:
            return False
        if order is Order.OWN:
            return self._switch
        return self._switch is not False  # once off, a status from before that does not bring it back

    def _channels(self, setpoint: Setpoint, switch: bool) -> list[int]:
        """Microseconds of every channel."""
        order, flies = setpoint.order, switch and ARM in self._modes
        # With OWN in the air nobody else is there to fly it.
        levels = order in (Order.LEVEL, Order.LAND, Order.OWN)
        sticks = {ROLL: MIDDLE, PITCH: MIDDLE, YAW: MIDDLE, THROTTLE: LOW}
        if flies:
            sticks[THROTTLE] = self._stick_of(setpoint.commands["collective_thrust"])
        if flies and not levels:
            for axis, name, sign in _STICKS:
                deflection = sign * setpoint.commands[name] / self._rates[axis]
                sticks[axis] = round(MIDDLE + (HIGH - MIDDLE) * min(max(deflection, -1.0), 1.0))
        channels = [LOW] * CHANNELS
        for axis, value in sticks.items():
            channels[self._map[axis]] = value
        channels[self._arm.channel] = self._arm.on if switch else self._arm.off
        channels[self._angle.channel] = self._angle.on if levels else self._angle.off
        return channels

    def _stick_of(self, thrust: float) -> int:
        """Microseconds of the throttle for a thrust (N)."""
        part = self._throttle.part(thrust)
        return round(self._least + (HIGH - self._least) * part)

    def _hear(self, command: int, payload: bytes, now: float) -> None:
        self._heard = now
        with suppress(struct.error, IndexError):  # an answer that is too short tells nothing
            if command == STATUS:
                self._modes, self._reasons = parse_status(payload, self._boxes)
                self._answered = True
            elif command == BATTERY:
                self._battery = parse_battery(payload)

    def _ask(self, now: float) -> None:
        """Ask for what is due."""
        for command, every in ((STATUS, _ASK_STATUS), (BATTERY, _ASK_BATTERY)):
            if now - self._asked[command] >= every:
                self._asked[command] = now
                self._connected().send(command)

    def _connected(self) -> Msp:
        if self._msp is None:
            raise UserError(f"{self._address}: the flight controller is not connected")
        return self._msp

    def _thrust_to_land(self, contract: Contract) -> float:
        mass = contract.fallback.numbers.get("mass")
        if self._landing_thrust is None and mass is None:
            raise UserError(
                "betaflight's failsafe has to know a thrust on which the vehicle sinks: link.landing_thrust=N"
            )
        return self._landing_thrust if self._landing_thrust is not None else SINKING * GRAVITY * float(mass or 0.0)

    def _full_rates(self, contract: Contract, tuning: bytes, deadband: bytes) -> dict[int, float]:
        """Body rate (rad/s) at full stick about each axis."""
        if len(tuning) < 23:
            raise UserError("the flight controller does not say how its sticks turn; Betaflight 4.3 or newer does")
        centre = {ROLL: tuning[0], PITCH: tuning[12], YAW: tuning[11]}
        expo = {ROLL: tuning[1], PITCH: tuning[13], YAW: tuning[10]}
        full = dict(zip((ROLL, PITCH, YAW), tuning[2:5]))
        rates: dict[int, float] = {}
        for axis, port in zip((ROLL, PITCH, YAW), contract.outputs[1:]):
            name = port.name.partition("_")[0]
            if tuning[22] != _ACTUAL_RATES or expo[axis] or centre[axis] != full[axis] or any(deadband[:2]):
                raise UserError(
                    f"the {name} stick is not linear in the rate; on Betaflight's command line: set "
                    f"rates_type = ACTUAL, {name}_expo = 0, {name}_rc_rate = {name}_srate, deadband = 0, "
                    "yaw_deadband = 0"
                )
            rates[axis] = math.radians(10.0 * full[axis])
            if port.upper is not None and rates[axis] < 0.99 * port.upper[0]:
                raise UserError(
                    f"full {name} stick turns {rates[axis]:.2f} rad/s; the policy commands up to {port.upper[0]:g}: "
                    f"set {name}_rc_rate and {name}_srate to {math.ceil(math.degrees(port.upper[0]) / 10)}"
                )
        return rates

    @staticmethod
    def _keeps(settings: bytes, wanted: dict[int, tuple[int, int]]) -> bool:
        """Whether these channels keep their value when the receiver is lost."""
        return all(settings[3 * channel] == mode for channel, (mode, _) in wanted.items())


def parse_status(payload: bytes, boxes: Sequence[int]) -> tuple[tuple[int, ...], int]:
    """Modes that are on, by their permanent ids, and the reasons not to arm, as bits, from MSP_STATUS_EX."""
    more = payload[15] & 0x0F
    flags = int.from_bytes(payload[6:10] + payload[16 : 16 + more], "little")
    reasons = struct.unpack_from("<I", payload, 17 + more)[0]
    return tuple(box for bit, box in enumerate(boxes) if flags >> bit & 1), reasons


def parse_battery(payload: bytes) -> float | None:
    """Part of full, from the voltage of a cell; None without a battery that is measured."""
    cells, volts = payload[0], struct.unpack_from("<H", payload, 9)[0] / 100.0
    if cells == 0 or volts <= 0.0:
        return None
    return min(1.0, max(0.0, (volts / cells - _EMPTY_CELL) / (_FULL_CELL - _EMPTY_CELL)))
