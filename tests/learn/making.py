"""Small learners and rollouts of random numbers, for the tests of this folder."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from robo_ppo.config import PPOConfig
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.learn.ppo import PPO, PPOSettings
from robo_ppo.learn.rollout import Rollout

OBSERVATIONS = {"policy": 3, "critic": 5}
ACTIONS = 2


def settings(**changes: Any) -> PPOSettings:
    """The defaults of `conf/ppo`, with changes."""
    return PPOSettings(**(dataclasses.asdict(PPOConfig()) | changes))


def model(seed: int = 0, sizes: dict[str, int] | None = None, actions: int = ACTIONS, **changes: Any) -> ActorCritic:
    """Two small networks."""
    given: dict[str, Any] = {"hidden": (16, 16), "critic_hidden": (16,), "activation": "tanh"}
    given |= {"initial_std": 0.5, "min_std": 0.1, "max_std": 1.0} | changes
    return ActorCritic(sizes or OBSERVATIONS, actions, **given, generator=torch.Generator().manual_seed(seed))


def learner(
    num_envs: int = 8,
    seed: int = 0,
    mean_over_ranks: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    networks: ActorCritic | None = None,
    **changes: Any,
) -> PPO:
    """A `PPO` with an empty rollout."""
    chosen = settings(**changes)
    networks = networks or model(seed)
    sizes = {name: networks.normalizer(name).mean.numel() for name in ("policy", "critic")}
    rollout = Rollout(
        chosen.horizon, num_envs, sizes, networks.log_std.numel(), torch.device("cpu"), networks.state_size
    )
    return PPO(networks, rollout, chosen, torch.Generator().manual_seed(seed), mean_over_ranks)


def settle(networks: ActorCritic) -> None:
    """Let the normalisers have seen so much that nothing moves them any more."""
    for name in ("policy", "critic"):
        networks.normalizer(name).count.fill_(1e30)


@dataclasses.dataclass
class Experience:
    """What an environment of random numbers gives; every tensor (horizon, num_envs, …)."""

    policy: Tensor
    critic: Tensor
    final_critic: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    valid: Tensor
    last_critic: Tensor  # (num_envs, size)

    def rows(self, rows: slice) -> "Experience":
        """Some of the environments."""
        parts = {name: value[:, rows] for name, value in vars(self).items() if name != "last_critic"}
        return Experience(**parts, last_critic=self.last_critic[rows])


def experience(horizon: int, num_envs: int, seed: int = 0, ending: float = 0.2) -> Experience:
    """Random observations and rewards; a share of the steps ends an episode, one half of them by truncation."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    ends = torch.rand(horizon, num_envs, generator=generator)
    policy = normal(horizon, num_envs, OBSERVATIONS["policy"])
    critic = normal(horizon, num_envs, OBSERVATIONS["critic"])
    return Experience(
        policy,
        critic,
        normal(horizon, num_envs, OBSERVATIONS["critic"]),
        normal(horizon, num_envs),
        ends < ending / 2,
        (ends >= ending / 2) & (ends < ending),
        torch.ones(horizon, num_envs, dtype=torch.bool),
        normal(num_envs, OBSERVATIONS["critic"]),
    )


def collect(ppo: PPO, seen: Experience) -> None:
    """Act and record over a whole rollout."""
    ppo.begin()
    for step in range(ppo.settings.horizon):
        ppo.act({"policy": seen.policy[step], "critic": seen.critic[step]})
        ppo.record(
            seen.reward[step],
            seen.terminated[step],
            seen.truncated[step],
            seen.valid[step],
            seen.final_critic[step],
        )


def gradients_of_steps(ppo: PPO) -> list[dict[str, Tensor]]:
    """A list that fills with the gradients, by parameter name, that every step of the optimiser gets."""
    captured: list[dict[str, Tensor]] = []
    step = ppo.optimizer.step

    def capture() -> None:
        captured.append({n: p.grad.clone() for n, p in ppo.model.named_parameters() if p.grad is not None})
        step()

    ppo.optimizer.step = capture  # pyright: ignore[reportAttributeAccessIssue]
    return captured


Mean = Callable[[Tensor], Tensor]


def on_all(work: Callable[[int, Mean], object], size: int = 2) -> None:
    """Run `work(rank, mean_over_ranks)` on several ranks at once, which are threads here."""
    barrier, given = threading.Barrier(size, timeout=20), [torch.empty(0)] * size

    def part(rank: int) -> None:
        def mean(tensor: Tensor) -> Tensor:
            given[rank] = tensor.clone()
            barrier.wait()
            result = torch.stack(given).mean(0)
            barrier.wait()
            return tensor.copy_(result)

        try:
            work(rank, mean)
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(size) as threads:
        for done in [threads.submit(part, rank) for rank in range(size)]:
            done.result()
