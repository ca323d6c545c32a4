"""A recurrent policy: the cell against torch's own, and what is learnt against episodes that are run one by one."""

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robo_ppo.errors import UserError
from robo_ppo.learn.gaussian import DiagonalGaussian
from robo_ppo.learn.gru import GRU
from robo_ppo.learn.normalizer import limited
from robo_ppo.learn.ppo import PPO, Execution, ppo_loss
from tests.graphs import RecordedOnCpu, forbid_waiting
from tests.learn.making import Experience, collect, experience, gradients_of_steps, learner, model, settle
from tests.learn.test_ppo import same, weights
from tests.learn.test_replay import as_on_a_gpu

SIZE, STEPS, ENVS = 8, 12, 24


def recurrent(seed: int = 0, **changes: Any) -> Any:
    return model(seed, recurrent="gru", recurrent_size=SIZE, **changes)


def remembering(num_envs: int = ENVS, seed: int = 0, **changes: Any) -> PPO:
    given: dict[str, Any] = {"horizon": STEPS, "minibatches": 4} | changes
    return learner(num_envs, seed, networks=recurrent(seed), **given)


def torchs_own(cell: GRU) -> nn.GRU:
    """Torch's GRU with the same weights."""
    theirs = nn.GRU(cell.input.in_features, cell.size)
    theirs.load_state_dict(
        {
            "weight_ih_l0": cell.input.weight,
            "bias_ih_l0": cell.input.bias,
            "weight_hh_l0": cell.recurrent.weight,
            "bias_hh_l0": cell.recurrent.bias,
        }
    )
    return theirs


def by_episodes(gru: nn.GRU, inputs: Tensor, state: Tensor, ended: Tensor) -> Tensor:
    """States (steps, n, size), every piece of an episode run on its own: the state before the first begins it."""
    found = torch.zeros(*inputs.shape[:2], gru.hidden_size)
    for row in range(inputs.shape[1]):
        ends = [0, *(ended[:, row].nonzero().squeeze(1) + 1).tolist(), len(inputs)]
        for begin, end in itertools.pairwise(ends):
            if begin < end:
                first = state[row] if begin == 0 else torch.zeros(gru.hidden_size)
                states, _ = gru(inputs[begin:end, row], first.unsqueeze(0))
                found = found.index_put((torch.arange(begin, end), torch.tensor(row)), states)
    return found


def test_the_cell_is_torchs_own() -> None:
    generator = torch.Generator().manual_seed(3)
    cell = GRU(5, SIZE, generator)
    with torch.no_grad():
        for layer in (cell.input, cell.recurrent):
            layer.bias.uniform_(-1.0, 1.0, generator=generator)
    inputs = 2.0 * torch.randn(STEPS, ENVS, 5, generator=generator)
    state = torch.rand(ENVS, SIZE, generator=generator) - 0.5
    ended = torch.rand(STEPS, ENVS, generator=generator) < 0.2
    expected = by_episodes(torchs_own(cell), inputs, state, ended)
    together = cell.over_time(inputs.flatten(0, 1), state, ended.flatten())
    torch.testing.assert_close(together.view(STEPS, ENVS, SIZE), expected, atol=1e-6, rtol=0)
    for step in range(STEPS):
        state = cell(inputs[step], state)
        torch.testing.assert_close(state, expected[step], atol=1e-6, rtol=0)
        state = state * ~ended[step].unsqueeze(1)


def moved(ppo: PPO) -> None:
    """Bring the networks away from those that acted, so that ratios are clipped."""
    noise = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in ppo.model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise)


def second_rollout(ppo: PPO) -> Experience:
    """Experience that begins in the middle of episodes, with a memory."""
    collect(ppo, experience(STEPS, ENVS))
    seen = experience(STEPS, ENVS, seed=1)
    collect(ppo, seen)
    return seen


@pytest.mark.parametrize("minibatches", [1, 4])
def test_the_gradient_is_that_of_every_episode_on_its_own(minibatches: int) -> None:
    ppo = remembering(minibatches=minibatches, epochs=1, target_kl=None, max_gradient_norm=1e9)
    settle(ppo.model)
    seen = second_rollout(ppo)
    assert ppo.rollout.policy_state.abs().max() > 0.1, "it begins with a memory"
    moved(ppo)
    gradients = gradients_of_steps(ppo)
    fresh = weights(ppo)
    ppo.update(seen.last_critic)

    ppo.model.load_state_dict(fresh)  # those of the first step
    rollout, memory = ppo.rollout, ppo.model.memory
    batch = ppo._minibatches[0]
    many = ENVS // minibatches
    acted = batch["action"].view(STEPS, many, 2)
    rows = [int((rollout.action[0] == action).all(1).nonzero()) for action in acted[0]]
    assert torch.equal(acted, rollout.action[:, rows]), "whole environments, in their order"
    assert len(set(rows)) == many
    assert memory is not None
    theirs = torchs_own(memory)
    observed = limited(rollout.observation["policy"][:, rows])
    states = by_episodes(theirs, observed, rollout.policy_state[rows], rollout.ended[:, rows])
    seen_by_actor = torch.cat((observed, states), 2).flatten(0, 1)
    new = DiagonalGaussian(ppo.model.actor(seen_by_actor), ppo.model.log_std)
    loss, _ = ppo_loss(new, ppo.model.value(batch["critic"]), batch, ppo.settings)
    ppo.parameters.gradients.zero_()
    loss.backward()
    expected = {
        "memory.input.weight": theirs.weight_ih_l0.grad,
        "memory.input.bias": theirs.bias_ih_l0.grad,
        "memory.recurrent.weight": theirs.weight_hh_l0.grad,
        "memory.recurrent.bias": theirs.bias_hh_l0.grad,
    }
    own = {n: p.grad for n, p in ppo.model.named_parameters() if not n.startswith("memory.")}
    for name, gradient in (expected | own).items():
        assert isinstance(gradient, Tensor)
        torch.testing.assert_close(gradients[0][name], gradient, atol=1e-6, rtol=1e-4, msg=name)
        assert gradient.abs().max() > 1e-4 or name == "log_std"


def test_what_is_learnt_from_is_what_acted() -> None:
    """A policy that has not changed has not diverged from itself: the memory is the same, step by step."""
    ppo = remembering(epochs=1, minibatches=1)
    settle(ppo.model)
    seen = second_rollout(ppo)
    assert float(ppo.update(seen.last_critic)["kl"]) < 1e-9


def test_an_episode_begins_without_a_memory() -> None:
    ppo = remembering()
    seen = experience(STEPS, ENVS)
    collect(ppo, seen)
    ended = seen.terminated[-1] | seen.truncated[-1]
    assert ended.any()
    assert ppo.policy_state[ended].abs().max() == 0.0
    assert (ppo.policy_state[~ended].abs().max(1).values > 0.0).all()


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_precision_rounds_the_update(precision: str) -> None:
    found: list[dict[str, Tensor]] = []
    for one in ("float32", precision):
        usual = remembering(epochs=1, minibatches=1, target_kl=None)
        ppo = PPO(usual.model, usual.rollout, usual.settings, usual.generator, None, Execution(one))
        settle(ppo.model)
        gradients = gradients_of_steps(ppo)
        seen = second_rollout(ppo)
        assert float(ppo.update(seen.last_critic)["kl"]) < 1e-3  # of a policy that has not changed
        found.append(gradients[0])
    for name, gradient in found[0].items():
        error = (found[1][name] - gradient).norm() / gradient.norm().clamp_min(1e-6)
        assert error < 0.05, f"{name}: {error}"


def test_a_state_goes_on_exactly() -> None:
    def go_on(ppo: PPO) -> dict[str, Tensor]:
        for seed in (1, 2):
            collect(ppo, experience(STEPS, ENVS, seed))
            ppo.update(experience(STEPS, ENVS, seed).last_critic)
        return weights(ppo)

    ppo, other = remembering(), remembering(seed=77)
    collect(ppo, experience(STEPS, ENVS))
    ppo.update(experience(STEPS, ENVS).last_critic)
    other.load_state_dict(copy.deepcopy(ppo.state_dict()))
    assert torch.equal(other.policy_state, ppo.policy_state) and ppo.policy_state.any()
    assert same(go_on(ppo), go_on(other))


def test_a_recorded_update_is_the_update() -> None:
    learners = [remembering(epochs=2) for _ in range(2)]
    learners[1]._all_passes = recorded = RecordedOnCpu(learners[1]._learn_everything)
    for iteration in range(4):
        seen = experience(STEPS, ENVS, seed=iteration)
        for ppo in learners:
            collect(ppo, seen)
            ppo.update(seen.last_critic)
        assert same(weights(learners[0]), weights(learners[1])), iteration
    assert recorded.replays == 1


def test_it_asks_the_device_nothing() -> None:
    ppo = as_on_a_gpu(remembering())
    with forbid_waiting():
        collect(ppo, experience(STEPS, ENVS))
    ppo.update(experience(STEPS, ENVS).last_critic)
    with forbid_waiting():
        ppo._learn_everything()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UserError, match=r"ppo.minibatches=16 does not divide num_envs=24, .* whole environments"):
        remembering(minibatches=16)
    with pytest.raises(UserError, match=r"policy\.recurrent=lstm; it must be none or gru"):
        model(recurrent="lstm")
    with pytest.raises(UserError, match=r"policy\.recurrent_size must be at least 1, not 0"):
        model(recurrent="gru")
