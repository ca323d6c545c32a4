"""A vehicle with PX4 or ArduPilot: setpoints of body rates and thrust, of velocity or of position, over MAVLink.

    python -m robo_ppo_onboard bundle=policy.onnx link=mavlink link.address=udpin:0.0.0.0:14540

The vehicle takes off, holds its place and lands by itself; what this link does for each order:

| order   | what is asked for (PX4; ArduPilot)          | setpoints                                     |
|---------|---------------------------------------------|-----------------------------------------------|
| OWN     | nothing; to hand back: hold; brake          | PX4 only, so that it would take `offboard`    |
| LAUNCH  | takeoff, arm; guided, arm, MAV_CMD_NAV_TAKEOFF | as OWN                                     |
| COMMAND | offboard; guided                            | yes                                           |
| LEVEL   | hold; brake                                 | yes: they count until it is in that mode      |
| LAND    | land; land                                  | as LEVEL                                      |
| STOP    | disarm                                      | no                                            |

A mode is only asked for after a heartbeat that is newer than the order and than what was asked before, so that a pilot
is noticed first; heartbeats are asked for ten times a second. A vehicle that leaves a mode that it was asked for, and
was in, was taken by a pilot or by a failsafe of its own, and is asked for nothing until the order is OWN
(`Status.pilot`). Motors that were armed in a launch and that somebody else disarmed are never armed again by this
process: start it anew. Only `disarm` is repeated without a heartbeat.
"""

from __future__ import annotations

import math
from typing import Any, Mapping

from ..clock import Clock
from ..contract import Contract
from ..errors import UserError
from ..sources.mavlink import ADDRESS, SET_MESSAGE_INTERVAL, MavlinkSource
from ..sources.source import Source
from ..vehicle import Order, Sample, Setpoint, Status
from .link import Link
from .mavlink_autopilots import AUTOPILOTS, PX4, THRUST_IS_THRUST, Autopilot, Parameter
from .mavlink_clock import LockstepClock
from .mavlink_connection import SYSTEM, Connection
from .mavlink_frames import swapped_body, swapped_world, swapped_yaw
from .mavlink_parameters import parse_parameters, set_parameters
from .throttle import Throttle

ASK_AGAIN = 0.4  # s
LATE = 0.5  # s after it was asked for, in which a mode may still come though another was asked for since
SILENT = 2.5  # s without a heartbeat, after which no setpoints are sent: the vehicle's own failsafe acts, not we
HEARTBEATS = 100_000.0  # µs

RATES = ("collective_thrust", "roll_rate", "pitch_rate", "yaw_rate")
VELOCITY = ("velocity_x", "velocity_y", "velocity_z", "yaw_rate")
POSITION = ("position_x", "position_y", "position_z", "yaw")

SET_MODE, ARM, TAKE_OFF = 176, 400, 22  # MAV_CMD_DO_SET_MODE, MAV_CMD_COMPONENT_ARM_DISARM, MAV_CMD_NAV_TAKEOFF
ONLY_RATES = 0b1000_0000  # attitude is to be ignored
ONLY_VELOCITY = 0b0101_1100_0111  # position, acceleration and yaw are to be ignored
ONLY_POSITION = 0b1001_1111_1000  # velocity, acceleration and yaw rate are to be ignored
LOCAL_NED = 1  # MAV_FRAME
PREARM_CHECK = 1 << 28  # MAV_SYS_STATUS_PREARM_CHECK


class MavlinkLink(Link, Source):
    """A PX4 or ArduPilot vehicle, which also tells its state (`robo_ppo_onboard.sources.mavlink`)."""

    commands = (RATES, VELOCITY, POSITION)
    flies_itself = True
    provides = MavlinkSource.provides

    def __init__(
        self,
        *,
        address: str = ADDRESS,
        system: int = SYSTEM,
        wait: float = 10.0,
        throttle: tuple[float, ...] = (),
        takeoff_height: float = 1.2,
        parameters: str = "",
        position: str = "LOCAL_POSITION_NED",
        velocity: str = "LOCAL_POSITION_NED",
        attitude: str = "ATTITUDE_QUATERNION",
        gyro: str = "ATTITUDE_QUATERNION",
        lockstep: bool = False,
    ) -> None:
        """Settings of the command line (`link.address=…`).

        `wait` (s) is for the vehicle's first heartbeat. `throttle` replaces the bundle's thrust map by one's own
        calibration: `0,0.06,0.42,0.5,0.8,1` (N, part of full, …). `parameters` replaces values of the failsafe by one's
        own: `COM_OBL_RC_ACT=5,NAV_RCL_ACT=2`. `position` to `gyro` name the messages that measurements come from.
        `lockstep` takes the time from a simulated vehicle that waits for every setpoint.
        """
        self.connection = Connection(address, system=system, wait=wait)
        self._state = MavlinkSource(
            position=position, velocity=velocity, attitude=attitude, gyro=gyro, connection=self.connection
        )
        self._clock = LockstepClock(self.connection) if lockstep else None
        self._own_throttle = throttle
        self._own_parameters = parse_parameters(parameters)
        self._takeoff_height = takeoff_height
        self._throttle = Throttle(())
        self._kind = RATES
        self._pilot: Autopilot = PX4
        self._custom_mode, self._armed = -1, False
        self._battery: float | None = None
        self._flying: bool | None = None
        self._ready: bool | None = None
        self._heard, self._beats, self._seen = -math.inf, 0, 0  # heartbeats
        self._order = Order.OWN
        self._beats_before = 0  # heartbeats when the order came
        self._beats_asked = 0  # … and when something was asked for
        self._expected: set[str] = set()  # modes in which it may be until it is where the order wants it
        self._asked_for: dict[str, float] = {}  # when each mode was asked for last
        self._to_hand_back = False  # whether it may still take setpoints when it shall fly by itself
        self._taken = False  # by a pilot, or by a failsafe of its own
        self._asked = -math.inf
        self._arms = False  # whether it said that it arms, in this launch
        self._launched = False  # whether it has been armed in a launch
        self._killed = False  # … and was disarmed by somebody else: not to be armed again
        self._stopped = False  # whether it has been disarmed since STOP
        self._boot_ms = 0
        for kind, handler in (
            ("HEARTBEAT", self._take_heartbeat),
            ("COMMAND_ACK", self._take_answer),
            ("SYS_STATUS", self._take_health),
            ("EXTENDED_SYS_STATE", self._take_landed),
            ("SYSTEM_TIME", self._take_time),
        ):
            self.connection.on(kind, handler)

    def open(self, contract: Contract) -> None:
        """Connect; refuses what the vehicle cannot be told, and an autopilot that is not known."""
        names = tuple(port.name for port in contract.outputs)
        kinds = [kind for kind in self.commands if set(kind) == set(names)]
        if not kinds:
            known = "; or ".join(", ".join(kind) for kind in self.commands)
            raise UserError(f"a MAVLink vehicle cannot be told {', '.join(names)}; it takes {known}")
        self._kind = kinds[0]
        if self._kind is RATES:
            thrust = next(port for port in contract.outputs if port.name == RATES[0])
            self._throttle = Throttle.of(thrust, self._own_throttle)
        elif self._own_throttle:
            raise UserError("link.throttle is for policies that command thrust; this one does not")
        self.connection.open()
        number = self.connection.autopilot
        if number not in AUTOPILOTS:
            self.connection.close()
            raise UserError(f"the vehicle's autopilot is MAV_AUTOPILOT {number}; PX4 (12) and ArduPilot (3) are known")
        self._pilot = AUTOPILOTS[number]
        self._state.open(contract)
        # HEARTBEAT, SYS_STATUS, EXTENDED_SYS_STATE
        for message, interval in ((0, HEARTBEATS), (1, 200_000.0), (245, 200_000.0)):
            self.connection.ask(SET_MESSAGE_INTERVAL, message, interval, seconds=0.3, times=2)

    def prepare(self) -> list[str]:
        """Set and check the failsafe, and how high a take-off goes."""
        wanted = list(self._pilot.failsafe)
        if self._pilot is PX4:
            wanted.append(Parameter(("MIS_TAKEOFF_ALT",), self._takeoff_height, "take-offs go so high", False))
        elif self._kind is RATES:
            wanted.append(THRUST_IS_THRUST)
        return set_parameters(self.connection, self._pilot, wanted, self._own_parameters)

    def poll(self) -> list[Sample]:
        """What the vehicle measured."""
        return self._state.poll()

    def clock(self) -> Clock | None:
        """The vehicle's time, in lockstep."""
        return self._clock

    def status(self, now: float) -> Status:
        """As the vehicle's last messages say."""
        self.connection.pump()
        if self._beats != self._seen:
            self._seen, self._heard = self._beats, now
        self._watch(now)
        return Status(
            heard=self._heard,
            armed=self._armed,
            in_control=self._obeys(),
            pilot=self._taken,
            ready=False if self._killed else self._ready,
            flying=self._flying,
            battery=self._battery,
            mode=self.mode,
        )

    def send(self, setpoint: Setpoint, now: float) -> None:
        """Ask for what the order wants, if it is not so yet, and stream the numbers."""
        if setpoint.order is not self._order:
            self._begin(setpoint.order, now)
        self._watch(now)
        if self._may_ask(now):
            self._asked, self._beats_asked = now, self._beats
            self._ask(now)
        if self._streams() and (self._clock is not None or now - self._heard < SILENT):  # lockstep waits for them
            self._send_numbers(setpoint.commands)

    def forget(self) -> None:
        """A new flight: what was asked for before, and who took the vehicle then, no longer counts.

        That somebody disarmed it in a launch does count.
        """
        self._order = Order.OWN
        self._asked_for.clear()
        self._expected.clear()
        self._taken = self._to_hand_back = False

    def close(self) -> None:
        """Give the port back."""
        self.connection.close()

    @property
    def mode(self) -> str:
        """The vehicle's mode in words."""
        return self._pilot.mode(self._custom_mode)

    def _begin(self, order: Order, now: float) -> None:
        """Another order."""
        if order is Order.OWN:
            command = self._pilot.command
            self._to_hand_back = not self._taken and (self.mode == command or self._may_come(command, now))
            self._expected.clear()
        self._order, self._beats_before, self._beats_asked = order, self._beats, self._beats
        self._expected.add(self.mode)
        self._asked, self._arms, self._stopped = -math.inf, False, False

    def _watch(self, now: float) -> None:
        """Notice when the vehicle is where the order wants it, and when somebody takes it away from there."""
        order, mode = self._order, self.mode
        is_news = self._beats > self._beats_before
        if order in (Order.LAND, Order.STOP):
            self._launched &= self._armed  # motors that end with these were ended by us
        if order is Order.STOP:
            self._stopped |= is_news and not self._armed
            return
        self._launched |= order is Order.LAUNCH and self._armed
        self._killed |= self._launched and not self._armed
        if order is Order.OWN:
            self._taken = False
            self._to_hand_back &= not is_news or mode == self._pilot.command or self._may_come(self._pilot.command, now)
        elif order is Order.LAUNCH and self._killed:
            self._taken = True
        elif is_news and mode in self._wanted():
            self._expected.clear()
        elif is_news and (self._armed or order is Order.LAUNCH):
            self._taken |= not (mode in self._expected or self._may_come(mode, now))

    def _may_come(self, mode: str, now: float) -> bool:
        """Whether it was asked for so recently that the vehicle may only now do so."""
        return now - self._asked_for.get(mode, -math.inf) < LATE

    def _wanted(self) -> tuple[str, ...]:
        """Modes in which the vehicle is where the order wants it."""
        pilot = self._pilot
        return {
            Order.LAUNCH: pilot.launched,
            Order.COMMAND: (pilot.command,),
            Order.LEVEL: (pilot.hold,),
            Order.LAND: (pilot.land,),
        }.get(self._order, (self.mode,))

    def _obeys(self) -> bool:
        """Whether the vehicle does what the order says: a fallback's numbers count until it has its own mode."""
        order, mode = self._order, self.mode
        if order is Order.STOP:
            return not self._armed
        if order is Order.OWN:
            return not (self._to_hand_back and mode == self._pilot.command)
        if order is Order.LAUNCH and (not self._armed or self._flying is False):
            return False
        is_under_way = order in (Order.LEVEL, Order.LAND) and mode in (self._pilot.command, self._pilot.hold)
        return not self._taken and (mode in self._wanted() or is_under_way)

    def _may_ask(self, now: float) -> bool:
        """Whether there is something to ask for, and nobody else who has the vehicle."""
        if self._taken or self._is_settled() or now - self._asked < ASK_AGAIN:
            return False
        return self._order is Order.STOP or self._beats > max(self._beats_before, self._beats_asked)

    def _is_settled(self) -> bool:
        """Whether there is nothing to ask for."""
        if self._order is Order.STOP:
            return self._stopped  # whoever arms it then is somebody else
        return self._obeys() and self.mode in self._wanted()

    def _ask(self, now: float) -> None:
        """Ask for what the order wants."""
        pilot, order = self._pilot, self._order
        if order is Order.STOP:
            self.connection.command(ARM, 0.0)
            return
        wanted = {Order.LAUNCH: pilot.takeoff, Order.COMMAND: pilot.command, Order.LAND: pilot.land}
        self._ask_mode(wanted.get(order, pilot.hold), now)
        if order is Order.LAUNCH:
            if not self._armed:
                if not self._arms:  # else it was armed, and is so no more before a heartbeat told: not by us
                    self.connection.command(ARM, 1.0)
            elif pilot is not PX4 and self.mode == pilot.takeoff:
                self.connection.command(TAKE_OFF, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, self._takeoff_height)

    def _ask_mode(self, mode: str, now: float) -> None:
        if self.mode != mode:
            self._expected.add(mode)
            self._asked_for[mode] = now
            self.connection.command(SET_MODE, 1.0, *self._pilot.numbers(mode))  # MAV_MODE_FLAG_CUSTOM_MODE_ENABLED

    def _streams(self) -> bool:
        if self._order in (Order.OWN, Order.LAUNCH):
            return self._pilot.takes_setpoints_always
        return self._order is not Order.STOP

    def _send_numbers(self, commands: Mapping[str, float]) -> None:
        values = [commands[name] for name in self._kind]
        mav, target = self.connection.mav, self.connection.target
        if self._kind is RATES:
            rates = swapped_body(values[1:])
            thrust = self._throttle.part(values[0])
            mav.set_attitude_target_send(self._boot_ms, *target, ONLY_RATES, (1.0, 0.0, 0.0, 0.0), *rates, thrust)
            return
        moved, none = swapped_world(values[:3]), (0.0, 0.0, 0.0)
        start = (self._boot_ms, *target, LOCAL_NED)
        if self._kind is VELOCITY:
            mav.set_position_target_local_ned_send(*start, ONLY_VELOCITY, *none, *moved, *none, 0.0, -values[3])
        else:
            mav.set_position_target_local_ned_send(
                *start, ONLY_POSITION, *moved, *none, *none, swapped_yaw(values[3]), 0.0
            )

    def _take_heartbeat(self, message: Any) -> None:
        self._custom_mode = message.custom_mode
        self._armed = bool(message.base_mode & 0x80)  # MAV_MODE_FLAG_SAFETY_ARMED
        self._beats += 1

    def _take_answer(self, message: Any) -> None:
        if message.command == ARM and message.result == 0 and self._order is Order.LAUNCH:  # MAV_RESULT_ACCEPTED
            self._arms = True

    def _take_health(self, message: Any) -> None:
        self._battery = None if message.battery_remaining < 0 else message.battery_remaining / 100.0
        checks = message.onboard_control_sensors_enabled & PREARM_CHECK
        self._ready = bool(message.onboard_control_sensors_health & PREARM_CHECK) if checks else None

    def _take_landed(self, message: Any) -> None:
        self._flying = {1: False, 2: True, 3: True, 4: True}.get(message.landed_state)  # MAV_LANDED_STATE

    def _take_time(self, message: Any) -> None:
        self._boot_ms = message.time_boot_ms
