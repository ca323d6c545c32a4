"""Signals that every flying task can use: where the goal is, how the vehicle moves, how it stands."""

import math

import torch
from torch import Tensor

from robo_ppo.env.rotations import heading
from robo_ppo.env.signals import measurement, signal


@measurement(unit="m", frame="world")
def goal(goal_position: Tensor) -> Tensor:
    """Where the vehicle is told to go (n, 3)."""
    return goal_position


@signal(unit="1", frame="world", range=(-1.0, 1.0))
def heading_direction(attitude: Tensor) -> Tensor:
    """Cosine and sine of the yaw angle (n, 2)."""
    return torch.stack(heading(attitude), 1)


@signal(unit="m", frame="heading")
def goal_offset(position: Tensor, goal: Tensor, heading_direction: Tensor) -> Tensor:
    """Vector from the vehicle to its goal (n, 3), turned about the vertical so that x is where the vehicle heads."""
    return to_heading(goal - position, heading_direction)


@signal(unit="1", frame="heading", range=(-1.0, 1.0))
def goal_direction(goal_offset: Tensor) -> Tensor:
    """Direction to the goal (n, 3): a unit vector from afar that shrinks to zero within about 0.3 m of the goal."""
    return goal_offset / torch.sqrt((goal_offset * goal_offset).sum(1, keepdim=True) + 0.09)


@signal(unit="m", range=(0.0, math.inf))
def goal_distance(position: Tensor, goal: Tensor) -> Tensor:
    """Distance to the goal (n,)."""
    return (goal - position).norm(dim=1)


@signal(unit="m/s", frame="heading")
def velocity_heading(velocity: Tensor, heading_direction: Tensor) -> Tensor:
    """Velocity (n, 3), turned about the vertical so that x points where the vehicle heads."""
    return to_heading(velocity, heading_direction)


@signal(unit="m/s", range=(0.0, math.inf))
def speed(velocity: Tensor) -> Tensor:
    """Magnitude of the velocity (n,)."""
    return velocity.norm(dim=1)


@signal(unit="1", frame="body", range=(-1.0, 1.0))
def gravity_direction(attitude: Tensor) -> Tensor:
    """The downward unit vector in the body frame (n, 3)."""
    w, x, y, z = attitude.unbind(1)
    # Minus the third row of the rotation matrix.
    return torch.stack((2.0 * (w * y - x * z), -2.0 * (y * z + w * x), 2.0 * (x * x + y * y) - 1.0), 1)


@signal(unit="m", frame="world")
def height(position: Tensor) -> Tensor:
    """Height above the ground (n,)."""
    return position[:, 2]


@signal(unit="1", range=(-1.0, 1.0))
def upright(attitude: Tensor) -> Tensor:
    """Cosine of the tilt angle (n,): 1 upright, 0 on the side, -1 upside down."""
    return 1.0 - 2.0 * (attitude[:, 1] ** 2 + attitude[:, 2] ** 2)


@signal(unit="deg", range=(0.0, 180.0))
def tilt(upright: Tensor) -> Tensor:
    """Angle between the body's vertical and the world's (n,)."""
    return torch.rad2deg(torch.acos(upright.clamp(-1.0, 1.0)))


def to_heading(vector: Tensor, heading_direction: Tensor) -> Tensor:
    """A world vector (n, 3) in the frame turned by the yaw angle about the vertical."""
    cosine, sine = heading_direction.unbind(1)
    x, y, z = vector.unbind(1)
    return torch.stack((cosine * x + sine * y, cosine * y - sine * x, z), 1)
