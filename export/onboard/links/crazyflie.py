"""The Crazyflie over its radio: thrust and body rates to the firmware's rate loop, everything else to itself.

    link = CrazyflieLink(uri="radio://0/80/2M/E7E7E7E7E7", height=1.0)

Its own high-level commander takes off, holds its place and lands; for that its own estimator must know the position (a
Flow or Lighthouse deck, or `CrazyflieSource.correct`). What each order means to it:

    OWN      nothing; after it was ours, hold the place (high-level commander)
    LAUNCH   arm, then take off to `height` (m) at `speed` (m/s) (high-level commander)
    COMMAND  roll, pitch and yaw rate with thrust, once the firmware says that it takes rates
    LEVEL    level angles from the firmware's attitude loop, with the thrust of the setpoint: needs no position
    LAND     land (high-level commander); as LEVEL where the firmware does not know its height
    STOP     motors off, and disarmed once it no longer flies

What the firmware takes, from crtp_commander.md, crtp_commander_rpyt.c and controller_pid.c of its public repository:

- rates in deg/s; roll as forward-left-up has it; yaw the other way round (positive is clockwise seen from above), which
  cflib passes on as it is; pitch the other way round too, but there cflib's `send_setpoint` turns the sign;
- `flightmode.stabModeRoll` and its siblings choose rates (0) or angles (1); only the PID controller takes rates;
- thrust 0 to 65535, above which nothing is heard until one of 0 has come. Linear in force with battery compensation,
  which is the default of today's builds; earlier ones cut it at 60000.

Its failsafe is the supervisor in the firmware (supervisor.c): without a setpoint it levels out after 0.5 s and stops
the motors after 2 s. Those times are no parameters but part of the firmware; `prepare` checks that it has them.
"""

from __future__ import annotations

import math
from typing import Any

from ..contract import Contract, Port
from ..errors import UserError
from ..sources.crazyflie import CrazyflieSource
from ..sources.source import Source
from ..vehicle import Order, Sample, Setpoint, Status
from .crtp import URI, Connection, connect
from .link import Link
from .throttle import Throttle

COMMANDS = ("collective_thrust", "roll_rate", "pitch_rate", "yaw_rate")
UNITS = ("N", "rad/s", "rad/s", "rad/s")
PROTOCOL = 12  # of CRTP: the first whose supervisor says who flies, and can be asked to arm
FULL = 65535  # of the thrust in a setpoint
RATE, ANGLE = 0, 1
MODES = ("flightmode.stabModeRoll", "flightmode.stabModePitch")
AGAIN = 0.5  # s: before something is asked for once more
HOLD = 2.0  # s: to come to rest where it is
STATUS_PERIOD, STOP_PERIOD = 0.1, 0.1  # s

# Bits of the log variable supervisor.info (supervisor.c).
CAN_BE_ARMED, ARMED, ARMS_ITSELF, FLYING, TUMBLED, LOCKED, CRASHED, BY_ITSELF = (
    1 << bit for bit in (0, 1, 2, 4, 5, 6, 7, 8)
)
WORDS = ((LOCKED, "locked: switch it off and on"), (CRASHED, "crashed"), (TUMBLED, "tumbled"))

# (parameter, value, whether the firmware must have it, what it is for)
PARAMETERS: tuple[tuple[str, int, bool, str], ...] = (
    ("stabilizer.controller", 1, True, "the PID controller flies, which takes rates"),
    ("flightmode.stabModeRoll", RATE, True, "roll is a rate"),
    ("flightmode.stabModePitch", RATE, True, "pitch is a rate"),
    ("flightmode.stabModeYaw", RATE, True, "yaw is a rate"),
    ("flightmode.althold", 0, False, "thrust is thrust, not a vertical speed"),
    ("flightmode.poshold", 0, False, "roll and pitch are not speeds"),
    ("flightmode.posSet", 0, False, "setpoints are not positions"),
    ("supervisor.tmblChckEn", 1, False, "the motors stop when it has tumbled"),
    ("commander.enHighLevel", 1, False, "the high-level commander is on"),
)


class CrazyflieLink(Link, Source):
    """A Crazyflie at an address of cflib (radio://, usb://, udp:// for a simulated one), which tells its state too."""

    commands = (COMMANDS,)
    flies_itself = True

    def __init__(
        self,
        *,
        uri: str = URI,
        height: float = 1.0,
        speed: float = 0.4,
        empty_volts: float = 3.1,
        full_volts: float = 4.1,
        period: float = 0.01,
        ranges: bool = False,
        cache: str = "",
        timeout: float = 30.0,
    ) -> None:
        """`height` (m) and `speed` (m/s) are of take-off and landing, the voltages those of a battery under load.

        `period` and `ranges` are those of `CrazyflieSource`; with a period of 0 it does not tell its state.
        """
        if not (height > 0.0 and speed > 0.0 and full_volts > empty_volts):
            raise UserError("link.height and link.speed must be positive, link.full_volts above link.empty_volts")
        self._uri, self._cache, self._timeout = uri, cache, timeout
        source = CrazyflieSource(uri=uri, period=period, ranges=ranges, cache=cache, timeout=timeout)
        self._source = source if period > 0.0 else None
        self.provides = source.provides if period > 0.0 else ()
        self._climb, self._speed = height, speed
        self._volts = (empty_volts, full_volts)
        self._throttle = Throttle(())
        self._connection: Connection | None = None
        self._former: dict[str, float] = {}
        self._info: int | None = None
        self._battery: float | None = None
        self._height = math.nan
        self._packets = 0
        self._heard = -math.inf
        self._order = Order.OWN
        self._asked = -math.inf  # when something was last asked for
        self._ours = False  # whether the last setpoint came from here
        self._landing = False  # whether it was seen to land by itself

    def open(self, contract: Contract) -> None:
        """Connect, and have it tell how it is."""
        self._throttle = throttle_of(contract)
        self._connection = connection = connect(self._uri, cache=self._cache, timeout=self._timeout)
        try:
            if self._source is not None:
                self._source.open(contract)
            connection.log("status", ("supervisor.info", "pm.vbat", "stateEstimate.z"), STATUS_PERIOD, self._on_status)
        except BaseException:
            self.close()
            raise

    def prepare(self) -> list[str]:
        """Choose rates, check the failsafe, unlock the thrust."""
        connection = self._connected()
        if connection.protocol < PROTOCOL:
            raise UserError(
                f"the Crazyflie's firmware speaks CRTP {connection.protocol}, too old: it must be {PROTOCOL}"
            )
        if not connection.wait_until(lambda: self._info is not None):
            raise UserError("the Crazyflie does not tell how its supervisor is: without one it has no failsafe")
        info = self._info or 0
        for bit, words in WORDS:
            if info & bit:
                raise UserError(f"the Crazyflie is {words}")
        if info & FLYING:
            raise UserError("the Crazyflie is in the air; it is prepared on the ground")
        told: list[str] = []
        for parameter, value, needed, meaning in PARAMETERS:
            if not needed and not connection.has(parameter):
                continue
            if connection.has(parameter):
                self._former.setdefault(parameter, connection.get(parameter))
            answer = connection.set(parameter, value)
            if answer != value:
                raise UserError(f"the Crazyflie keeps {parameter} at {answer:g}; it must be {value}: {meaning}")
            told.append(f"{parameter} = {value}: {meaning}")
        connection.post("unlock", _unlock)
        told.append("the firmware's supervisor is on: without setpoints it levels out after 0.5 s, stops after 2 s")
        return told

    def status(self, now: float) -> Status:
        """How it says that it is, ten times a second."""
        connection = self._connected()
        if connection.packets != self._packets:
            self._packets, self._heard = connection.packets, now
        info = self._info or 0
        broken = [words for bit, words in WORDS if info & bit]
        return Status(
            heard=self._heard,
            armed=bool(info & ARMED),
            in_control=not broken and self._follows(),
            ready=None if self._info is None else not broken and bool(info & (CAN_BE_ARMED | ARMED)),
            flying=None if self._info is None or self._lands_by_thrust() else bool(info & FLYING),
            battery=self._battery,
            mode=connection.trouble or "".join(broken[:1]) or self._mode(),
        )

    def send(self, setpoint: Setpoint, now: float) -> None:
        """Tell it, or ask it again for what it has not done yet."""
        order = setpoint.order
        if order is not self._order:
            self._order, self._asked, self._landing = order, -math.inf, False
        info = self._info or 0
        if order is Order.STOP:
            self._stop(info, now)
        elif order is Order.COMMAND:
            self._choose(RATE, now)
            self._fly(setpoint, turning=self._taken() == RATE)
        elif order is Order.LEVEL or self._lands_by_thrust():
            self._choose(ANGLE, now)
            self._fly(setpoint, turning=False)
        elif order is Order.LAND:
            # Asked twice it takes the first; asked once more on the ground it would spin up again.
            if info & BY_ITSELF or not self._landing:
                self._ask(now, "own", self._land)
            self._landing |= bool(info & BY_ITSELF)
        elif order is Order.LAUNCH:
            if not info & ARMED:
                self._ask(now, "arm", lambda cf: cf.supervisor.send_arming_request(True))
            elif not info & (BY_ITSELF | FLYING):
                self._ask(now, "own", self._take_off)
        elif info & BY_ITSELF:
            self._ours = False
        elif self._ours and info & FLYING:
            self._ask(now, "own", _hold)

    def poll(self) -> list[Sample]:
        """What it told of its state since the last call."""
        return [] if self._source is None else self._source.poll()

    def close(self) -> None:
        """Leave its parameters as they were, unless it is in the air, and disconnect."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if not (self._info or 0) & FLYING and not connection.trouble:
            for parameter, value in self._former.items():
                try:
                    connection.set(parameter, value)
                except UserError:
                    break  # it is gone; switching it off restores them too
        if self._source is not None:
            self._source.close()
        connection.release()

    def _fly(self, setpoint: Setpoint, *, turning: bool) -> None:
        """Thrust, with the rates or without; zeros mean level as angles and no rotation as rates."""
        numbers = setpoint.commands
        thrust = round(FULL * self._throttle.part(numbers[COMMANDS[0]]))
        roll, pitch, yaw = (math.degrees(numbers[name]) if turning else 0.0 for name in COMMANDS[1:])
        self._connected().post("setpoint", lambda cf: cf.commander.send_setpoint(roll, pitch, -yaw, thrust))
        self._ours = True

    def _choose(self, mode: int, now: float) -> None:
        if self._taken() != mode:
            self._ask(now, "mode", lambda cf: [cf.param.set_value(parameter, mode) for parameter in MODES])

    def _stop(self, info: int, now: float) -> None:
        # While it still seems to fly it locks itself unless it goes on hearing setpoints, and also if it is disarmed.
        if now - self._asked >= STOP_PERIOD:
            self._asked = now
            self._connected().post("setpoint", lambda cf: cf.commander.send_stop_setpoint())
            if info & ARMED and not info & (FLYING | ARMS_ITSELF):
                self._connected().post("arm", lambda cf: cf.supervisor.send_arming_request(False))

    def _take_off(self, cf: Any) -> None:
        cf.high_level_commander.takeoff(self._climb, self._climb / self._speed, yaw=None)

    def _land(self, cf: Any) -> None:
        cf.high_level_commander.land(0.0, max(1.0, self._height / self._speed), yaw=None)
        cf.commander.send_notify_setpoint_stop()

    def _ask(self, now: float, key: str, send: Any) -> None:
        if now - self._asked >= AGAIN:
            self._asked = now
            self._connected().post(key, send)

    def _taken(self) -> float | None:
        """How the firmware says that it takes roll and pitch; None between the two."""
        roll, pitch = (self._connected().get(parameter) for parameter in MODES)
        return roll if roll == pitch else None

    def _lands_by_thrust(self) -> bool:
        return self._order is Order.LAND and not math.isfinite(self._height)

    def _follows(self) -> bool:
        by_itself = bool((self._info or 0) & BY_ITSELF)
        if self._order is Order.COMMAND:
            return self._taken() == RATE and not by_itself
        if self._order is Order.LEVEL or self._lands_by_thrust():
            return self._taken() == ANGLE and not by_itself
        return by_itself or not (self._info or 0) & FLYING

    def _mode(self) -> str:
        info = self._info or 0
        if info & BY_ITSELF:
            return "high-level commander"
        taken = self._taken()
        return "changing" if taken is None else "rates" if taken == RATE else "angles"

    def _connected(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the link is not open")
        return self._connection

    def _on_status(self, _stamp: float, data: dict[str, float]) -> None:
        empty, full = self._volts
        self._battery = min(1.0, max(0.0, (data["pm.vbat"] - empty) / (full - empty)))
        self._height = data["stateEstimate.z"]
        self._info = int(data["supervisor.info"])


def throttle_of(contract: Contract) -> Throttle:
    """From thrust to a part of full throttle; UserError where the contract is not one for this vehicle."""
    ports: dict[str, Port] = {port.name: port for port in contract.outputs}
    if sorted(ports) != sorted(COMMANDS) or any(port.size != 1 for port in ports.values()):
        raise UserError(
            f"the policy commands {', '.join(ports)}; a Crazyflie takes {', '.join(COMMANDS)}, one number each"
        )
    for name, unit in zip(COMMANDS, UNITS):
        if ports[name].unit != unit:
            raise UserError(f"the policy's {name} is in {ports[name].unit}; a Crazyflie is told it in {unit}")
    return Throttle.of(ports[COMMANDS[0]])


def _unlock(cf: Any) -> None:
    """Have it listen to thrust, and let its own commander begin from rest; on the ground only."""
    cf.commander.send_setpoint(0.0, 0.0, 0.0, 0)
    cf.high_level_commander.stop()
    cf.commander.send_notify_setpoint_stop()


def _hold(cf: Any) -> None:
    """Come to rest here. First where to, then who flies: in between its own commander would stop the motors."""
    cf.high_level_commander.go_to(0.0, 0.0, 0.0, 0.0, HOLD, relative=True)
    cf.commander.send_notify_setpoint_stop()
