"""What a MAVLink vehicle measures: its estimate of where it is, its gyro, distances around it, and the goal.

    python -m robo_ppo_onboard bundle=policy.onnx link=mavlink link.gyro=HIGHRES_IMU    # the link's own state
    python -m robo_ppo_onboard bundle=policy.onnx link=… source=mavlink source.mavlink.address=udpin:0.0.0.0:14550

| measurement        | from one of these messages, the first if not told otherwise |
|--------------------|------------------------------------------------------------------------------------|
| position, velocity | LOCAL_POSITION_NED, ODOMETRY |
| attitude           | ATTITUDE_QUATERNION, ATTITUDE, ODOMETRY |
| gyro               | ATTITUDE_QUATERNION (without its bias), HIGHRES_IMU (raw), ATTITUDE, ODOMETRY |
| ranges             | OBSTACLE_DISTANCE, on a grid of 1 cm |
| goal               | SET_POSITION_TARGET_LOCAL_NED from a ground station to this controller: positions, LOCAL_NED |

Everything is turned into the contract's frames (east-north-up, forward-left-up, wxyz). A stamp is the vehicle's own
time since it booted; each message's samples are passed on as they come.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Callable, Mapping, Sequence, Tuple

from ..contract import Contract
from ..errors import UserError, did_you_mean
from ..links.mavlink_connection import Connection
from ..links.mavlink_frames import from_euler, rotated, swapped_attitude, swapped_body, swapped_world
from ..vehicle import Sample
from .source import Source

Values = Tuple[float, ...]
Reader = Callable[[Any], Values]

ADDRESS = "udpin:0.0.0.0:14540"
SET_MESSAGE_INTERVAL = 511  # MAV_CMD
NUMBERS = {"LOCAL_POSITION_NED": 32, "ATTITUDE": 30, "ATTITUDE_QUATERNION": 31, "HIGHRES_IMU": 105, "ODOMETRY": 331}
NUMBERS["OBSTACLE_DISTANCE"] = 330
UNKNOWN = 65535  # of OBSTACLE_DISTANCE


def _rates(message: Any) -> Values:
    return swapped_body((message.rollspeed, message.pitchspeed, message.yawspeed))


READERS: Mapping[str, Mapping[str, Reader]] = {
    "position": {
        "LOCAL_POSITION_NED": lambda m: swapped_world((m.x, m.y, m.z)),
        "ODOMETRY": lambda m: swapped_world((m.x, m.y, m.z)),
    },
    "velocity": {
        "LOCAL_POSITION_NED": lambda m: swapped_world((m.vx, m.vy, m.vz)),
        "ODOMETRY": lambda m: swapped_world(rotated(m.q, (m.vx, m.vy, m.vz))),
    },
    "attitude": {
        "ATTITUDE_QUATERNION": lambda m: swapped_attitude((m.q1, m.q2, m.q3, m.q4)),
        "ATTITUDE": lambda m: swapped_attitude(from_euler(m.roll, m.pitch, m.yaw)),
        "ODOMETRY": lambda m: swapped_attitude(m.q),
    },
    "gyro": {
        "ATTITUDE_QUATERNION": _rates,
        "HIGHRES_IMU": lambda m: swapped_body((m.xgyro, m.ygyro, m.zgyro)),
        "ATTITUDE": _rates,
        "ODOMETRY": _rates,
    },
    "goal": {"SET_POSITION_TARGET_LOCAL_NED": lambda m: swapped_world((m.x, m.y, m.z))},
}
"""How each measurement is read from the messages that have it."""

LOCAL_NED, BODY_FRD = 1, 12  # of MAV_FRAME
NO_POSITION = 0b111  # bits of a target's type_mask that say: do not go by x, y, z

MEANT: Mapping[str, Callable[[Any], bool]] = {
    "ODOMETRY": lambda m: (m.frame_id, m.child_frame_id) == (LOCAL_NED, BODY_FRD),
    "SET_POSITION_TARGET_LOCAL_NED": lambda m: m.coordinate_frame == LOCAL_NED and not m.type_mask & NO_POSITION,
}
"""Which messages of a kind are read: in other frames they say something else."""


class MavlinkSource(Source):
    """Measurements of a PX4 or ArduPilot vehicle."""

    provides = ("position", "velocity", "attitude", "gyro", "ranges", "goal")

    def __init__(
        self,
        *,
        address: str = ADDRESS,
        position: str = "LOCAL_POSITION_NED",
        velocity: str = "LOCAL_POSITION_NED",
        attitude: str = "ATTITUDE_QUATERNION",
        gyro: str = "ATTITUDE_QUATERNION",
        connection: Connection | None = None,
    ) -> None:
        """Settings of the command line (`source.mavlink.gyro=HIGHRES_IMU`); `connection` is a link's, to be shared."""
        self._is_mine = connection is None
        self.connection = Connection(address) if connection is None else connection
        chosen = {"position": position, "velocity": velocity, "attitude": attitude, "gyro": gyro}
        for name, message in chosen.items():
            if message not in READERS[name]:
                raise UserError(f"{name}={message}: that message has no {name}; {did_you_mean(message, READERS[name])}")
        self._messages = {**chosen, "goal": "SET_POSITION_TARGET_LOCAL_NED", "ranges": "OBSTACLE_DISTANCE"}
        self._arrived: deque[Sample] = deque()
        self._sectors = 0

    def open(self, contract: Contract) -> None:
        """Connect, and ask for the messages that are needed, twice in a control period."""
        wanted = [port.name for port in contract.inputs if port.name in self.provides]
        if "ranges" in wanted:
            shape = next(port.shape for port in contract.inputs if port.name == "ranges")
            if len(shape) != 1:
                raise UserError(f"the policy takes ranges of shape {shape}; OBSTACLE_DISTANCE is one ring of them")
            self._sectors = shape[0]
        # The safety net needs the motion of the body, whether the policy does or not.
        names = dict.fromkeys([*("position", "velocity", "attitude", "gyro"), *wanted])
        by_message: dict[str, list[str]] = {}
        for name in names:
            by_message.setdefault(self._messages[name], []).append(name)
        for message, read in by_message.items():
            self.connection.on(message, self._handler(message, read))
        self.connection.open()
        interval = round(1e6 * contract.control_period / 2.0)  # µs
        for message in by_message:
            if message in NUMBERS:
                self.connection.ask(SET_MESSAGE_INTERVAL, NUMBERS[message], interval, seconds=0.3, times=2)

    def poll(self) -> list[Sample]:
        """Whatever arrived."""
        self.connection.pump()
        arrived = list(self._arrived)
        self._arrived.clear()
        return arrived

    def close(self) -> None:
        """Give the port back, if it is not the link's."""
        if self._is_mine:
            self.connection.close()

    def _handler(self, message: str, names: Sequence[str]) -> Callable[[Any], None]:
        if message == "OBSTACLE_DISTANCE":
            return self._take_ranges
        readers = [(name, READERS[name][message]) for name in names]

        def take(m: Any) -> None:
            if message in MEANT and not MEANT[message](m):
                return
            stamp = stamp_of(m)
            self._arrived.extend(Sample(name, read(m), stamp) for name, read in readers)

        return take

    def _take_ranges(self, m: Any) -> None:
        self._arrived.append(Sample("ranges", ring(m, self._sectors), stamp_of(m)))


def stamp_of(message: Any) -> float:
    """The vehicle's time (s) of a message."""
    if hasattr(message, "time_usec"):
        return message.time_usec * 1e-6
    return message.time_boot_ms * 1e-3


def ring(message: Any, sectors: int) -> Values:
    """Distances (m) in as many sectors, counter-clockwise from ahead, from an OBSTACLE_DISTANCE message.

    MAVLink's elements run clockwise from `angle_offset`; each counts for the sector that it lies in, the nearest first.
    Nothing in reach is the end of the range; a sector that nothing is known of is not a number.
    """
    increment = float(message.increment) if message.increment_f <= 0.0 else message.increment_f
    if not (increment > 0.0 and math.isfinite(increment) and math.isfinite(message.angle_offset)):
        return (math.nan,) * sectors
    found: list[float | None] = [None] * sectors
    width = 360.0 / sectors
    for number, distance in enumerate(message.distances[: round(360.0 / increment)]):
        if distance == UNKNOWN:
            continue
        sector = round(-(message.angle_offset + number * increment) / width) % sectors
        reach = min(distance, message.max_distance) / 100.0
        before = found[sector]
        found[sector] = reach if before is None else min(before, reach)
    return tuple(math.nan if distance is None else distance for distance in found)
