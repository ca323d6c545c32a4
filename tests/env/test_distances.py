"""Swept distances against sampling along the segment, with MuJoCo's own distance between geoms at every sample."""

from collections.abc import Callable

import hypothesis.strategies as st
import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from robo_ppo.env import distances

PROBE = 0.05  # m, radius of the ball that MuJoCo measures from
KINDS = {"sphere": 1, "cylinder": 2, "box": 3, "capsule": 2}
coordinate = st.floats(-1.5, 1.5)
points = st.tuples(coordinate, coordinate, coordinate).map(np.array)
sizes = st.tuples(*[st.floats(0.125, 0.75)] * 3).map(np.array)
orientations = points.filter(lambda v: np.linalg.norm(v) > 0.1)


class World:
    """One shape and a small ball in MuJoCo."""

    def __init__(self, kind: str) -> None:
        spec = mujoco.MjSpec()
        spec.worldbody.add_geom(
            name="shape", type=getattr(mujoco.mjtGeom, f"mjGEOM_{kind.upper()}"), size=[0.1, 0.1, 0.1]
        )
        spec.worldbody.add_geom(name="ball", size=[PROBE, 0, 0])
        self.model = spec.compile()
        # The tightest that MuJoCo's convex solver offers.
        self.model.opt.ccd_tolerance = 1e-9
        self.model.opt.ccd_iterations = 200
        self.data = mujoco.MjData(self.model)
        mujoco.mj_kinematics(self.model, self.data)

    def place(self, center: np.ndarray, quaternion: np.ndarray, size: np.ndarray) -> None:
        self.model.geom_size[0, : len(size)] = size
        self.data.geom_xpos[0] = center
        mujoco.mju_quat2Mat(self.data.geom_xmat[0], quaternion)

    def distance(self, point: np.ndarray) -> float:
        """Signed distance from a point to the shape's surface."""
        self.data.geom_xpos[1] = point
        return mujoco.mj_geomDistance(self.model, self.data, 0, 1, 100.0, None) + PROBE

    def swept(self, start: np.ndarray, end: np.ndarray) -> float:
        """Smallest distance on a segment: a grid, then a finer one around its best point."""
        low, high, found = 0.0, 1.0, [np.inf]
        for _ in range(3):
            grid = np.linspace(low, high, 21)
            found = [self.distance(start + t * (end - start)) for t in grid]
            best = int(np.argmin(found))
            low, high = grid[max(best - 1, 0)], grid[min(best + 1, 20)]
        return min(found)


WORLDS = {kind: World(kind) for kind in KINDS}


def rotation_between(axis: np.ndarray) -> np.ndarray:
    quaternion = np.zeros(4)
    mujoco.mju_axisAngle2Quat(quaternion, axis / np.linalg.norm(axis), float(np.linalg.norm(axis)) * 2.0)
    return quaternion


def tensors(*arrays: np.ndarray) -> list[Tensor]:
    return [torch.as_tensor(np.array(array), dtype=torch.float64) for array in arrays]


def swept(
    kind: str, start: np.ndarray, end: np.ndarray, center: np.ndarray, turn: np.ndarray, size: np.ndarray
) -> float:
    s, e, c, q, n = tensors(start, end, center, turn, size)
    if kind == "sphere":
        return float(distances.swept_sphere(s, e, c, n[0]))
    return float(getattr(distances, f"swept_{kind}")(s, e, c, q, n))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(points, points, points, orientations, sizes)
def test_distance_of_a_moving_point_outside(
    kind: str, start: np.ndarray, end: np.ndarray, center: np.ndarray, axis: np.ndarray, size: np.ndarray
) -> None:
    quaternion = rotation_between(axis)
    size = size[: KINDS[kind]]
    world = WORLDS[kind]
    world.place(center, quaternion, size)
    truth = world.swept(start, end)
    found = swept(kind, start, end, center, quaternion, size)
    if truth > PROBE:  # MuJoCo's penetration depths are less exact; inside, see below
        assert found == pytest.approx(truth, abs=2e-4)
    else:
        assert found <= PROBE + 2e-4


@pytest.mark.parametrize("kind", ["cylinder", "box", "capsule"])
@settings(max_examples=40)
@given(points, orientations, sizes, st.tuples(*[st.floats(-0.95, 0.95)] * 3).map(np.array))
def test_distance_of_a_point_inside(
    kind: str, center: np.ndarray, axis: np.ndarray, size: np.ndarray, share: np.ndarray
) -> None:
    """A ball of that radius around the point touches the surface from within: closed forms for each face."""
    quaternion = rotation_between(axis)
    size = size[: KINDS[kind]]
    if kind == "box":
        local = share * size
        depth = (size - np.abs(local)).min()
    else:
        across = share[:2] / np.sqrt(2.0) * size[0]
        along = share[2] * size[1]
        local = np.array([*across, along])
        to_side = size[0] - np.linalg.norm(across)
        # The capsule's caps are farther away than its side wherever the point is between them.
        depth = min(to_side, size[1] - abs(along)) if kind == "cylinder" else to_side
    world_point = np.zeros(3)
    mujoco.mju_rotVecQuat(world_point, local, quaternion)
    world_point += center
    assert swept(kind, world_point, world_point, center, quaternion, size) == pytest.approx(-depth, abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fast_vehicle_cannot_jump_over_a_thin_thing(kind: str) -> None:
    """Both ends are 5 m away on opposite sides of something 2 cm thick."""
    start, end = np.array([-5.0, 0.003, 0.002]), np.array([5.0, 0.003, 0.002])
    size = np.array([0.01, 0.5, 0.5])[: KINDS[kind]]
    identity = np.array([1.0, 0, 0, 0])
    assert swept(kind, start, end, np.zeros(3), identity, size) < 0.0
    assert swept(kind, start, start, np.zeros(3), identity, size) == pytest.approx(4.99, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_standing_still_is_the_distance_of_a_point(kind: str) -> None:
    """Also the gradient-free zero-length segment: no division by zero."""
    point, size = np.array([2.0, 0.0, 0.0]), np.array([0.5, 0.4, 0.3])[: KINDS[kind]]
    assert swept(kind, point, point, np.zeros(3), np.array([1.0, 0, 0, 0]), size) == pytest.approx(1.5, abs=1e-9)


@given(points, points, points, st.floats(0.05, 1.0))
def test_a_column_is_a_circle_seen_from_above(
    start: np.ndarray, end: np.ndarray, center: np.ndarray, radius: float
) -> None:
    """Against a cylinder far taller than the flight."""
    s, e, c, r = tensors(start, end, center, np.array(radius))
    found = float(distances.swept_column(s, e, c[:2], r))
    tall = swept("cylinder", start, end, np.append(center[:2], 0.0), np.array([1.0, 0, 0, 0]), np.array([radius, 50.0]))
    grid = start[:2] + np.linspace(0, 1, 2001)[:, None] * (end - start)[:2]
    brute = np.linalg.norm(grid - center[:2], axis=1).min() - radius
    step = np.linalg.norm(end - start) / 2000
    assert brute - step <= found <= brute + 1e-6
    assert found == pytest.approx(tall, abs=1e-4)


@pytest.mark.parametrize(
    "swept_shape", [distances.swept_cylinder, distances.swept_box, distances.swept_capsule], ids=lambda f: f.__name__
)
def test_many_vehicles_and_shapes_at_once(swept_shape: Callable[..., Tensor]) -> None:
    generator = torch.Generator().manual_seed(3)
    start, end = torch.randn(2, 6, 1, 3, generator=generator)
    center = torch.randn(6, 4, 3, generator=generator)
    quaternion = torch.nn.functional.normalize(torch.randn(6, 4, 4, generator=generator), dim=-1)
    size = torch.rand(6, 4, 3 if swept_shape is distances.swept_box else 2, generator=generator) * 0.5 + 0.1
    together = swept_shape(start, end, center, quaternion, size)
    assert together.shape == (6, 4) and together.dtype == torch.float32
    alone = swept_shape(start[2, 0], end[2, 0], center[2, 1], quaternion[2, 1], size[2, 1])
    assert float(together[2, 1]) == pytest.approx(float(alone), abs=1e-5)


@given(points)
def test_inside_a_room(position: np.ndarray) -> None:
    lower, upper = np.array([-1.0, -0.5, 0.0]), np.array([1.0, 0.75, 1.25])
    found = float(distances.inside_box(*tensors(position, lower, upper)))
    walls = [
        position[0] + 1.0,
        1.0 - position[0],
        position[1] + 0.5,
        0.75 - position[1],
        position[2],
        1.25 - position[2],
    ]
    assert found == pytest.approx(min(walls), abs=1e-9)
