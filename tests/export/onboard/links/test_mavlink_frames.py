"""Frames against matrices, against pymavlink's own rotations, and against what one knows by heart."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymavlink.quaternion import Quaternion, QuaternionBase

from robo_ppo_onboard.links.mavlink_frames import (
    from_euler,
    rotated,
    swapped_attitude,
    swapped_body,
    swapped_world,
    swapped_yaw,
)

WORLDS = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # ENU → NED
BODIES = np.diag([1.0, -1.0, -1.0])  # FLU → FRD

angles = st.floats(-3.1, 3.1)
numbers = st.floats(-1e3, 1e3, width=32)
vectors = st.tuples(numbers, numbers, numbers)


def quaternion_of(roll: float, pitch: float, yaw: float) -> tuple[float, ...]:
    components: Any = Quaternion([roll, pitch, yaw]).q
    return tuple(float(component) for component in components)


def euler_of(attitude: tuple[float, ...]) -> tuple[float, ...]:
    found: Any = Quaternion(list(attitude)).euler
    return tuple(float(angle) for angle in found)


@st.composite
def quaternions(draw: st.DrawFn) -> tuple[float, ...]:
    roll, pitch, yaw = draw(angles), draw(st.floats(-1.5, 1.5)), draw(angles)
    return quaternion_of(roll, pitch, yaw)


def matrix(quaternion: tuple[float, ...]) -> np.ndarray:
    return np.array(QuaternionBase(list(quaternion)).dcm)


def test_what_one_knows_by_heart() -> None:
    assert swapped_world((1.0, 2.0, 3.0)) == (2.0, 1.0, -3.0)  # 1 m east, 2 m north, 3 m up
    assert swapped_body((1.0, 2.0, 3.0)) == (1.0, -2.0, -3.0)
    heading_east = swapped_attitude((1.0, 0.0, 0.0, 0.0))
    assert euler_of(heading_east) == pytest.approx((0.0, 0.0, math.pi / 2))
    north = (math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4))
    assert swapped_attitude(north) == pytest.approx((1.0, 0.0, 0.0, 0.0))
    assert swapped_yaw(0.0) == pytest.approx(math.pi / 2)
    assert swapped_yaw(math.pi) == pytest.approx(-math.pi / 2)  # west


@given(quaternions())
def test_attitudes_turn_as_matrices_do(attitude: tuple[float, ...]) -> None:
    assert matrix(swapped_attitude(attitude)) == pytest.approx(WORLDS @ matrix(attitude) @ BODIES, abs=1e-12)


@given(quaternions(), vectors)
def test_all_lead_back(attitude: tuple[float, ...], vector: tuple[float, float, float]) -> None:
    assert swapped_attitude(swapped_attitude(attitude)) == pytest.approx(attitude, abs=1e-15)
    assert swapped_world(swapped_world(vector)) == vector
    assert swapped_body(swapped_body(vector)) == vector


@given(angles)
def test_a_heading_is_that_of_the_attitude(yaw: float) -> None:
    level = (math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2))
    turned = euler_of(swapped_attitude(level))[2]
    assert math.remainder(swapped_yaw(yaw) - turned, 2 * math.pi) == pytest.approx(0.0, abs=1e-9)


@given(quaternions(), vectors)
def test_vectors_turn_as_matrices_do(attitude: tuple[float, ...], vector: tuple[float, float, float]) -> None:
    assert rotated(attitude, vector) == pytest.approx(tuple(matrix(attitude) @ vector), rel=1e-9, abs=1e-9)


@given(angles, st.floats(-1.5, 1.5), angles)
def test_euler_angles_are_those_of_pymavlink(roll: float, pitch: float, yaw: float) -> None:
    assert matrix(from_euler(roll, pitch, yaw)) == pytest.approx(matrix(quaternion_of(roll, pitch, yaw)), abs=1e-12)


@given(quaternions())
def test_single_precision_on_the_wire_keeps_an_attitude(attitude: tuple[float, ...]) -> None:
    on_the_wire = np.array(swapped_attitude(attitude), np.float32).tolist()
    assert swapped_attitude(on_the_wire) == pytest.approx(attitude, abs=2e-7)
