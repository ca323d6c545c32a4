"""Scenes of `uav_nav`, and its range sensors against MuJoCo's ray caster."""

import math

import hypothesis.strategies as st
import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from robo_ppo.env.build import build, make_task
from robo_ppo.env.environment import Environment
from robo_ppo.env.scenes import SceneBank, Split, build_bank
from robo_ppo.run.compose import compose
from robo_ppo.tasks.uav.nav import FAR_AWAY, UavNav

CONFIG = compose("task=uav_nav", "randomization=none", "sim.threads=1")
LENGTH, WIDTH, HEIGHT = 8.0, 8.0, 3.0
RADIUS = 0.07


def task() -> UavNav:
    made = make_task(CONFIG)
    assert isinstance(made, UavNav)
    return made


TASK = task()
SECTORS, RANGE = TASK.settings.sectors, TASK.settings.range


def bank(split: Split, size: int = 1000, seed: int = 0) -> SceneBank:
    return build_bank({"scene": TASK.scenes}, split, seed, size, torch.device("cpu"))


@pytest.fixture(scope="module", params=["train", "validation", "test"])
def scenes(request: pytest.FixtureRequest) -> dict[str, np.ndarray]:
    return {name: values.double().numpy() for name, values in bank(request.param).columns.items()}


def in_use(scenes: dict[str, np.ndarray]) -> np.ndarray:
    return scenes["columns"][..., 0] < FAR_AWAY


def test_there_are_four_to_eight_columns_of_the_stated_radii(scenes: dict[str, np.ndarray]) -> None:
    count = in_use(scenes).sum(1)
    assert set(count) == {4, 5, 6, 7, 8}
    radii = scenes["columns"][in_use(scenes)][:, 2]
    assert 0.12 - 1e-6 <= radii.min() < 0.13 and 0.29 < radii.max() <= 0.30 + 1e-6


def test_columns_leave_gaps_to_each_other_and_to_the_walls(scenes: dict[str, np.ndarray]) -> None:
    for columns, used in zip(scenes["columns"], in_use(scenes), strict=True):
        x, y, radius = columns[used].T
        gaps = np.hypot(x[:, None] - x, y[:, None] - y) - radius[:, None] - radius
        assert gaps[~np.eye(len(x), dtype=bool)].min() >= 0.5 - 1e-5
        assert np.min([LENGTH / 2 - np.abs(x) - radius, WIDTH / 2 - np.abs(y) - radius]) >= 0.5 - 1e-5


def test_there_is_room_around_start_and_goal(scenes: dict[str, np.ndarray]) -> None:
    for place in (scenes["qpos"][:, :3], scenes["goal_position"]):
        offset = scenes["columns"][..., :2] - place[:, None, :2]
        assert (np.linalg.norm(offset, axis=-1) - scenes["columns"][..., 2]).min() >= 0.5 - 1e-5
        assert np.abs(place[:, 0]).max() <= LENGTH / 2 - 0.5 and np.abs(place[:, 1]).max() <= WIDTH / 2 - 0.5
        assert place[:, 2].min() >= 0.5 and place[:, 2].max() <= HEIGHT - 0.5


def test_start_and_goal_are_apart(scenes: dict[str, np.ndarray]) -> None:
    apart = np.linalg.norm(scenes["qpos"][:, :3] - scenes["goal_position"], axis=1)
    assert apart.min() >= 3.0 - 1e-5
    np.testing.assert_allclose(scenes["start_distance"], apart, atol=1e-5)


def test_most_straight_ways_are_blocked(scenes: dict[str, np.ndarray]) -> None:
    """By points every 4 mm along the way; and what the task says of it."""
    share = np.linspace(0.0, 1.0, 2001)[:, None]
    blocked = 0
    for qpos, goal, columns in zip(scenes["qpos"], scenes["goal_position"], scenes["columns"], strict=True):
        way = qpos[:2] + share * (goal - qpos[:3])[:2]
        distance = np.linalg.norm(way[:, None] - columns[:, :2], axis=-1) - columns[:, 2]
        blocked += int(distance.min() < RADIUS)
    assert blocked >= 600
    said = TASK.scene_statistics({name: torch.as_tensor(values).float() for name, values in scenes.items()})
    assert said["flying_straight_would_succeed"] == pytest.approx(1.0 - blocked / 1000, abs=0.003)


def test_starts_are_upright_and_of_any_heading(scenes: dict[str, np.ndarray]) -> None:
    quaternion = scenes["qpos"][:, 3:]
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=1), 1.0, atol=1e-6)
    up = 1.0 - 2.0 * (quaternion[:, 1] ** 2 + quaternion[:, 2] ** 2)
    tilt = np.degrees(np.arccos(up.clip(-1, 1)))
    assert 9.0 < tilt.max() <= 10.0 + 1e-3
    yaw = 2 * np.arctan2(quaternion[:, 3], quaternion[:, 0])
    yaw = (yaw + np.pi) % (2 * np.pi) - np.pi
    counts, _ = np.histogram(yaw, bins=8, range=(-np.pi, np.pi))
    assert counts.min() > 80


def test_no_scene_is_in_two_splits() -> None:
    rows = torch.cat([bank(split).columns["goal_position"] for split in ("train", "validation", "test")])
    assert len(torch.unique(rows, dim=0)) == 3000


def test_a_scene_does_not_depend_on_how_many_are_drawn() -> None:
    small, large = bank("test", 3).columns, bank("test", 700).columns
    assert all(torch.equal(small[name], large[name][:3]) for name in small)


def test_the_same_ids_are_the_same_episodes_in_256_and_1024_environments() -> None:
    run = compose("task=uav_nav", "randomization=nominal", "sim.threads=1")
    few, many = (build(run, "train", n, episodes=1024) for n in (256, 1024))
    few.reset(), many.reset()  # pyright: ignore[reportUnusedExpression]
    assert torch.equal(few.episode.id, many.episode.id[:256])
    assert all(torch.equal(few.states[name], many.states[name][:256]) for name in few.states)
    for field in ("qpos", "qvel", "act"):
        assert torch.equal(few.sim.bind(field), many.sim.bind(field)[:256])
    np.testing.assert_array_equal(few.sim.world(200)[0].body_mass, many.sim.world(200)[0].body_mass)
    again = build(run, "train", 256, episodes=1024)
    again.reset(first_id=256)
    assert torch.equal(again.states["columns"], many.states["columns"][256:512])


def test_a_curriculum_begins_with_one_column_and_ends_with_all() -> None:
    columns = dict(bank("train", 50).columns)
    full = (columns["columns"][..., 0] < FAR_AWAY).sum(1)
    for level, most in ((0.0, 1), (0.5, 5), (1.0, 8)):
        easier = TASK.curriculum(columns, torch.tensor(level))
        counts = (easier["columns"][..., 0] < FAR_AWAY).sum(1)
        assert torch.equal(counts, full.clamp_max(most))
        assert all(torch.equal(easier[name], columns[name]) for name in columns if name != "columns")


# Range sensors


class Room:
    """Columns and walls as geoms of MuJoCo, to cast rays at."""

    def __init__(self, columns: np.ndarray) -> None:
        spec = mujoco.MjSpec()
        for x, y, radius in columns:
            spec.worldbody.add_geom(
                type=mujoco.mjtGeom.mjGEOM_CYLINDER, pos=[x, y, HEIGHT / 2], size=[radius, HEIGHT / 2, 0], group=1
            )
        for sign in (-1, 1):
            for size, pos in (
                ([0.5, WIDTH, HEIGHT], [sign * (LENGTH / 2 + 0.5), 0, 0]),
                ([LENGTH, 0.5, HEIGHT], [0, sign * (WIDTH / 2 + 0.5), 0]),
            ):
                spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_BOX, pos=pos, size=size, group=2)
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, self.data)

    def ray(self, position: np.ndarray, angle: float, group: int) -> float:
        """Distance along a horizontal ray to a geom of the group; infinite where there is none."""
        groups = np.zeros(6, dtype=np.uint8)
        groups[group] = 1
        direction = np.array([math.cos(angle), math.sin(angle), 0.0])
        hit = np.zeros(1, dtype=np.int32)
        found = mujoco.mj_ray(self.model, self.data, position, direction, groups, True, -1, hit)
        return found if found >= 0 else np.inf


def heading_quaternion(yaw: float) -> np.ndarray:
    return np.array([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])


def ranges(position: np.ndarray, yaw: float, columns: np.ndarray) -> np.ndarray:
    qpos = torch.tensor(np.concatenate((position, heading_quaternion(yaw)))[None], dtype=torch.float32)
    direction = torch.tensor([[math.cos(yaw), math.sin(yaw)]])
    padded = np.full((8, 3), [FAR_AWAY, FAR_AWAY, 0.0])
    padded[: len(columns)] = columns
    return TASK.ranges(qpos, direction, torch.tensor(padded[None], dtype=torch.float32))[0].numpy()


@settings(max_examples=25)
@given(st.integers(0, 199), st.floats(-math.pi, math.pi), st.floats(-3.8, 3.8), st.floats(-3.8, 3.8))
def test_ranges_are_those_of_a_ray_caster(scene: int, yaw: float, x: float, y: float) -> None:
    """Columns: the nearest of many rays in each sector; walls: the ray along its middle; whichever is nearer."""
    columns = bank_columns(scene)
    position = np.array([x, y, 1.2])
    if (np.linalg.norm(columns[:, :2] - position[:2], axis=1) - columns[:, 2]).min() < RADIUS:
        position = np.array([3.9, 3.9, 1.2])  # contact ends an episode; the corner is always free
    room = Room(columns)
    found = ranges(position, yaw, columns)
    width = 2 * math.pi / SECTORS
    for sector in range(SECTORS):
        middle = yaw + sector * width
        rays = [room.ray(position, middle + share * width, 1) for share in np.linspace(-0.5, 0.5, 61)]
        wall = room.ray(position, middle, 2)
        fine = min(min(rays), wall, RANGE)
        assert found[sector] <= fine + 1e-4
        if found[sector] < fine - 2e-3:  # an edge that reaches in between two rays: with 200 times as many
            rays = [room.ray(position, middle + share * width, 1) for share in np.linspace(-0.5, 0.5, 12001)]
            assert found[sector] == pytest.approx(min(*rays, wall, RANGE), abs=2e-3)


SCENES = bank("test", 200).columns["columns"].double().numpy()


def bank_columns(scene: int) -> np.ndarray:
    columns = SCENES[scene]
    return columns[columns[:, 0] < FAR_AWAY]


def test_sectors_are_counted_counter_clockwise_from_ahead() -> None:
    """One column 2 m away: straight ahead, then to the left, with the vehicle turned and not."""
    for yaw in (0.0, 1.1, -2.5):
        for sector in (0, SECTORS // 4, SECTORS - 1):
            angle = yaw + sector * 2 * math.pi / SECTORS
            column = np.array([[2.0 * math.cos(angle), 2.0 * math.sin(angle), 0.2]])
            found = ranges(np.array([0.0, 0.0, 1.0]), yaw, column)
            assert found[sector] == pytest.approx(1.8, abs=1e-5)
            assert int(found.argmin()) == sector


def test_nothing_near_is_the_end_of_the_range() -> None:
    found = ranges(np.array([0.0, 0.0, 1.0]), 0.3, np.zeros((0, 3)))
    np.testing.assert_array_equal(found, RANGE)
    proximity = TASK.proximity(torch.tensor([[RANGE, RANGE / 2, 0.0]]))
    np.testing.assert_allclose(proximity, [[0.0, 0.25, 1.0]], atol=1e-6)


def test_a_wall_is_measured_along_the_middle_of_a_sector() -> None:
    found = ranges(np.array([3.0, 0.0, 1.0]), 0.0, np.zeros((0, 3)))
    width = 2 * math.pi / SECTORS
    for sector in range(-2, 3):
        assert found[sector] == pytest.approx(1.0 / math.cos(sector * width), abs=1e-5)


# Contact and clearance


def environment(num_envs: int = 1) -> Environment:
    return build(CONFIG, "test", num_envs, episodes=64)


def put(env: Environment, position: list[float], velocity: list[float], columns: list[list[float]]) -> None:
    """The one vehicle of an environment, upright, among columns, with the past that it then has."""
    env.reset()
    rest = [[FAR_AWAY, FAR_AWAY, 0.0]] * (8 - len(columns))
    env.states["columns"] = torch.tensor([[*columns, *rest]])
    env.sim.write("qpos", torch.tensor([[*position, 1.0, 0.0, 0.0, 0.0]]))
    env.sim.write("qvel", torch.tensor([[*velocity, 0.0, 0.0, 0.0]]))
    env._previous["previous_position"] = torch.tensor([position])


def hover(env: Environment) -> Tensor:
    weight = 9.81 * 0.04338
    return env.task.robot.action.action(torch.tensor([[weight, 0.0, 0.0, 0.0]]))


def test_a_fast_vehicle_does_not_pass_through_a_thin_column() -> None:
    """At 60 m/s it is before the column in one step and behind it in the next."""
    env = environment()
    put(env, [-0.6, 0.0, 1.5], [60.0, 0.0, 0.0], [[0.0, 0.0, 0.12]])
    t = env.step(hover(env))
    assert float(t.values["position"][0, 0]) > 0.12 + RADIUS
    assert bool(t.values["obstacle"]) and bool(t.terminated) and not bool(t.values["success"])
    assert float(t.values["clearance"]) == pytest.approx(-0.12 - RADIUS, abs=0.02)


@pytest.mark.parametrize(
    ("position", "cause"),
    [
        ([0.0, 0.0, RADIUS - 0.01], "ground"),
        ([0.0, 0.0, HEIGHT - RADIUS + 0.01], "ceiling"),
        ([LENGTH / 2 - RADIUS + 0.01, 0.0, 1.5], "bounds"),
        ([0.0, -WIDTH / 2 + RADIUS - 0.01, 1.5], "bounds"),
        ([1.0, 1.0 + 0.2 + RADIUS - 0.01, 1.5], "obstacle"),
    ],
)
def test_contact_ends_an_episode_and_names_its_cause(position: list[float], cause: str) -> None:
    env = environment()
    put(env, position, [0.0, 0.0, 0.0], [[1.0, 1.0, 0.2]])
    t = env.step(hover(env))
    assert bool(t.terminated) and bool(t.values[cause]) and bool(t.values["failed"])
    assert -0.02 < float(t.values["clearance"]) < 0.0
    totals = env.take_totals()
    assert {name for name, count in totals.outcomes.items() if count > 0} == {cause}


def test_just_beside_a_column_is_no_contact() -> None:
    env = environment()
    put(env, [1.0, 1.0 + 0.2 + RADIUS + 0.01, 1.5], [0.0, 0.0, 0.0], [[1.0, 1.0, 0.2]])
    t = env.step(hover(env))
    assert not bool(t.terminated)
    assert float(t.values["clearance"]) == pytest.approx(0.01, abs=0.002)


def test_shapes_are_what_the_scene_holds() -> None:
    env = environment()
    env.reset()
    shapes = TASK.shapes({name: values[0].numpy() for name, values in env.states.items()})
    columns = [shape for shape in shapes if shape.role == "obstacle"]
    assert len(columns) == int((env.states["columns"][0, :, 0] < FAR_AWAY).sum())
    for shape, (x, y, radius) in zip(columns, env.states["columns"][0].tolist(), strict=False):
        assert shape.kind == "cylinder"
        assert shape.position == pytest.approx((x, y, HEIGHT / 2))
        assert shape.size == pytest.approx((radius, HEIGHT / 2))
    (goal,) = (shape for shape in shapes if shape.role == "goal")
    assert goal.position == pytest.approx(env.states["goal_position"][0].tolist())
    (bounds,) = (shape for shape in shapes if shape.role == "bounds")
    assert bounds.size == (LENGTH / 2, WIDTH / 2, HEIGHT / 2)
