"""An observation of several steps: what was observed before, side by side, from the first step of an episode on."""

import dataclasses

import pytest
import torch
from torch import Tensor

from robo_ppo.env.build import make_environment
from robo_ppo.env.observations import PAST, Onboard
from robo_ppo.env.signals import Leaf, SignalTable
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.describe import describe
from tests.env.toy import CRITIC, NOISY, POLICY, actions, config, environment, rollout

N = 4


def test_it_is_what_was_observed_before() -> None:
    """Against the same environments without a history, over resets and rewrites: both measure the same noise."""
    plain, with_past = (environment(measurements=NOISY, history=history) for history in (1, N))
    size = plain.observation_sizes["policy"]
    assert with_past.observation_sizes == {"policy": N * size, "critic": plain.observation_sizes["critic"]}
    assert with_past.observed == plain.observed

    now, found = plain.reset(), with_past.reset()
    past: list[Tensor] = [now["policy"]] * N  # the newest first
    ends = rewrites = 0
    for step in range(120):
        torch.testing.assert_close(found["policy"], torch.cat(past, 1), atol=0, rtol=0)
        assert torch.equal(found["critic"], now["critic"])
        expected, transition = plain.step(actions(step)), with_past.step(actions(step))
        final = torch.cat([expected.final_observation["policy"], *past[:-1]], 1)
        assert torch.equal(transition.final_observation["policy"], final)
        now, found = expected.observation, transition.observation
        ended = (expected.terminated | expected.truncated).unsqueeze(1)
        past = [torch.where(ended, now["policy"], earlier) for earlier in (now["policy"], *past[:-1])]
        ends += int(ended.sum())
        rewrites += int((now["policy"] != expected.final_observation["policy"]).any(1).sum()) - int(ended.sum())
    assert ends > 20 and rewrites > 5


def test_a_snapshot_holds_it() -> None:
    env = environment(measurements=NOISY, history=N)
    env.reset()
    rollout(env, range(10))
    saved = env.snapshot()
    assert saved[f"memory:{PAST}"].shape == (16, (N - 1) * len(POLICY))
    expected = rollout(env, range(10, 20))
    other = environment(measurements=NOISY, history=N)
    other.restore(saved)
    assert all(torch.equal(a, b) for a, b in zip(rollout(other, range(10, 20)), expected, strict=True))


def test_the_table_shows_it() -> None:
    run = config(history=N)
    run.total_steps = 1000
    size, shown = len(POLICY), describe(run, environment(history=N))
    assert f"policy {N * size} numbers (the last {N} steps, {size} each), critic {size + len(CRITIC)}" in shown
    run.policy = dataclasses.replace(run.policy, recurrent="gru", recurrent_size=32)
    assert "networks: policy gru 32 → [64, 64], critic" in describe(run, environment())


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match=r"task\.observation\.history must be at least 1, not 0"):
        environment(history=0)
    table = SignalTable({}, {PAST: Leaf((3,), "state")})
    with pytest.raises(UserError, match=f"'{PAST}' is a name of the observation's own"):
        Onboard(table, [PAST])
    gymnasium = compose("task=gymnasium", "env_id=Pendulum-v1", "task.observation.history=3")
    with pytest.raises(UserError, match=r"task\.observation\.history is for tasks of signals"):
        make_environment(gymnasium, "train", 1)
