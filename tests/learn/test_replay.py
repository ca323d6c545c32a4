"""What a GPU does otherwise than a CPU gives the same: no looks from the host, updates replayed from a recording."""

from typing import Any

import pytest
import torch

from robo_ppo.learn.ppo import PPO
from robo_ppo.learn.replay import Replayed
from tests.graphs import RecordedOnCpu, forbid_waiting
from tests.learn.making import collect, experience, learner

SETTINGS: dict[str, Any] = {"horizon": 6, "minibatches": 3, "epochs": 2, "scale_reward": True}


def as_on_a_gpu(ppo: PPO) -> PPO:
    ppo._host_looks = ppo.rollout._host_counts = False
    return ppo


def test_on_a_cpu_work_is_done_as_it_is_written() -> None:
    done: list[int] = []
    work = Replayed(lambda: done.append(1), torch.device("cpu"))
    for _ in range(5):
        work()
    assert len(done) == 5 and work.refused is None


def test_collecting_asks_the_device_nothing_and_remembers_the_same() -> None:
    usual, other = learner(**SETTINGS), as_on_a_gpu(learner(**SETTINGS))
    seen = experience(6, 8)
    assert seen.truncated.any()
    collect(usual, seen)
    with forbid_waiting():
        collect(other, seen)
    for name, value in vars(usual.rollout).items():
        if isinstance(value, torch.Tensor) and name != "_step_on_device":
            torch.testing.assert_close(getattr(other.rollout, name), value, msg=name)
    for name, group in usual.rollout.observation.items():
        torch.testing.assert_close(other.rollout.observation[name], group)
    for name in ("policy_state", "_return", "_return_moments"):
        torch.testing.assert_close(getattr(other, name), getattr(usual, name))


@pytest.mark.parametrize("changes", [{}, {"normalize_advantage": "minibatch"}, {"target_kl": None}], ids=str)
def test_a_recorded_update_is_the_update(changes: dict[str, Any]) -> None:
    """Bit for bit, over several iterations with different experience."""
    learners = [learner(**SETTINGS, **changes) for _ in range(2)]
    learners[1]._all_passes = recorded = RecordedOnCpu(learners[1]._learn_everything)
    for iteration in range(5):
        seen = experience(6, 8, seed=iteration)
        statistics: list[dict[str, torch.Tensor]] = []
        for ppo in learners:
            collect(ppo, seen)
            statistics.append(ppo.update(seen.last_critic))
        usual, other = (dict(ppo.model.state_dict()) for ppo in learners)
        assert all(torch.equal(usual[name], other[name]) for name in usual), iteration
        assert all(torch.equal(statistics[0][name], statistics[1][name]) for name in statistics[0]), iteration
    assert recorded.replays == 2


def test_passes_over_the_minibatches_ask_the_device_nothing() -> None:
    ppo = as_on_a_gpu(learner(**SETTINGS))
    for iteration in range(2):
        seen = experience(6, 8, seed=iteration)
        collect(ppo, seen)
        ppo.update(seen.last_critic)
    with forbid_waiting():
        ppo._learn_everything()
