"""Signals and reward terms of flights in a room, success and hover's starts; rotations by MuJoCo."""

import math

import hypothesis.strategies as st
import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given
from torch import Tensor

from robo_ppo.env.build import build, make_task
from robo_ppo.run.compose import compose
from robo_ppo.tasks.uav import room, signals, terms

HOVER = compose("task=uav_hover", "randomization=none", "sim.threads=1")
number = st.floats(-3.0, 3.0)
vectors = st.tuples(number, number, number).map(np.array)


@st.composite
def attitudes(draw: st.DrawFn) -> np.ndarray:
    """Yaw, pitch short of straight up, roll."""
    angles = [draw(st.floats(-3.1, 3.1)), draw(st.floats(-1.4, 1.4)), draw(st.floats(-3.1, 3.1))]
    quaternion = np.zeros(4)
    mujoco.mju_euler2Quat(quaternion, np.array(angles), "zyx")
    return quaternion


def row(*values: object) -> tuple[Tensor, ...]:
    return tuple(torch.as_tensor(np.array([value]), dtype=torch.float64) for value in values)


def matrix(quaternion: np.ndarray) -> np.ndarray:
    flat = np.zeros(9)
    mujoco.mju_quat2Mat(flat, quaternion)
    return flat.reshape(3, 3)


@given(attitudes())
def test_attitude_signals(quaternion: np.ndarray) -> None:
    (attitude,) = row(quaternion)
    rotation = matrix(quaternion)
    np.testing.assert_allclose(signals.gravity_direction(attitude)[0], rotation.T @ [0, 0, -1], atol=1e-9)
    assert float(signals.upright(attitude)) == pytest.approx(rotation[2, 2], abs=1e-9)
    ahead = rotation[:2, 0] / np.linalg.norm(rotation[:2, 0])
    np.testing.assert_allclose(signals.heading_direction(attitude)[0], ahead, atol=1e-9)


@given(vectors, vectors, st.floats(-3.1, 3.1))
def test_vectors_in_the_heading_frame(position: np.ndarray, goal: np.ndarray, yaw: float) -> None:
    p, g, direction = row(position, goal, [math.cos(yaw), math.sin(yaw)])
    quaternion = np.array([math.cos(yaw / 2), 0, 0, math.sin(yaw / 2)])
    expected = matrix(quaternion).T @ (goal - position)
    offset = signals.goal_offset(p, g, direction)
    np.testing.assert_allclose(offset[0], expected, atol=1e-9)
    np.testing.assert_allclose(signals.velocity_heading(g, direction)[0], matrix(quaternion).T @ goal, atol=1e-9)
    assert float(signals.goal_distance(p, g)) == pytest.approx(np.linalg.norm(goal - position), abs=1e-9)
    toward = signals.goal_direction(offset)[0].numpy()
    assert np.linalg.norm(toward) < 1.0
    np.testing.assert_allclose(np.cross(toward, expected), 0.0, atol=1e-9)
    assert toward @ expected >= 0.0


def test_reward_terms_by_hand() -> None:
    def of(*values: float) -> Tensor:
        return torch.tensor(values)

    assert terms.progress(of(1.0, 2.0), of(1.5, 1.0)).tolist() == [0.5, -1.0]
    velocity = torch.tensor([[0.0, 0.0, 0.0], [0.3, -0.4, 0.0]])
    near = terms.near_goal(of(0.0, 0.4), velocity, distance=0.2, speed=0.5)
    assert near.tolist() == pytest.approx([1.0, math.exp(-4 - 1)])
    assert terms.success_bonus(torch.tensor([True, False])).tolist() == [1.0, 0.0]
    assert terms.failure(torch.tensor([True, False])).tolist() == [-1.0, 0.0]
    assert terms.time(of(3.0, 0.0)).tolist() == [-1.0, -1.0]
    assert terms.clearance_margin(of(0.0, 0.1, 0.4, -1.0), margin=0.4).tolist() == pytest.approx([-1, -0.75, 0, -1])
    closing = terms.closing_speed(of(0.1, 0.1, 0.5), of(0.2, 0.05, 0.9), margin=0.4)
    assert closing.tolist() == pytest.approx([-0.075, 0.0, 0.0])
    assert terms.action_change(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 2.0]])).tolist() == [-4.25]
    assert terms.body_rate(torch.tensor([[1.0, 2.0, 3.0]])).tolist() == [-14.0]
    assert terms.facing_goal(torch.tensor([[0.3, 0.1, 0.2]])).tolist() == pytest.approx([0.3])


def test_penalties_are_never_positive() -> None:
    """Weights are at least 0, so that a term's sign is what it says."""
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 200, generator=generator)
    wide = torch.randn(200, 4, generator=generator)
    for values in (
        terms.clearance_margin(one, margin=0.5),
        terms.closing_speed(one, other, margin=0.5),
        terms.action_change(wide, wide.flip(0)),
        terms.body_rate(wide),
        terms.time(one),
        terms.failure(one > 0),
    ):
        assert values.shape == (200,) and (values <= 0).all()


@pytest.mark.parametrize("tilt", [10.0, 60.0])
def test_start_states_are_tilted_about_any_horizontal_axis(tilt: float) -> None:
    count = 4000
    start = room.start_state(np.random.default_rng(0), np.zeros((count, 3)), tilt, speed=0.5, rate=2.0)
    quaternion, velocity = start["qpos"][:, 3:], start["qvel"]
    np.testing.assert_allclose(np.linalg.norm(quaternion, axis=1), 1.0, atol=1e-6)
    turned = np.stack([matrix(q.astype(np.float64)) for q in quaternion])
    angle = np.degrees(np.arccos(turned[:, 2, 2].clip(-1, 1)))
    assert 0.98 * tilt < angle.max() <= tilt + 1e-3
    assert np.mean(angle) == pytest.approx(tilt * 2 / 3, rel=0.03)  # uniform over the disc of tilts
    leaning = np.arctan2(turned[:, 1, 2], turned[:, 0, 2])
    counts, _ = np.histogram(leaning, bins=8, range=(-np.pi, np.pi))
    assert counts.min() > 0.8 * count / 8
    assert np.std(velocity[:, :3]) == pytest.approx(0.5, rel=0.03)
    assert np.std(velocity[:, 3:]) == pytest.approx(2.0, rel=0.03)


def test_hover_starts_near_its_goal_inside_the_room() -> None:
    task = make_task(HOVER)
    scenes = task.scenes(np.random.default_rng(0), 2000)
    start, goal = scenes["qpos"][:, :3], scenes["goal_position"]
    for place in (start, goal):
        assert np.abs(place[:, :2]).max() <= 4.0 - 0.8 + 1e-5
        assert place[:, 2].min() >= 0.8 - 1e-5 and place[:, 2].max() <= 3.0 - 0.8 + 1e-5
    assert np.abs(start - goal).max() <= 1.0 + 1e-5
    apart = np.linalg.norm(start - goal, axis=1)
    np.testing.assert_allclose(scenes["start_distance"], apart.clip(0.1), atol=1e-5)
    up = 1.0 - 2.0 * (scenes["qpos"][:, 4] ** 2 + scenes["qpos"][:, 5] ** 2)
    assert 58.0 < np.degrees(np.arccos(up.min())) <= 60.0 + 1e-2


def test_success_is_a_whole_second_near_and_slow_without_a_break() -> None:
    """50 control steps of 20 ms; leaving the goal starts anew."""
    env = build(HOVER, "validation", 3, episodes=3)
    env.reset()
    hover = env.task.robot.action.action(torch.tensor([[9.81 * 0.04338, 0.0, 0.0, 0.0]])).expand(3, -1)
    goal = env.states["goal_position"].clone()
    upright = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(3, -1)
    for step in range(1, 52):
        offset = torch.zeros(3, 3)
        offset[1, 0] = 0.16 if step == 30 else 0.14  # leaves once
        velocity = torch.zeros(3, 6)
        velocity[2, 1] = 0.31 if step == 40 else 0.2  # too fast once
        env.sim.write("qpos", torch.cat((goal + offset, upright), 1))
        env.sim.write("qvel", velocity)
        t = env.step(hover)
        if step < 50:
            assert not t.terminated.any(), step
            held = [step, step - 30 if step >= 30 else step, step - 40 if step >= 40 else step]
            np.testing.assert_allclose(env.states["hold_time"], np.array(held) * 0.02, atol=1e-5)
        elif step == 50:
            assert t.terminated.tolist() == t.values["success"].tolist() == [True, False, False]
            assert t.values["reward.success_bonus"].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(("tilt", "fails"), [(109.0, False), (111.0, True)])
def test_tipping_over_is_a_failure(tilt: float, fails: bool) -> None:
    env = build(HOVER, "validation", 1, episodes=1)
    env.reset()
    half = math.radians(tilt) / 2
    env.sim.write("qpos", torch.tensor([[0.0, 0.0, 1.5, math.cos(half), math.sin(half), 0.0, 0.0]]))
    env.sim.write("qvel", torch.zeros(1, 6))
    t = env.step(env.task.robot.action.action(torch.tensor([[0.4, 0.0, 0.0, 0.0]])))
    assert bool(t.values["tipped_over"]) == bool(t.terminated) == fails


def test_the_path_is_measured_in_straight_distances() -> None:
    env = build(HOVER, "validation", 4, episodes=4, extra_signals=("path_share",))
    env.reset()
    before = env.sim.bind("qpos")[:, :3].clone()
    t = env.step(torch.zeros(4, 4))
    way = (t.values["qpos"][:, :3] - before).norm(dim=1)
    torch.testing.assert_close(t.values["path_share"], way / t.values["start_distance"], atol=1e-5, rtol=0)
