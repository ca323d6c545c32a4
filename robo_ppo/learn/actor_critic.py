"""Policy and value function: two separate networks, each behind a normaliser of its own observation.

    model = ActorCritic(observation_sizes, action_size, hidden=(64, 64), …)
    normalized = model.normalize(observation)
    distribution, state = model.policy(normalized["policy"], state)
    value = model.value(normalized["critic"])

A policy carries a state from step to step; that of a feed-forward network has no numbers in it.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.learn.gaussian import DiagonalGaussian
from robo_ppo.learn.normalizer import Normalizer, limited

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": lambda: nn.ELU(inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class ActorCritic(nn.Module):
    """Everything that is learnt, and the statistics of what was seen."""

    def __init__(
        self,
        observation_sizes: Mapping[str, int],
        action_size: int,
        *,
        hidden: Sequence[int],
        critic_hidden: Sequence[int],
        activation: str,
        initial_std: float,
        min_std: float,
        max_std: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UserError(f"policy.activation={activation}; {did_you_mean(activation, ACTIVATIONS)}")
        if not 0.0 < min_std <= initial_std <= max_std:
            raise UserError(
                f"policy: 0 < min_std ≤ initial_std ≤ max_std must hold, not {min_std}, {initial_std}, {max_std}"
            )
        self.normalizers = nn.ModuleDict({name: Normalizer(size) for name, size in observation_sizes.items()})
        # A small last layer: the first policy does next to nothing, whatever it sees.
        self.actor = mlp(observation_sizes["policy"], hidden, action_size, activation, 0.01, generator)
        self.critic = mlp(observation_sizes["critic"], critic_hidden, 1, activation, 1.0, generator)
        self.log_std = nn.Parameter(torch.full((action_size,), math.log(initial_std)))
        self.log_std_bounds = (math.log(min_std), math.log(max_std))

    def normalize(self, observation: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Normalised observation of each group."""
        return {name: self.normalizers[name](values) for name, values in observation.items()}

    def normalizer(self, group: str) -> Normalizer:
        """The normaliser of one observation group."""
        found = self.normalizers[group]
        assert isinstance(found, Normalizer)
        return found

    def initial_state(self, num_envs: int) -> Tensor:
        """State of the policy at the beginning of an episode (num_envs, 0)."""
        return self.log_std.new_zeros(num_envs, 0)

    def policy(self, normalized: Tensor, state: Tensor) -> tuple[DiagonalGaussian, Tensor]:
        """Distribution of the action, from a normalised observation (n, size) and the state (n, k)."""
        return DiagonalGaussian(self.actor(limited(normalized)), self.log_std), state

    def value(self, normalized: Tensor) -> Tensor:
        """Expected return (n,) from a normalised observation of the critic (n, size)."""
        return self.critic(limited(normalized)).squeeze(-1)

    @torch.no_grad()
    def bound_std(self) -> None:
        """Bring the standard deviation back between its bounds, after a step of the optimiser."""
        self.log_std.clamp_(*self.log_std_bounds)


def mlp(
    inputs: int, hidden: Sequence[int], outputs: int, activation: str, last_gain: float, generator: torch.Generator
) -> nn.Sequential:
    """Linear layers with the activation between them, initialised orthogonally (Saxe et al., arXiv:1312.6120)."""
    layers: list[nn.Module] = []
    sizes = [inputs, *hidden, outputs]
    for number, (before, after) in enumerate(itertools.pairwise(sizes)):
        is_last = number == len(hidden)
        layer = nn.Linear(before, after)
        nn.init.orthogonal_(layer.weight, last_gain if is_last else math.sqrt(2.0), generator=generator)
        nn.init.zeros_(layer.bias)
        layers.append(layer)
        if not is_last:
            layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers)
