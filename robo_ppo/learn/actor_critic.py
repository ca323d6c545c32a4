"""Policy and value function: two separate networks, each behind a normaliser of its own observation.

    model = ActorCritic(observation_sizes, action_size, hidden=(64, 64), …)
    normalized = model.normalize(observation)
    distribution, state = model.policy(normalized["policy"], state)
    value = model.value(normalized["critic"])

A policy carries a state from step to step: that of a gated recurrent unit (`recurrent="gru"`), which the actor sees
beside the observation, or one without any numbers. The critic remembers nothing; it may see what is hidden from the
policy instead.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.learn.gaussian import DiagonalGaussian
from robo_ppo.learn.gru import GRU
from robo_ppo.learn.normalizer import Normalizer, limited

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": lambda: nn.ELU(inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
RECURRENT = ("none", "gru")


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
        recurrent: str = "none",
        recurrent_size: int = 0,
        initial_std: float,
        min_std: float,
        max_std: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise UserError(f"policy.activation={activation}; {did_you_mean(activation, ACTIVATIONS)}")
        if recurrent not in RECURRENT:
            raise UserError(f"policy.recurrent={recurrent}; it must be none or gru")
        if recurrent != "none" and recurrent_size < 1:
            raise UserError(f"policy.recurrent_size must be at least 1, not {recurrent_size}")
        if not 0.0 < min_std <= initial_std <= max_std:
            raise UserError(
                f"policy: 0 < min_std ≤ initial_std ≤ max_std must hold, not {min_std}, {initial_std}, {max_std}"
            )
        self.normalizers = nn.ModuleDict({name: Normalizer(size) for name, size in observation_sizes.items()})
        self.memory = None if recurrent == "none" else GRU(observation_sizes["policy"], recurrent_size, generator)
        self.state_size = self.memory.size if self.memory is not None else 0
        # A small last layer: the first policy does next to nothing, whatever it sees.
        seen = observation_sizes["policy"] + self.state_size
        self.actor = mlp(seen, hidden, action_size, activation, 0.01, generator)
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

    def policy_parameters(self) -> list[nn.Parameter]:
        """What the policy learns, and the critic does not."""
        memory = [] if self.memory is None else [*self.memory.parameters()]
        return [*self.actor.parameters(), self.log_std, *memory]

    def initial_state(self, num_envs: int) -> Tensor:
        """State of the policy at the beginning of an episode (num_envs, k)."""
        return self.log_std.new_zeros(num_envs, self.state_size)

    def policy(self, normalized: Tensor, state: Tensor) -> tuple[DiagonalGaussian, Tensor]:
        """Distribution of the action, from a normalised observation (n, size) and the state (n, k)."""
        seen = limited(normalized)
        if self.memory is not None:
            state = self.memory(seen, state)
            seen = torch.cat((seen, state), 1)
        return DiagonalGaussian(self.actor(seen), self.log_std), state

    def policy_over_time(self, normalized: Tensor, state: Tensor, ended: Tensor) -> DiagonalGaussian:
        """Distributions of many steps of n environments, one step after another: (steps · n, action_size).

        From the state before the first step (n, k); `ended` (steps · n,) says with which steps an episode ended.
        """
        assert self.memory is not None
        seen = limited(normalized)
        states = self.memory.over_time(seen, state, ended)
        return DiagonalGaussian(self.actor(torch.cat((seen, states), 1)), self.log_std)

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
