"""What an update must do beyond its gradients: learn, keep its bounds, leave out what has no weight, repeat itself."""

import copy
import io
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from robo_ppo.errors import UserError
from robo_ppo.learn.ppo import PPO
from tests.learn.making import Mean, collect, experience, gradients_of_steps, learner, model, on_all, settings, settle


def weights(ppo: PPO) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in ppo.model.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


class Points:
    """A point on a line moves where it is pushed; it is paid for being near 0, and wants to leave at 2."""

    def __init__(self, num_envs: int) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.num_envs = num_envs
        self.place = self.somewhere()
        self.age = torch.randint(20, (num_envs,), generator=self.generator)

    def somewhere(self) -> Tensor:
        return 3.0 * torch.rand(self.num_envs, 1, generator=self.generator) - 1.5

    def observe(self) -> dict[str, Tensor]:
        return {"policy": self.place.clone(), "critic": self.place.clone()}

    def iterate(self, ppo: PPO) -> float:
        total = 0.0
        ppo.begin()
        for _ in range(ppo.settings.horizon):
            self.place = self.place + 0.3 * ppo.act(self.observe()).clamp(-1.0, 1.0)
            self.age += 1
            place = self.place.squeeze(1)
            reward, terminated = -place.abs(), place.abs() > 2.0
            truncated = (self.age >= 20) & ~terminated
            total += float(reward.mean())
            everywhere = torch.ones(self.num_envs, dtype=torch.bool)
            ppo.record(reward - 5.0 * terminated, terminated, truncated, everywhere, self.place.clone())
            ended = terminated | truncated
            self.place = torch.where(ended.unsqueeze(1), self.somewhere(), self.place)
            self.age[ended] = 0
        ppo.update(self.place)
        return total / ppo.settings.horizon


@pytest.mark.parametrize("scale_reward", [False, True])
def test_it_learns(scale_reward: bool) -> None:
    networks = model(sizes={"policy": 1, "critic": 1}, actions=1)
    ppo = learner(64, networks=networks, horizon=16, minibatches=8, max_learning_rate=3e-3, scale_reward=scale_reward)
    points = Points(64)
    paid = [points.iterate(ppo) for _ in range(20)]
    assert max(paid[:2]) < -0.6  # it wanders
    assert min(paid[-3:]) > -0.2  # most of what is left is the way from where an episode begins


@pytest.mark.parametrize(("coefficient", "bound"), [(5.0, 0.6), (-5.0, 0.4)])
def test_the_spread_stays_within_its_bounds(coefficient: float, bound: float) -> None:
    networks = model(initial_std=0.5, min_std=0.4, max_std=0.6)
    rates: dict[str, Any] = {"target_kl": None, "learning_rate": 0.1, "max_learning_rate": 0.1}
    ppo = learner(32, networks=networks, horizon=4, entropy_coefficient=coefficient, **rates)
    for seed in range(3):
        collect(ppo, experience(4, 32, seed))
        ppo.update(experience(4, 32, seed).last_critic)
    torch.testing.assert_close(networks.log_std.detach(), torch.full((2,), math.log(bound)))


def test_the_learning_rate_follows_the_divergence() -> None:
    def rate_after(target: float | None, start: float) -> float:
        bounds: dict[str, Any] = {"min_learning_rate": 1e-4, "max_learning_rate": 3e-3}
        ppo = learner(32, horizon=4, target_kl=target, learning_rate=start, **bounds)
        collect(ppo, experience(4, 32))
        return float(ppo.update(experience(4, 32).last_critic)["learning_rate"])

    assert rate_after(1e-9, 1e-3) == pytest.approx(1e-4)  # always too far: down to the lowest
    assert rate_after(1e9, 1e-3) == pytest.approx(3e-3)  # never far enough: up to the highest
    assert rate_after(None, 1e-3) == pytest.approx(1e-3)
    ppo = learner(32, horizon=4, epochs=1, minibatches=2, target_kl=1e-9)
    settle(ppo.model)
    collect(ppo, experience(4, 32))
    # Before the first step nothing has diverged, so the rate rises by half; then it falls by a third.
    assert float(ppo.update(experience(4, 32).last_critic)["learning_rate"]) == pytest.approx(1e-3, rel=1e-5)


def test_the_next_action_sees_its_inputs_as_those_were_that_were_learnt_from() -> None:
    """Whatever the rollout does to the statistics, it does before the update: both stand on the same scale."""
    ppo = learner(32, horizon=4, epochs=1, minibatches=1, learning_rate=1e-9, target_kl=None)
    for seed in range(3):
        seen = experience(4, 32, seed)
        seen.policy, seen.critic = 5.0 * seen.policy + 3.0, (0.1 + seed) * seen.critic
        collect(ppo, seen)
        learnt = ppo.rollout.flat()
        ppo.update(seen.last_critic)
        for name, given in (("policy", seen.policy), ("critic", seen.critic)):
            expected = ppo.model.normalizer(name)(given.flatten(0, 1))
            torch.testing.assert_close(learnt[name], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("target", [1e9, None])
def test_the_highest_learning_rate_can_be_lowered_on_the_way(target: float | None) -> None:
    ppo = learner(32, horizon=4, target_kl=target)
    ppo.max_learning_rate.fill_(5e-4)
    collect(ppo, experience(4, 32))
    assert float(ppo.update(experience(4, 32).last_critic)["learning_rate"]) == pytest.approx(5e-4)
    assert ppo.optimizer.param_groups[0]["lr"] is ppo.learning_rate


def test_what_has_no_weight_changes_nothing() -> None:
    """A broken world's samples may hold anything finite; it ends its episode, so nothing flows past it."""

    def after(junk: float) -> dict[str, Tensor]:
        seen = experience(8, 16, ending=0.0)
        seen.valid = torch.rand(8, 16, generator=torch.Generator().manual_seed(3)) > 0.2
        broken = ~seen.valid
        seen.terminated = broken
        seen.reward[broken] = junk
        ppo = learner(16, horizon=8)
        collect(ppo, seen)
        # Its value stays: that of a state which the step before had led to properly.
        for tensor in (*ppo.rollout.observation.values(), ppo.rollout.action):
            tensor[broken] += junk
        ppo.update(seen.last_critic)
        return weights(ppo)

    assert same(after(0.0), after(7.0))


def test_a_truncated_episode_counts_on_and_a_terminated_one_does_not() -> None:
    seen = experience(1, 4, ending=0.0)
    seen.reward.zero_()
    seen.terminated[0, 0], seen.truncated[0, 1] = True, True
    ppo = learner(4, horizon=1, epochs=1, minibatches=1, gamma=0.5, gae_lambda=1.0)
    collect(ppo, seen)
    ends = ppo.model.value(ppo.model.normalizer("critic")(seen.final_critic[0])).detach()
    after = ppo.model.value(ppo.model.normalizer("critic")(seen.last_critic)).detach()
    ppo.update(seen.last_critic)
    torch.testing.assert_close(ppo.rollout.next_value[0, 1:], torch.stack((ends[1], after[2], after[3])))


def test_a_state_goes_on_exactly() -> None:
    def go_on(ppo: PPO) -> dict[str, Tensor]:
        for seed in (1, 2):
            collect(ppo, experience(8, 16, seed))
            ppo.update(experience(8, 16, seed).last_critic)
        return weights(ppo)

    ppo = learner(16, horizon=8, scale_reward=True)
    collect(ppo, experience(8, 16))
    ppo.update(experience(8, 16).last_critic)
    file = io.BytesIO()
    torch.save(ppo.state_dict(), file)
    file.seek(0)
    other = learner(16, seed=77, horizon=8, scale_reward=True)
    other.load_state_dict(torch.load(file, weights_only=True))
    expected = go_on(ppo)
    assert same(expected, go_on(other))

    forgetful = learner(16, seed=77, horizon=8, scale_reward=True)  # the networks alone are not enough
    file.seek(0)
    forgetful.model.load_state_dict(torch.load(file, weights_only=True)["model"])
    assert not same(expected, go_on(forgetful))


def test_the_same_seed_learns_the_same_and_another_one_does_not() -> None:
    def learnt(seed: int) -> dict[str, Tensor]:
        ppo = learner(16, seed=seed, horizon=8)
        collect(ppo, experience(8, 16))
        ppo.update(experience(8, 16).last_critic)
        return weights(ppo)

    assert same(learnt(0), learnt(0))
    assert not same(learnt(0), learnt(1))


@pytest.mark.parametrize(("normalize", "scale_reward"), [("batch", False), ("minibatch", True), ("none", False)])
def test_two_ranks_learn_what_one_would(normalize: str, scale_reward: bool) -> None:
    horizon, envs = 32, 2048
    fixed: dict[str, Any] = {
        "horizon": horizon,
        "epochs": 1,
        "minibatches": 1,
        "target_kl": None,
        "normalize_advantage": normalize,
        "scale_reward": scale_reward,
    }
    networks, seen = model(), experience(horizon, envs)

    whole = learner(envs, networks=copy.deepcopy(networks), **fixed)
    collect(whole, seen)
    action, rollout = whole.rollout.action.clone(), whole.rollout
    expected = gradients_of_steps(whole)
    of_all = whole.update(seen.last_critic)

    found: list[list[dict[str, Tensor]]] = [[], []]
    ends: list[dict[str, Tensor]] = [{}, {}]

    def part(rank: int, mean: Mean) -> None:
        rows = slice(0, envs // 2) if rank == 0 else slice(envs // 2, envs)
        ppo = learner(envs // 2, networks=copy.deepcopy(networks), mean_over_ranks=mean, **fixed)
        own = seen.rows(rows)
        collect(ppo, own)
        ppo.rollout.action.copy_(action[:, rows])  # the very actions of the whole
        ppo.rollout.log_prob.copy_(rollout.log_prob[:, rows])
        found[rank] = gradients_of_steps(ppo)
        statistics[rank] = ppo.update(own.last_critic)
        ends[rank] = weights(ppo)

    statistics: list[dict[str, Tensor]] = [{}, {}]
    on_all(part)
    for name, gradient in expected[0].items():
        torch.testing.assert_close(found[0][0][name], gradient, atol=1e-5, rtol=1e-5)
        assert torch.equal(found[0][0][name], found[1][0][name])
    assert same(*ends)
    assert same(*statistics)
    for name in of_all:
        torch.testing.assert_close(statistics[0][name], of_all[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"horizon": 0}, "ppo.horizon must be greater than 0, not 0"),
        ({"gamma": 1.5}, r"ppo.gamma must lie in \[0, 1\], not 1.5"),
        ({"gamma": float("nan")}, "ppo.gamma must lie"),
        ({"clip": -0.1}, "ppo.clip must be greater than 0"),
        ({"learning_rate": 1.0}, "learning_rate ≤ max_learning_rate"),
        ({"normalize_advantage": "batches"}, "must be batch, minibatch or none"),
        ({"surrogate": "clipp"}, "ppo.surrogate=clipp; did you mean clip?"),
        ({"advantage": "vtrace"}, "ppo.advantage=vtrace; known: gae"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        settings(**changes)


def test_minibatches_of_unequal_size_are_refused() -> None:
    with pytest.raises(UserError, match=r"ppo\.minibatches=5 does not divide the 32 samples"):
        learner(8, horizon=4, minibatches=5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"activation": "tahn"}, "did you mean tanh?"),
        ({"initial_std": 2.0}, "initial_std ≤ max_std must hold"),
        ({"min_std": 0.0}, "0 < min_std"),
    ],
)
def test_networks_that_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        model(**changes)
