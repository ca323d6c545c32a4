"""The part of Isaac Lab's environments that is used here, as types: nothing of Isaac Lab's is imported to check it.

`ManagerBasedRLEnv` and `DirectRLEnv` of Isaac Lab 2 and 3 have it, and whoever writes an environment of the same
interface (the double of the tests, one without a simulator) needs no more than this.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium
from torch import Tensor

GroupObservation = Tensor | Mapping[str, Tensor]
Observations = Mapping[str, GroupObservation]
"""By group: (num_envs, …), or by term where the group does not put its terms side by side."""


class ObservationManager(Protocol):
    """Which terms each group of observations is made of (manager-based environments alone)."""

    @property
    def active_terms(self) -> Mapping[str, Sequence[str]]:
        """Names of the terms, by group."""
        ...

    @property
    def group_obs_term_dim(self) -> Mapping[str, Sequence[tuple[int, ...]]]:
        """Shapes of the terms, by group."""
        ...

    @property
    def group_obs_concatenate(self) -> Mapping[str, bool]:
        """Whether a group's terms come side by side in one tensor."""
        ...


class ActionManager(Protocol):
    """Which terms the action is divided among (manager-based environments alone)."""

    @property
    def active_terms(self) -> Sequence[str]:
        """Names of the terms, in the order of their numbers in the action."""
        ...

    @property
    def action_term_dim(self) -> Sequence[int]:
        """How many numbers each term takes."""
        ...

    def get_term(self, name: str, /) -> object:
        """A term by its name."""
        ...


class IsaacEnvironment(Protocol):
    """Many environments in step, which reset themselves within the step in which an episode ends."""

    cfg: Any
    episode_length_buf: Tensor  # (num_envs,) int64, steps so far in each episode
    single_observation_space: gymnasium.spaces.Dict
    single_action_space: gymnasium.Space[Any]

    @property
    def num_envs(self) -> int:
        """How many there are."""
        ...

    @property
    def device(self) -> Any:
        """Where all tensors are: a string or a torch.device."""
        ...

    @property
    def step_dt(self) -> float:
        """Duration of a step in s."""
        ...

    @property
    def max_episode_length(self) -> int:
        """Time limit in steps."""
        ...

    def reset(self, *, seed: int | None = None) -> tuple[Observations, dict[str, Any]]:
        """Begin an episode everywhere; the seed is that of all random numbers from now on."""
        ...

    def step(self, action: Tensor, /) -> tuple[Observations, Tensor, Tensor, Tensor, dict[str, Any]]:
        """Observations (of new episodes where one began), rewards, terminated, truncated (num_envs,), and extras."""
        ...

    def close(self) -> None:
        """End the simulation."""
        ...
