"""One update gives the gradients that Stable-Baselines3's own `PPO.train()` computes from the same experience.

The networks are brought away from those that acted, so that ratios are clipped and values have moved.
"""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from robo_ppo.learn.ppo import PPO
from tests.learn.making import ACTIONS, Experience, collect, experience, gradients_of_steps, learner, model, settle

HORIZON, ENVS, SIZE = 16, 24, 5
FAR = 1e9  # no clipping of the gradient's norm: theirs is over all parameters together, ours for each network


class Nothing(gymnasium.Env[Any, Any]):
    """Spaces alone; nobody steps it."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (SIZE,), np.float32)
    action_space = gymnasium.spaces.Box(-10.0, 10.0, (ACTIONS,), np.float32)


def ours(**settings: Any) -> tuple[PPO, Experience]:
    """Our learner after a rollout, with networks that have changed since."""
    networks = model(sizes={"policy": SIZE, "critic": SIZE}, hidden=(16, 16), critic_hidden=(12, 12))
    settle(networks)  # theirs normalises nothing
    fixed: dict[str, Any] = {
        "horizon": HORIZON,
        "epochs": 1,
        "minibatches": 1,
        "target_kl": None,
        "max_gradient_norm": FAR,
    }
    ppo = learner(ENVS, networks=networks, **(fixed | settings))
    seen = experience(HORIZON, ENVS)
    seen.policy = seen.critic
    collect(ppo, seen)
    noise = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in networks.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise)
    return ppo, seen


def theirs(ppo: PPO, seen: Experience, **settings: Any) -> stable_baselines3.PPO:
    """Their learner with the same weights and the same experience."""
    they = stable_baselines3.PPO(
        "MlpPolicy",
        DummyVecEnv([Nothing] * ENVS),
        n_steps=HORIZON,
        batch_size=HORIZON * ENVS,
        n_epochs=1,
        gamma=ppo.settings.gamma,
        gae_lambda=ppo.settings.gae_lambda,
        clip_range=ppo.settings.clip,
        vf_coef=ppo.settings.value_coefficient,
        ent_coef=ppo.settings.entropy_coefficient,
        max_grad_norm=FAR,
        policy_kwargs={"net_arch": {"pi": [16, 16], "vf": [12, 12]}, "activation_fn": torch.nn.Tanh},
        device="cpu",
        **settings,
    )
    they.set_logger(Logger(None, []))
    for theirs_parameter, ours_parameter in pairs(they, ppo):
        theirs_parameter.data.copy_(ours_parameter)
    rollout, buffer = ppo.rollout, they.rollout_buffer
    assert isinstance(buffer, RolloutBuffer)
    # They add the value of a truncated episode's end to its last reward, and know only that it ended.
    truncated = rollout.ended & ~rollout.terminated
    reward = rollout.reward + ppo.settings.gamma * rollout.next_value * truncated
    starts = torch.cat((torch.zeros(1, ENVS), rollout.ended[:-1].float()))
    for step in range(HORIZON):
        buffer.add(
            seen.critic[step].numpy(),
            rollout.action[step].numpy(),
            reward[step].numpy(),
            starts[step].numpy(),
            rollout.value[step],
            rollout.log_prob[step],
        )
    with torch.no_grad():
        last_value = ppo.model.value(seen.last_critic)
    buffer.compute_returns_and_advantage(last_value, rollout.ended[-1].numpy())
    return they


def pairs(they: stable_baselines3.PPO, ppo: PPO) -> Iterator[tuple[Tensor, Tensor]]:
    """Their parameters beside ours."""
    policy: Any = they.policy
    extractor = policy.mlp_extractor
    networks = (
        ([*extractor.policy_net, policy.action_net], ppo.model.actor),
        ([*extractor.value_net, policy.value_net], ppo.model.critic),
    )
    for their_modules, our_modules in networks:
        for their_layer, our_layer in zip(their_modules, our_modules, strict=True):
            yield from zip(their_layer.parameters(), our_layer.parameters(), strict=True)
    yield policy.log_std, ppo.model.log_std


def their_gradients(they: stable_baselines3.PPO, ppo: PPO) -> list[Tensor]:
    """What their optimiser would step with."""
    captured: list[Tensor] = []

    def capture(*_: object) -> None:
        captured.extend(parameter.grad.clone() for parameter, _ in pairs(they, ppo) if parameter.grad is not None)

    they.policy.optimizer.step = capture  # type: ignore[method-assign]
    they.train()
    return captured


def our_gradients(ppo: PPO, seen: Experience) -> tuple[list[Tensor], dict[str, Tensor]]:
    captured = gradients_of_steps(ppo)
    order = [id(parameter) for parameter in ppo.model.parameters()]
    names = [name for name, _ in ppo.model.named_parameters()]
    modules = [*ppo.model.actor.parameters(), *ppo.model.critic.parameters(), ppo.model.log_std]
    statistics = ppo.update(seen.last_critic)
    assert len(captured) == 1
    return [captured[0][names[order.index(id(parameter))]] for parameter in modules], statistics


def check(expected: list[Tensor], found: list[Tensor]) -> None:
    assert max(float(gradient.abs().max()) for gradient in expected) > 0.05
    for their_gradient, our_gradient in zip(expected, found, strict=True):
        torch.testing.assert_close(our_gradient, their_gradient, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "their_settings"),
    [
        ({"normalize_advantage": "minibatch"}, {"normalize_advantage": True}),
        ({"normalize_advantage": "batch"}, {"normalize_advantage": True}),  # the same where one minibatch is all
        ({"normalize_advantage": "none"}, {"normalize_advantage": False}),
        ({"normalize_advantage": "none", "entropy_coefficient": 0.03}, {"normalize_advantage": False}),
        ({"normalize_advantage": "minibatch", "clip": 0.05, "value_coefficient": 0.8}, {"normalize_advantage": True}),
        ({"normalize_advantage": "minibatch", "gamma": 0.9, "gae_lambda": 0.5}, {"normalize_advantage": True}),
    ],
    ids=["advantage per minibatch", "per batch", "as it is", "entropy", "tight clip", "short horizon"],
)
def test_gradients_and_statistics(settings: dict[str, Any], their_settings: dict[str, Any]) -> None:
    ppo, seen = ours(**settings)
    they = theirs(ppo, seen, **their_settings)
    expected = their_gradients(they, ppo)
    found, statistics = our_gradients(ppo, seen)
    check(expected, found)

    logged = they.logger.name_to_value
    assert 0.1 < float(logged["train/clip_fraction"]) < 0.95
    assert float(statistics["clip_fraction"]) == pytest.approx(logged["train/clip_fraction"])
    assert float(statistics["policy_loss"]) == pytest.approx(logged["train/policy_gradient_loss"], abs=1e-6)
    assert float(statistics["value_loss"]) == pytest.approx(logged["train/value_loss"], rel=1e-5)
    assert float(statistics["entropy"]) == pytest.approx(-logged["train/entropy_loss"], rel=1e-5)
    assert float(statistics["explained_variance"]) == pytest.approx(logged["train/explained_variance"], abs=1e-5)


def test_value_clipping_takes_the_worse_of_two_losses() -> None:
    """Theirs always takes the clipped one, so each of the two halves of the batch is given to them apart."""
    clip = 0.1
    ppo, seen = ours(normalize_advantage="none", value_clip=clip)

    def half(samples: np.ndarray, clip_range_vf: float | None) -> list[Tensor]:
        they = theirs(ppo, seen, normalize_advantage=False, clip_range_vf=clip_range_vf)
        buffer: Any = they.rollout_buffer
        get = buffer.get

        def chosen(_: int) -> Iterator[Any]:
            next(get())  # flattens
            yield buffer._get_samples(samples)

        buffer.get = chosen
        share = len(samples) / (HORIZON * ENVS)
        return [share * gradient for gradient in their_gradients(they, ppo)]

    they = theirs(ppo, seen)
    buffer: Any = they.rollout_buffer
    samples = next(buffer.get(HORIZON * ENVS))  # in an order of its own
    with torch.no_grad():
        value = ppo.model.value(samples.observations)
    near = samples.old_values + (value - samples.old_values).clamp(-clip, clip)
    clipped_is_worse = (near - samples.returns) ** 2 > (value - samples.returns) ** 2
    # Back to the buffer's order.
    position = {tuple(row): i for i, row in enumerate(buffer.observations.round(5).tolist())}
    order = np.array([position[tuple(row)] for row in samples.observations.numpy().round(5).tolist()])
    assert 20 < int(clipped_is_worse.sum()) < len(order) - 20
    parts = (half(order[clipped_is_worse.numpy()], clip), half(order[~clipped_is_worse.numpy()], None))
    found, _ = our_gradients(ppo, seen)
    check([a + b for a, b in zip(*parts, strict=True)], found)
