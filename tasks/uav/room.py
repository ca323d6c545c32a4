"""A closed room in which a vehicle flies: what flights in it have in common, whatever they are for.

The room is a box, its floor at z = 0. Touching anything ends an episode; the vehicle is a sphere around its centre.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.env.constants import constant
from robo_ppo.env.distances import inside_box
from robo_ppo.env.flights import Flights
from robo_ppo.env.scenes import Columns
from robo_ppo.env.shapes import Shape
from robo_ppo.env.signals import State, signal
from robo_ppo.env.task import Metric, Task
from robo_ppo.tasks.uav import flights as scripted_flights
from robo_ppo.tasks.uav import signals as flight_signals
from robo_ppo.tasks.uav import terms as flight_terms

BESIDE = 5.0  # goal radii: nearer than this a vehicle is beside its goal


@dataclass(frozen=True)
class RoomSettings:
    """Numbers of every flight in a room."""

    room: tuple[float, float, float] = (8.0, 8.0, 3.0)  # m, length x, width y, height z
    goal_radius: float = 0.15  # m
    goal_speed: float = 0.3  # m/s
    hold_seconds: float = 1.0  # success: this long near and slow without a break
    max_tilt: float = 110.0  # degrees; a failure beyond


class RoomTask(Task):
    """Fly to a goal and stay there for a moment without touching anything."""

    failures: tuple[str, ...] = ("ground", "ceiling", "bounds", "tipped_over")
    settings: RoomSettings

    @override
    def sources(self) -> Sequence[object]:
        return (flight_signals,)

    @override
    def terms(self) -> Sequence[object]:
        return (flight_terms,)

    @override
    def states(self) -> dict[str, State]:
        return {
            "goal_position": State((3,), "m", "world"),
            "start_distance": State((), "m", initial=1.0),
            "hold_time": State((), "s", follows="held"),
        }

    @override
    def metrics(self) -> dict[str, Metric]:
        return {
            "path_length_ratio": Metric("path_share", "sum", "1", only_success=True),
            "smallest_clearance": Metric("clearance", "min", "m"),
            "top_speed": Metric("speed", "max", "m/s"),
        }

    @override
    def limits(self) -> dict[str, float]:
        length, width, height = self.settings.room
        sides = {"x": (-length / 2, length / 2), "y": (-width / 2, width / 2), "z": (0.0, height)}
        fence = {f"{end}_{axis}_m": side[n] for axis, side in sides.items() for n, end in enumerate(("min", "max"))}
        return {"max_tilt_rad": math.radians(self.settings.max_tilt), **fence}

    @override
    def readings(self) -> dict[str, str]:
        return {"to goal (m)": "goal_distance", "speed (m/s)": "speed", "clearance (m)": "clearance"}

    @override
    def behaviour(self) -> dict[str, str]:
        return {**self.readings(), "tilt (deg)": "tilt"}

    @override
    def within_reach(self) -> str:
        return "beside_goal"

    @override
    def handles(self) -> dict[str, str]:
        return {"goal": "goal_position"}

    @override
    def shapes(self, values: Mapping[str, np.ndarray]) -> list[Shape]:
        length, width, height = self.settings.room
        x, y, z = map(float, values["goal_position"])
        return [
            Shape("box", (0.0, 0.0, height / 2), (length / 2, width / 2, height / 2), "bounds"),
            Shape("sphere", (x, y, z), (self.settings.goal_radius,), "goal"),
        ]

    @override
    def flights(self) -> Flights:
        return scripted_flights.FLIGHTS

    @signal(unit="s")
    def held(self, goal_distance: Tensor, speed: Tensor, hold_time: Tensor) -> Tensor:
        """How long the vehicle has been near the goal and slow without a break (n,), this step included."""
        there = (goal_distance < self.settings.goal_radius) & (speed < self.settings.goal_speed)
        return torch.where(there, hold_time + self.control_period, 0.0)

    @signal()
    def beside_goal(self, goal_distance: Tensor) -> Tensor:
        """Whether the goal is within reach (n,), whatever the speed."""
        return goal_distance < BESIDE * self.settings.goal_radius

    @signal()
    def success(self, held: Tensor) -> Tensor:
        """Whether the vehicle has stayed at the goal long enough (n,)."""
        return held > self.settings.hold_seconds - 0.5 * self.control_period

    @signal(unit="m")
    def room_clearance(self, position: Tensor) -> Tensor:
        """Distance from the vehicle's sphere to the nearest wall, floor or ceiling (n,)."""
        length, width, height = self.settings.room
        lower = constant((-length / 2, -width / 2, 0.0), position)
        upper = constant((length / 2, width / 2, height), position)
        return inside_box(position, lower, upper) - self.robot.radius

    @signal(unit="m")
    def clearance(self, room_clearance: Tensor) -> Tensor:
        """Distance from the vehicle's sphere to whatever it can hit first (n,)."""
        return room_clearance

    @signal()
    def ground(self, height: Tensor) -> Tensor:
        """Contact with the floor (n,)."""
        return height < self.robot.radius

    @signal()
    def ceiling(self, height: Tensor) -> Tensor:
        """Contact with the ceiling (n,)."""
        return height > self.settings.room[2] - self.robot.radius

    @signal()
    def bounds(self, position: Tensor) -> Tensor:
        """Contact with a wall (n,)."""
        half = constant(self.settings.room[:2], position) / 2 - self.robot.radius
        return (position[:, :2].abs() > half).any(1)

    @signal()
    def tipped_over(self, upright: Tensor) -> Tensor:
        """Tilt beyond the limit (n,)."""
        return upright < math.cos(math.radians(self.settings.max_tilt))

    @signal()
    def failed(self, ground: Tensor, ceiling: Tensor, bounds: Tensor, tipped_over: Tensor) -> Tensor:
        """Any failure (n,)."""
        return ground | ceiling | bounds | tipped_over

    @signal(unit="1")
    def path_share(self, position: Tensor, previous_position: Tensor, start_distance: Tensor) -> Tensor:
        """Way flown in this step over the straight distance from start to goal (n,)."""
        return (position - previous_position).norm(dim=1) / start_distance


def uniform_in_room(
    rng: np.random.Generator, room: Sequence[float], margin: float, shape: tuple[int, ...]
) -> np.ndarray:
    """Points (*shape, 3) at least `margin` (m) away from walls, floor and ceiling."""
    length, width, height = room
    low = np.array([margin - length / 2, margin - width / 2, margin])
    high = np.array([length / 2 - margin, width / 2 - margin, height - margin])
    return rng.uniform(low, high, (*shape, 3))


def start_state(rng: np.random.Generator, position: np.ndarray, tilt: float, speed: float, rate: float) -> Columns:
    """`qpos` and `qvel` (count, …) at given positions, with any heading.

    The body is turned by up to `tilt` (degrees) about a random horizontal axis; velocities are normal with the standard
    deviations `speed` (m/s) and `rate` (rad/s).
    """
    count = len(position)
    yaw, axis = rng.uniform(-np.pi, np.pi, (2, count))
    angle = np.radians(tilt) * np.sqrt(rng.random(count))
    half_yaw, half = yaw / 2, angle / 2
    # First the heading, then the tilt about an axis in the body's horizontal plane: q = q_yaw ⊗ q_tilt.
    tx, ty = np.sin(half) * np.cos(axis), np.sin(half) * np.sin(axis)
    c, s = np.cos(half_yaw), np.sin(half_yaw)
    quaternion = np.stack((c * np.cos(half), c * tx - s * ty, c * ty + s * tx, s * np.cos(half)), 1)
    velocity = rng.normal(size=(count, 6)) * np.repeat([speed, rate], 3)
    return {"qpos": np.concatenate((position, quaternion), 1).astype(np.float32), "qvel": velocity.astype(np.float32)}
