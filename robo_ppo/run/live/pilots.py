"""Who is at the controls: the exported policy (`robo_ppo.run.evaluate.OnnxPilot`), nobody, or chance."""

from typing import Protocol

import torch
from torch import Tensor

from robo_ppo.env.environment import Environment
from robo_ppo.env.scenes import seed_of
from robo_ppo.env.vector import Observation


class Pilot(Protocol):
    """Something that commands every environment."""

    def begin(self) -> None:
        """Forget what was remembered of the last episodes; new ones have begun."""
        ...

    def act(self, observation: Observation, /) -> Tensor:
        """Actions (num_envs, action_size)."""
        ...

    def intervention(self) -> str:
        """Why the safety net took the first environment from the policy; empty where it did not."""
        ...


class ZeroPilot:
    """Always the middle of what can be commanded: an action of zeros."""

    def __init__(self, environment: Environment) -> None:
        self._action = torch.zeros(environment.num_envs, environment.action_size)

    def begin(self) -> None:
        """There is nothing to forget."""

    def act(self, _observation: Observation) -> Tensor:
        """Zeros."""
        return self._action

    def intervention(self) -> str:
        """Nobody has no safety net."""
        return ""


class RandomPilot:
    """Actions drawn uniformly from [-1, 1]; the same ones again where the same seed flies the same episodes."""

    def __init__(self, environment: Environment, seed: int) -> None:
        self._environment, self._seed = environment, seed
        self._generator = torch.Generator()

    def begin(self) -> None:
        """Start the draws that belong to the episodes which have begun."""
        self._generator.manual_seed(seed_of("random pilot", self._seed, *self._environment.episode_ids().tolist()))

    def act(self, _observation: Observation) -> Tensor:
        """A fresh draw."""
        size = (self._environment.num_envs, self._environment.action_size)
        return 2.0 * torch.rand(size, generator=self._generator) - 1.0

    def intervention(self) -> str:
        """Nor has chance."""
        return ""
