"""Quaternions against MuJoCo's own functions."""

import math

import hypothesis.strategies as st
import mujoco
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from torch import Tensor

from robo_ppo.env import rotations

numbers = st.floats(-1.0, 1.0, allow_subnormal=False)
vectors = st.tuples(numbers, numbers, numbers).map(lambda v: 3.0 * np.array(v))


@st.composite
def quaternions(draw: st.DrawFn) -> np.ndarray:
    raw = np.array(draw(st.tuples(numbers, numbers, numbers, numbers)))
    assume(np.linalg.norm(raw) > 0.1)
    return raw / np.linalg.norm(raw)


def tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float64)


@given(quaternions(), vectors)
def test_rotating_a_vector(quaternion: np.ndarray, vector: np.ndarray) -> None:
    expected = np.zeros(3)
    mujoco.mju_rotVecQuat(expected, vector, quaternion)
    np.testing.assert_allclose(rotations.rotate(tensor(quaternion), tensor(vector)), expected, atol=1e-12)
    conjugate, back = np.zeros(4), np.zeros(3)
    mujoco.mju_negQuat(conjugate, quaternion)
    mujoco.mju_rotVecQuat(back, vector, conjugate)
    np.testing.assert_allclose(rotations.rotate_inverse(tensor(quaternion), tensor(vector)), back, atol=1e-12)


@given(quaternions())
def test_matrix(quaternion: np.ndarray) -> None:
    expected = np.zeros(9)
    mujoco.mju_quat2Mat(expected, quaternion)
    np.testing.assert_allclose(rotations.rotation_matrix(tensor(quaternion)), expected.reshape(3, 3), atol=1e-12)


@given(quaternions(), quaternions())
def test_product(a: np.ndarray, b: np.ndarray) -> None:
    expected = np.zeros(4)
    mujoco.mju_mulQuat(expected, a, b)
    np.testing.assert_allclose(rotations.multiply(tensor(a), tensor(b)), expected, atol=1e-12)


@given(quaternions(), vectors)
def test_perturbing_is_turning_in_the_body_frame(quaternion: np.ndarray, vector: np.ndarray) -> None:
    """As `mju_quatIntegrate` for small angles; for any, a unit quaternion about the right axis."""
    small = 1e-3 * vector
    expected = quaternion.copy()
    mujoco.mju_quatIntegrate(expected, small, 1.0)
    turned = rotations.perturb(tensor(quaternion), tensor(small)).numpy()
    np.testing.assert_allclose(turned, expected, atol=1e-8)
    wide = rotations.perturb(tensor(quaternion), tensor(vector)).numpy()
    assert np.linalg.norm(wide) == pytest.approx(1.0, abs=1e-12)
    inverse, difference, rotation = np.zeros(4), np.zeros(4), np.zeros(3)
    mujoco.mju_negQuat(inverse, quaternion)
    mujoco.mju_mulQuat(difference, inverse, wide)
    mujoco.mju_quat2Vel(rotation, difference, 1.0)
    length = np.linalg.norm(vector)
    np.testing.assert_allclose(np.linalg.norm(rotation), 2.0 * math.atan(length / 2.0), atol=1e-9)
    np.testing.assert_allclose(np.cross(rotation, vector), 0.0, atol=1e-9)


@given(st.floats(-math.pi, math.pi), st.floats(0.0, 1.4), st.floats(-math.pi, math.pi))
def test_heading_is_where_the_bodys_x_axis_points_seen_from_above(yaw: float, pitch: float, roll: float) -> None:
    quaternion = np.zeros(4)
    mujoco.mju_euler2Quat(quaternion, np.array([yaw, pitch, roll]), "zyx")
    cosine, sine = rotations.heading(tensor(quaternion))
    assert float(cosine) == pytest.approx(math.cos(yaw), abs=1e-9)
    assert float(sine) == pytest.approx(math.sin(yaw), abs=1e-9)


def test_heading_straight_up_is_finite() -> None:
    cosine, sine = rotations.heading(torch.tensor([math.sqrt(0.5), 0.0, -math.sqrt(0.5), 0.0]))
    assert math.isfinite(cosine) and math.isfinite(sine)


def test_leading_axes_broadcast() -> None:
    generator = torch.Generator().manual_seed(0)
    quaternion = torch.nn.functional.normalize(torch.randn(5, 1, 4, generator=generator), dim=-1)
    vector = torch.randn(1, 7, 3, generator=generator)
    turned = rotations.rotate(quaternion, vector)
    assert turned.shape == (5, 7, 3)
    assert torch.allclose(turned[3, 2], rotations.rotate(quaternion[3, 0], vector[0, 2]), atol=1e-6)
    assert torch.allclose(rotations.rotate_inverse(quaternion, turned), vector.expand(5, 7, 3), atol=1e-5)
    matrix = rotations.rotation_matrix(quaternion)
    assert torch.allclose((matrix @ vector.unsqueeze(-1)).squeeze(-1), turned, atol=1e-5)
