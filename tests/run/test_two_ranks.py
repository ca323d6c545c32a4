"""Two processes that talk through gloo learn from half a rollout each what one process learns from the whole."""

import copy
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
from torch import Tensor

from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.learn.ppo import PPO
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.equality import RanksDiffer, assert_learnt_the_same
from tests.learn.making import collect, experience, gradients_of_steps, learner, model

HORIZON, ENVS = 32, 256
# One minibatch is the whole rollout, so that halves of minibatches are halves of the rollout. The rate follows the
# divergence, which is that of all ranks or the weights come out otherwise.
SETTINGS: dict[str, Any] = {"horizon": HORIZON, "epochs": 4, "minibatches": 1, "target_kl": 0.002, "scale_reward": True}


def learn(ppo: PPO, rows: slice, action: Tensor, log_prob: Tensor) -> dict[str, Any]:
    """Two iterations on some of the environments, with actions that are given; all that there is to compare."""
    gradients, statistics = gradients_of_steps(ppo), []
    for iteration in range(2):
        own = experience(HORIZON, ENVS, seed=iteration).rows(rows)
        collect(ppo, own)
        ppo.rollout.action.copy_(action[:, rows])
        ppo.rollout.log_prob.copy_(log_prob[:, rows])
        statistics.append(copy.deepcopy(ppo.update(own.last_critic)))
    return {
        "gradients": gradients,
        "statistics": statistics,
        "model": copy.deepcopy(ppo.model.state_dict()),
        "rate": ppo.learning_rate,
    }


def given_actions() -> tuple[Tensor, Tensor]:
    """What was done, and how likely that was: the same for whoever learns from it."""
    generator = torch.Generator().manual_seed(5)
    action = torch.randn(HORIZON, ENVS, 2, generator=generator)
    return action, -1.0 - 0.5 * torch.square(action).sum(-1)


def networks(recurrent: str) -> ActorCritic:
    return model(recurrent=recurrent, recurrent_size=8)


def work(meeting: str, rank: int, results: str, recurrent: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    ranks = Ranks(rank, 2)
    rows = slice(rank * ENVS // 2, (rank + 1) * ENVS // 2)
    ppo = learner(ENVS // 2, networks=networks(recurrent), mean_over_ranks=ranks.mean, **SETTINGS)
    found = learn(ppo, rows, *given_actions())
    everyone = ranks.gather(found)
    own = ranks.scatter(["for rank 0", "for rank 1"])
    assert own == f"for rank {rank}" and ranks.share(f"of rank {rank}") == "of rank 0"
    if rank == 0:
        torch.save(everyone, results)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("recurrent", ["none", pytest.param("gru", marks=pytest.mark.slow)])
def test_half_the_rollout_on_each_of_two_is_the_whole_on_one(recurrent: str, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    arguments = str(tmp_path / "meeting"), str(tmp_path / "results.pt")
    processes = [context.Process(target=work, args=(arguments[0], rank, arguments[1], recurrent)) for rank in (0, 1)]
    for process in processes:
        process.start()
    expected = learn(learner(ENVS, networks=networks(recurrent), **SETTINGS), slice(0, ENVS), *given_actions())
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    first, second = torch.load(arguments[1])

    assert len(expected["gradients"]) == 8
    assert len({float(s["learning_rate"]) for s in expected["statistics"]}) == 2, "the rate never moved"
    for step, gradients in enumerate(expected["gradients"]):
        for name, gradient in gradients.items():
            torch.testing.assert_close(first["gradients"][step][name], gradient, atol=1e-5, rtol=1e-5)
            assert torch.equal(first["gradients"][step][name], second["gradients"][step][name])
    for name, value in expected["model"].items():  # with the normalisers, which count the samples of a rank
        value = value / 2 if name.endswith("count") else value
        torch.testing.assert_close(first["model"][name], value, atol=1e-5, rtol=1e-5)
        assert torch.equal(first["model"][name], second["model"][name])
    for own, of_all in zip(first["statistics"], expected["statistics"], strict=True):
        for name in ("kl", "learning_rate", "policy_loss", "value_loss", "explained_variance"):
            torch.testing.assert_close(own[name], of_all[name], atol=1e-5, rtol=1e-4)
    assert torch.equal(first["rate"], expected["rate"])


def test_what_the_ranks_have_learnt_is_compared_bit_for_bit() -> None:
    ppo = learner()
    ppo.optimizer.step()
    states = [copy.deepcopy(ppo.state_dict()) for _ in range(3)]
    states[1]["generator"].zero_()  # its own, as it should be
    assert_learnt_the_same(states, steps=1024)
    states[2]["optimizer"]["state"][0]["exp_avg"][3] = 1e-20
    with pytest.raises(RanksDiffer, match=r"after 1,024 steps optimizer\.state\.0\.exp_avg on rank 2 differs from"):
        assert_learnt_the_same(states, steps=1024)
    states[1]["model"]["log_std"][0] += 1e-6
    with pytest.raises(RanksDiffer, match=r"model\.log_std on rank 1 differs from rank 0's, by up to 1\.0\de-06"):
        assert_learnt_the_same(states, steps=1024)
