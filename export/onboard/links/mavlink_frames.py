"""Frames: ours (east-north-up, forward-left-up, counter-clockwise) and MAVLink's (north-east-down, forward-right-down).

    swapped_world((east, north, up))            # → (north, east, down)
    swapped_body((forward, left, up))           # → (forward, right, down)
    swapped_attitude((w, x, y, z))              # body to world of one kind → body to world of the other
    swapped_yaw(yaw)                            # from east, counter-clockwise → from north, clockwise

Each is its own inverse: the same function leads there and back. Exact but for the attitude, which is rounded once.
"""

from __future__ import annotations

import math
from typing import Sequence, Tuple

Vector = Tuple[float, float, float]
Quaternion = Tuple[float, float, float, float]

_HALF = math.sqrt(0.5)


def swapped_world(vector: Sequence[float]) -> Vector:
    """A world vector: x and y change places, z changes its sign."""
    return vector[1], vector[0], -vector[2]


def swapped_body(vector: Sequence[float]) -> Vector:
    """A body vector (also of rotation): half a turn about x."""
    return vector[0], -vector[1], -vector[2]


def swapped_attitude(attitude: Sequence[float]) -> Quaternion:
    """A quaternion wxyz from body to world.

    With q_w = (0, √½, √½, 0) between the worlds and q_b = (0, 1, 0, 0) between the bodies this is -(q_w ⊗ q ⊗ q_b).
    """
    w, x, y, z = attitude
    return _HALF * (w + z), _HALF * (x + y), _HALF * (x - y), _HALF * (w - z)


def swapped_yaw(yaw: float) -> float:
    """A heading (rad), from -π to π."""
    turned = math.pi / 2.0 - yaw
    return math.atan2(math.sin(turned), math.cos(turned))


def rotated(attitude: Sequence[float], vector: Sequence[float]) -> Vector:
    """A body vector in the world: R(q) v, with v' = v + 2 q × (q × v + w v) for the vector part q."""
    w, x, y, z = attitude
    a, b, c = vector
    s, t, u = y * c - z * b + w * a, z * a - x * c + w * b, x * b - y * a + w * c
    return a + 2.0 * (y * u - z * t), b + 2.0 * (z * s - x * u), c + 2.0 * (x * t - y * s)


def from_euler(roll: float, pitch: float, yaw: float) -> Quaternion:
    """The quaternion of a rotation about z (yaw), then the new y (pitch), then the new x (roll), in rad."""
    cr, sr = math.cos(roll / 2.0), math.sin(roll / 2.0)
    cp, sp = math.cos(pitch / 2.0), math.sin(pitch / 2.0)
    cy, sy = math.cos(yaw / 2.0), math.sin(yaw / 2.0)
    return (
        cr * cp * cy + sr * sp * sy,
        sr * cp * cy - cr * sp * sy,
        cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy,
    )
