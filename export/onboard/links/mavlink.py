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

It asks again every 0.4 s until a heartbeat says that it is so. A vehicle that then leaves that mode was taken by a
pilot or by a failsafe of its own, and is asked for nothing until a new flight begins (`Status.pilot`).
"""

from __future__ import annotations

import math
from typing import Any, Mapping

from ..clock import Clock
from ..contract import Contract
from ..errors import UserError
from ..sources.mavlink import ADDRESS, MavlinkSource
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
        self._heard, self._seen = -math.inf, 0
        self._order = Order.OWN
        self._mode_before = ""  # in which the vehicle was when the order came
        self._requested: set[str] = set()  # modes asked for in this flight
        self._settled = False  # whether it has been as this order wants it
        self._armed_since = False  # whether it has been armed since
        self._taken = False  # by a pilot, or by a failsafe of its own
        self._asked = -math.inf
        self._boot_ms = 0
        for kind, handler in (
            ("HEARTBEAT", self._take_heartbeat),
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
        for message in (1, 245):  # SYS_STATUS, EXTENDED_SYS_STATE
            self.connection.ask(511, message, 200_000.0, seconds=0.3, times=2)  # MAV_CMD_SET_MESSAGE_INTERVAL, 5 Hz

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
        if self.connection.heard != self._seen:
            self._seen, self._heard = self.connection.heard, now
        self._watch()
        return Status(
            heard=self._heard,
            armed=self._armed,
            in_control=self._obeys(),
            pilot=self._taken,
            ready=self._ready,
            flying=self._flying,
            battery=self._battery,
            mode=self.mode,
        )

    def send(self, setpoint: Setpoint, now: float) -> None:
        """Ask for what the order wants, if it is not so yet, and stream the numbers."""
        if setpoint.order is not self._order:
            self._order, self._mode_before = setpoint.order, self.mode
            if setpoint.order is Order.OWN:
                self.forget()
            self._requested.add(self.mode)
            self._settled, self._armed_since, self._asked = False, False, -math.inf
        self._watch()
        if not (self._is_settled() or self._taken) and now - self._asked >= ASK_AGAIN:
            self._asked = now
            self._ask()
        if self._streams():
            self._send_numbers(setpoint.commands)

    def forget(self) -> None:
        """A new flight: what was asked for before, and who took the vehicle then, no longer counts."""
        self._requested.clear()
        self._taken = False

    def close(self) -> None:
        """Give the port back."""
        self.connection.close()

    @property
    def mode(self) -> str:
        """The vehicle's mode in words."""
        return self._pilot.mode(self._custom_mode)

    def _watch(self) -> None:
        """Notice when the vehicle is where the order wants it, and when somebody takes it away from there."""
        if self._order is Order.OWN:
            self._taken = False
        elif self._armed and self.mode not in self._modes():
            # What was asked for before may still happen while the vehicle is on its way to what is asked for now.
            self._taken |= self._settled or self.mode not in self._requested
        elif self._order is Order.LAUNCH and self._armed_since and not self._armed:
            self._taken = True  # disarmed by somebody: not to be armed again
        self._armed_since |= self._armed
        self._settled |= self._is_settled()

    def _modes(self) -> tuple[str, ...]:
        """Modes in which the vehicle does what the order says: a fallback's numbers count until it has its own mode."""
        pilot = self._pilot
        return {
            Order.LAUNCH: pilot.launched,
            Order.COMMAND: (pilot.command,),
            Order.LEVEL: (pilot.hold, pilot.command),
            Order.LAND: (pilot.land, pilot.hold, pilot.command),
        }.get(self._order, tuple(pilot.modes.values()))

    def _obeys(self) -> bool:
        """Whether the vehicle does what the order says."""
        if self._order is Order.STOP:
            return not self._armed
        if self._order is Order.LAUNCH and (not self._armed or self._flying is False):
            return False
        return self.mode in self._modes() and not self._is_to_be_handed_back()

    def _is_settled(self) -> bool:
        """Whether there is nothing to ask for."""
        if self._order is Order.STOP:
            return self._settled or not self._armed  # whoever arms it then is somebody else
        wanted = {Order.LEVEL: self._pilot.hold, Order.LAND: self._pilot.land}.get(self._order, self.mode)
        return self._obeys() and self.mode == wanted

    def _is_to_be_handed_back(self) -> bool:
        """Whether the vehicle still takes setpoints, after they were obeyed, though it shall fly by itself."""
        if self._order is not Order.OWN:
            return False
        return self._mode_before == self.mode == self._pilot.command

    def _ask(self) -> None:
        """Ask for what the order wants."""
        pilot, order = self._pilot, self._order
        if order is Order.STOP:
            self.connection.command(ARM, 0.0)
            return
        wanted = {Order.LAUNCH: pilot.takeoff, Order.COMMAND: pilot.command, Order.LAND: pilot.land}
        self._ask_mode(wanted.get(order, pilot.hold))
        if order is Order.LAUNCH:
            if not self._armed:
                self.connection.command(ARM, 1.0)
            elif pilot is not PX4 and self.mode == pilot.takeoff:
                self.connection.command(TAKE_OFF, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, self._takeoff_height)

    def _ask_mode(self, mode: str) -> None:
        self._requested.add(mode)
        if self.mode != mode:
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

    def _take_health(self, message: Any) -> None:
        self._battery = None if message.battery_remaining < 0 else message.battery_remaining / 100.0
        checks = message.onboard_control_sensors_enabled & PREARM_CHECK
        self._ready = bool(message.onboard_control_sensors_health & PREARM_CHECK) if checks else None

    def _take_landed(self, message: Any) -> None:
        self._flying = {1: False, 2: True, 3: True, 4: True}.get(message.landed_state)  # MAV_LANDED_STATE

    def _take_time(self, message: Any) -> None:
        self._boot_ms = message.time_boot_ms
