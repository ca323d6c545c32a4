"""Worlds that are no longer finite: reset, counted, kept for replay, and without effect on the others."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.env.environment import Environment
from robo_ppo.sim.rows import Rows
from tests.env import by_hand
from tests.env.toy import actions, close, environment, rollout

N = 16


def only(env: Environment, row: int) -> Rows:
    return env.sim.rows(torch.arange(env.num_envs) == row)


def test_a_broken_world_is_contained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env, twin = environment(N), environment(N)
    env.reset(), twin.reset()  # pyright: ignore[reportUnusedExpression]
    rollout(env, range(5))
    rollout(twin, range(5))
    env.sim.write("qvel", torch.full((1, 1), torch.inf), only(env, 3))
    # The drag was computed before; what breaks is the world, within the step.
    t, undisturbed = env.step(actions(5)), twin.step(actions(5))
    others = [i for i in range(N) if i != 3]
    assert t.valid.tolist() == [i != 3 for i in range(N)]
    assert t.terminated[3] and not t.truncated[3]
    assert float(t.reward[3]) == 0.0
    for found, expected in (
        (t.reward, undisturbed.reward),
        (t.terminated, undisturbed.terminated),
        (t.final_observation["critic"], undisturbed.final_observation["critic"]),
        (t.observation["critic"], undisturbed.observation["critic"]),
    ):
        assert torch.equal(found[others], expected[others])
    for group in (t.observation, t.final_observation, {"reward": t.reward}, t.values):
        assert all(torch.isfinite(value).all() for value in group.values())
    # A new episode begins there.
    assert int(env.episode.id[3]) == N and int(env.episode.age[3]) == 0
    cart = by_hand.begin(env, N)
    close(t.observation["policy"][3], torch.tensor(cart.policy()))
    close(t.observation["critic"][3, 4:], torch.tensor(cart.critic()))
    close(env.step(actions(6)).reward[3], torch.tensor(by_hand.step(cart, float(actions(6)[3, 0])).reward))
    # It is counted and kept, and MuJoCo leaves no file of its own about it.
    assert not list(tmp_path.iterdir())
    totals = env.take_totals()
    assert totals.broken == 1
    assert float(totals.outcomes["broken"]) == 1.0
    assert float(totals.episodes) == sum(float(count) for count in totals.outcomes.values())
    dumped = env.take_broken_world()
    assert dumped is not None and env.take_broken_world() is None
    assert (dumped.episode, dumped.step) == (3, 5)
    assert dumped.first_field in ("qpos", "qvel")
    # As it was before the step, the velocity that broke it included, so that the step can be replayed.
    assert torch.isinf(dumped.state["qvel"]).all() and torch.isfinite(dumped.state["qpos"]).all()
    assert {"qpos", "qvel", "act", "ctrl", "target", "wind", "last_action", "level"} <= set(dumped.state)


def test_a_broken_world_can_be_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By MuJoCo alone: from the dump, with its episode's parameters, it does what a world that nobody stopped did."""
    unstopped, env = environment(N), environment(N)
    unstopped.reset(), env.reset()  # pyright: ignore[reportUnusedExpression]
    flown: list[dict[str, torch.Tensor]] = []
    for step in range(40):
        flown.append({name: unstopped.sim.bind(name).clone() for name in ("qpos", "qvel")})
        unstopped.step(actions(step), restart=False)
    # What is taken for the end of the world lies just beyond what the first steps reach.
    reached = [max(1.0, *(float(value.abs().max()) for value in state.values())) for state in flown]
    monkeypatch.setattr("robo_ppo.env.broken.LARGEST", 1.001 * max(reached[:3]))
    for step in range(40):
        env.step(actions(step), restart=False)
    dumped = env.take_broken_world()
    assert dumped is not None and dumped.step >= 2

    untouched = environment(N)
    untouched.reset()
    assert set(dumped.state) >= {"qpos", "qvel", "act", "ctrl", *untouched.task.robot.drives()}
    model, data = untouched.sim.world(dumped.episode)
    for name in ("qpos", "qvel", "act", "ctrl", *untouched.task.robot.drives()):
        getattr(data, name)[:] = dumped.state[name].double().numpy()
    for _ in range(env.options.decimation):
        mujoco.mj_step(model, data)
    for name, states in flown[dumped.step + 1].items():
        np.testing.assert_allclose(getattr(data, name), states[dumped.episode], rtol=1e-5, atol=1e-6)


def test_an_action_that_is_not_a_number_is_contained() -> None:
    """MuJoCo steps on with zero in its place, so that only the command itself shows it."""
    env = environment(N)
    env.reset()
    action = actions(0)
    action[2] = torch.nan
    t = env.step(action)
    assert t.valid.tolist() == [i != 2 for i in range(N)]
    assert t.terminated[2]
    for group in (t.observation, t.final_observation, {"reward": t.reward}):
        assert all(torch.isfinite(value).all() for value in group.values())
    dumped = env.take_broken_world()
    assert dumped is not None and dumped.first_field == "ctrl"
    assert all(torch.isfinite(value).all() for value in env.step(actions(1)).observation.values())


def test_a_state_beyond_all_measure_is_broken_too() -> None:
    """MuJoCo calls it unstable from 1e10 on; a reward of that size would spoil the learning just as NaN does."""
    env = environment(N)
    env.reset()
    env.sim.write("qvel", torch.full((1, 1), 1e20), only(env, 6))
    t = env.step(actions(0))
    assert t.valid.tolist() == [i != 6 for i in range(N)]
    assert t.reward.abs().max() < 10.0


def test_many_broken_worlds_are_counted_and_the_first_is_kept() -> None:
    env = environment(N)
    env.reset()
    env.sim.write("qpos", torch.full((N, 1), torch.nan))
    t = env.step(actions(0))
    assert not t.valid.any() and t.terminated.all()
    assert env.take_totals().broken == N
    dumped = env.take_broken_world()
    assert dumped is not None and dumped.episode == 0
    assert env.take_broken_world() is None
    assert torch.isfinite(env.step(actions(1)).reward).all()
