"""The MAVLink side of a simulated vehicle: what it tells, and what it understands.

    wire = Wire("udpout:127.0.0.1:14540", faults)
    wire.tell_state(flight, autopilot, now)
    for message in wire.receive(now): …

It behaves as PX4 on the wire: system 1, component 1, integer parameters as their bytes.
"""

import struct
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.autopilot import DEFAULTS, Autopilot
from robo_ppo.export.vehicles.faults import Faults
from robo_ppo.export.vehicles.flight import Flight
from robo_ppo_onboard.links.mavlink_autopilots import INT32, PX4, REAL32
from robo_ppo_onboard.links.mavlink_connection import COMPONENT, SYSTEM, mavutil
from robo_ppo_onboard.links.mavlink_frames import swapped_attitude, swapped_body, swapped_world

REACH = 3.0  # m: of the range sensors, what they say when there is nothing
NEAREST = 0.02  # m
RINGS = 72  # elements of OBSTACLE_DISTANCE
NUMBERS = {name: number for number, name in PX4.modes.items()}
BEGIN, SWITCH_FAULT = 31010, 31011  # MAV_CMD_USER_1, MAV_CMD_USER_2
GROUND_STATION = (255, 190)  # the sender of the goal


class Wire:
    """One UDP connection to whoever listens."""

    def __init__(self, address: str, faults: Faults) -> None:
        module = mavutil()
        try:
            self._raw: Any = module.mavlink_connection(address, source_system=1, source_component=1)
        except (OSError, ValueError) as error:
            raise UserError(f"address={address}: {error}") from error
        self._types: Any = module.mavlink
        self._mav: Any = self._raw.mav
        self.faults = faults
        self._held: list[Any] = []  # not sent yet
        self._late: list[Any] = []  # not handed on yet
        self.answered = -1  # time (ms) of the newest setpoint, whether a fault has it or not

    def close(self) -> None:
        """Give the port back."""
        self._raw.close()

    def switch(self, faults: Faults) -> None:
        """Another fault instead of the one there was; what that held back is lost."""
        self.faults, self._held, self._late = faults, [], []

    def wait(self, seconds: float) -> None:
        """Until something arrives, but not longer."""
        self._raw.select(max(0.0, seconds))

    def receive(self, now: float) -> Iterator[Any]:
        """Messages that arrived, but for those that a fault swallows or holds back."""
        while True:
            message = self._raw.recv_msg()
            if message is None:
                break
            self.answered = getattr(message, "time_boot_ms", self.answered)
            if is_ours(message):
                yield message
            elif not self.faults.loses(now):
                self._late.append(message)
        if not self.faults.holds_back(now):
            arrived, self._late = self._late, []
            yield from arrived

    def send(self, message: Any, now: float, *, always: bool = False) -> None:
        """Send a message, unless a fault has it; `always` is for the clock of lockstep."""
        if not always:
            if self.faults.holds_back(now):
                self._held.append(message)
                return
            held, self._held = self._held, []
            for late in held:
                self._mav.send(late)
            if self.faults.loses(now):
                return
        self._mav.send(message)

    def tell_heartbeat(self, autopilot: Autopilot, now: float) -> None:
        """Mode and arming."""
        flags = 1 | (0x80 if autopilot.armed else 0)  # MAV_MODE_FLAG_CUSTOM_MODE_ENABLED, …_SAFETY_ARMED
        state = 4 if autopilot.armed else 3  # MAV_STATE_ACTIVE, …_STANDBY
        self.send(self._mav.heartbeat_encode(2, 12, flags, NUMBERS[autopilot.mode], state), now)  # a quadrotor with PX4

    def tell_health(self, flight: Flight, autopilot: Autopilot, now: float) -> None:
        """Battery, and whether it stands."""
        left = self.faults.amount if self.faults.is_on("battery", now) else 0.9
        sensors = 1 << 28 | 0b1_1010_0000_0100_1111  # checks before arming, gyro, accelerometer, …, position control
        self.send(
            self._mav.sys_status_encode(sensors, sensors, sensors, 200, 4000, -1, round(100 * left), 0, 0, 0, 0, 0, 0),
            now,
        )
        moving = {"takeoff": 3, "land": 4}.get(autopilot.mode, 2)  # MAV_LANDED_STATE
        self.send(self._mav.extended_sys_state_encode(0, 1 if flight.on_ground else moving), now)

    def tell_state(self, flight: Flight, now: float) -> None:
        """Everything that is measured, with the present time as its stamp."""
        measured, ms = flight.measured, round(1e3 * now)
        position, velocity = swapped_world(_floats(measured["position"])), swapped_world(_floats(measured["velocity"]))
        if self.faults.is_on("nan", now):
            position = (float("nan"), *position[1:])
        attitude, rates = swapped_attitude(_floats(measured["attitude"])), swapped_body(_floats(measured["gyro"]))
        self.send(self._mav.local_position_ned_encode(ms, *position, *velocity), now)
        self.send(self._mav.attitude_quaternion_encode(ms, *attitude, *rates), now)
        none = (0.0, 0.0, 0.0)
        self.send(
            self._mav.highres_imu_encode(round(1e6 * now), *none, *rates, *none, 0.0, 0.0, 0.0, 0.0, 0b11_1000), now
        )
        if "ranges" in measured:
            self.send(self._ring(measured["ranges"], round(1e6 * now)), now)
        if "goal" in measured:
            self._tell_goal(swapped_world(_floats(measured["goal"])), ms, now)

    def tell_time(self, now: float) -> None:
        """The time of what was told: in lockstep, that the vehicle waits for a setpoint with this time."""
        self.send(self._mav.system_time_encode(round(1e6 * time.time()), round(1e3 * now)), now, always=True)

    def say(self, text: str, now: float) -> None:
        """A line for people (and for who waits for the end of an episode)."""
        self.send(self._mav.statustext_encode(6, text.encode()[:50]), now, always=True)

    def answer(self, message: Any, result: int, now: float) -> None:
        """The result (MAV_RESULT) of a command."""
        sender = (message.get_srcSystem(), message.get_srcComponent())
        answer = self._mav.command_ack_encode(message.command, result, 0, 0, *sender)
        self.send(answer, now, always=is_ours(message))

    def tell_version(self, now: float) -> None:
        """AUTOPILOT_VERSION, which clients ask for: parameters as bytes, attitude and position offboard, MAVLink 2."""
        capabilities = 1 << 4 | 1 << 6 | 1 << 7 | 1 << 13
        none, version = bytes(8), 1 << 24 | 15 << 16 | 255
        self.send(self._mav.autopilot_version_encode(capabilities, version, 0, 0, 0, none, none, none, 0, 0, 0), now)

    def tell_parameter(self, autopilot: Autopilot, name: str, now: float) -> None:
        """One parameter."""
        whole, names = DEFAULTS[name][1], sorted(DEFAULTS)
        value = PX4.encoded(autopilot.parameters[name], whole)
        kind = INT32 if whole else REAL32
        self.send(self._mav.param_value_encode(name.encode(), value, kind, len(names), names.index(name)), now)

    def _ring(self, ranges: np.ndarray, microseconds: int) -> Any:
        """OBSTACLE_DISTANCE: clockwise from ahead, in whole centimetres."""
        count = len(ranges)
        far = round(100 * REACH) + 1  # beyond the reach
        centimetres = np.clip(np.round(100.0 * ranges), round(100 * NEAREST), far).astype(int)
        clockwise = [int(centimetres[-number % count]) for number in range(count)] + [65535] * (RINGS - count)
        return self._mav.obstacle_distance_encode(
            microseconds, 4, clockwise, 0, round(100 * NEAREST), round(100 * REACH), 360.0 / count, 0.0, 12
        )

    def _tell_goal(self, goal: tuple[float, float, float], ms: int, now: float) -> None:
        """The goal, as a ground station would send it to the controller."""
        only_position = 0b1101_1111_1000
        none = (0.0,) * 6
        self._mav.srcSystem, self._mav.srcComponent = GROUND_STATION
        try:
            target = (SYSTEM, COMPONENT)
            self.send(
                self._mav.set_position_target_local_ned_encode(ms, *target, 1, only_position, *goal, *none, 0.0, 0.0),
                now,
            )
        finally:
            self._mav.srcSystem, self._mav.srcComponent = 1, 1


def is_ours(message: Any) -> bool:
    """Whether it is a command of who stages the flight, which no fault touches."""
    return message.get_type() == "COMMAND_LONG" and message.command in (BEGIN, SWITCH_FAULT)


def parameter_of(message: Any) -> tuple[str, float]:
    """Name and value of a PARAM_SET, whose whole numbers travel as their bytes."""
    value = message.param_value
    if message.param_type == INT32:
        value = float(struct.unpack("<i", struct.pack("<f", value))[0])
    return message.param_id, value


def _floats(values: np.ndarray) -> list[float]:
    return [float(value) for value in values]
