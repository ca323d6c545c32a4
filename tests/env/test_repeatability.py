"""The same seed is the same run, and a snapshot continues bit for bit: with noise, delays, dropout and rewrites."""

import pytest
import torch
from torch import Tensor

from robo_ppo.env.environment import Environment
from tests.env.toy import NOISY, SEEN, environment, rollout

N = 16


def noisy(seed: int = 0, split: str = "train") -> Environment:
    return environment(
        N,
        split,
        policy=SEEN,
        measurements=NOISY,
        action_delay=[0.0, 0.05],
        seed=seed,
        seconds=0.9,
        settings={"visits": 2},
    )


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def test_the_same_seed_is_the_same_run() -> None:
    one, other, third = noisy(), noisy(), noisy(seed=1)
    assert torch.equal(one.reset()["policy"], other.reset()["policy"])
    third.reset()
    first = rollout(one, range(60))
    assert same(first, rollout(other, range(60)))
    assert not torch.isclose(third.sim.bind("qpos"), one.sim.bind("qpos")).all()
    one.reset()
    assert same(first, rollout(one, range(60))), "a reset begins anew"


@pytest.mark.parametrize("fresh", [False, True], ids=["same environment", "another environment"])
def test_a_snapshot_continues_bit_for_bit(fresh: bool) -> None:
    env = noisy()
    env.reset()
    rollout(env, range(25))
    env.level.fill_(0.25)
    saved = env.snapshot()
    kept = {name: value.clone() for name, value in saved.items()}
    measured = {name: value.clone() for name, value in env.measured.items()}
    expected = rollout(env, range(25, 90))
    assert sum(int(t.sum()) for t in expected if t.dtype == torch.bool) > N
    other = noisy() if fresh else env
    if fresh:
        other.reset(first_id=77)
    other.restore(saved)
    assert float(other.level) == 0.25
    assert all(torch.equal(other.measured[name], measured[name]) for name in measured)
    assert same(expected, rollout(other, range(25, 90)))
    assert all(torch.equal(saved[name], kept[name]) for name in kept), "a snapshot does not change afterwards"


def test_snapshots_hold_tensors_alone() -> None:
    """So that a checkpoint can be read without running code."""
    env = noisy()
    env.reset()
    assert all(isinstance(value, Tensor) for value in env.snapshot().values())
