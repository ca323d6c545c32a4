"""What the learner and a run need of many environments in step, whoever simulates them.

`Environment` (a task of signals on our own physics) and `GymEnvironment` (anything of Gymnasium's) are
`VectorEnvironment`s, and `build` makes the one that a configuration names. To export a policy it is enough to know the
`Interface`: what is measured, how an observation follows from it, and what is commanded.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import Tensor

from robo_ppo.env.measurements import Measured
from robo_ppo.env.observations import Onboard
from robo_ppo.env.robot import ActionInterface
from robo_ppo.env.scenes import Split
from robo_ppo.env.task import Metric
from robo_ppo_onboard.contract import Fallback

Observation = dict[str, Tensor]
Score = Literal["success", "return"]


@dataclass(frozen=True)
class Interface:
    """What lies between a policy and its vehicle."""

    robot: str
    control_period: float  # s
    onboard: Onboard
    sensors: tuple[Measured, ...]
    action: ActionInterface
    action_delay: tuple[float, float] = (0.0, 0.0)  # s
    limits: Mapping[str, float] | None = None  # of a safety net on board, by `robo_ppo_onboard.safety.limits`
    fallback: Fallback | None = None  # what flies on board when the policy may not
    notes: Mapping[str, str] | None = None  # what else is to be known of a measurement, by name: the order of joints


@dataclass(frozen=True)
class Transition:
    """What one step did, for every environment."""

    observation: Observation  # of the next step; of a new episode where one began
    final_observation: Observation  # of this step, before anything was reset
    reward: Tensor  # (num_envs,)
    terminated: Tensor  # (num_envs,) bool: success, failure or a broken world
    truncated: Tensor  # (num_envs,) bool: out of time
    valid: Tensor  # (num_envs,) bool: the world was finite; learn from these alone
    values: dict[str, Tensor]  # all signals and states of the step: true values, before anything was reset


@dataclass(frozen=True)
class BrokenWorld:
    """A world that became non-finite, with what is needed to replay its last step.

    `state` holds the simulation's and the environment's state before the step, the command and the forces that were
    applied, and the curriculum's level; the episode's id gives its parameters (`robo_ppo.env.scenes`).
    """

    episode: int
    step: int
    first_field: str
    state: dict[str, Tensor]


@dataclass
class Totals:
    """Sums over the episodes that ended since the last `take_totals`, zero-dimensional or (num_terms,)."""

    episodes: Tensor
    returns: Tensor
    steps: Tensor
    outcomes: dict[str, Tensor]
    terms: Tensor
    broken: Tensor

    @classmethod
    def none(cls, outcomes: Sequence[str], terms: int, device: torch.device) -> Self:
        """Before any episode has ended."""

        def zero() -> Tensor:
            return torch.zeros((), device=device)

        by_outcome = {name: zero() for name in outcomes}
        return cls(zero(), zero(), zero(), by_outcome, torch.zeros(terms, device=device), zero())

    def tensors(self) -> list[Tensor]:
        """All of them."""
        return [self.episodes, self.returns, self.steps, *self.outcomes.values(), self.terms, self.broken]


class VectorEnvironment(ABC):
    """`num_envs` environments in step."""

    num_envs: int
    device: torch.device
    interface: Interface
    observation_sizes: dict[str, int]  # length of the observation of each group: policy, critic
    observed: tuple[str, ...]  # name of the signal behind each number that the critic observes
    term_names: tuple[str, ...]  # of the reward
    outcome_names: tuple[str, ...]  # how an episode can end
    max_episode_steps: int
    measured: dict[str, Tensor]  # what the policy's interface measures now, by name
    level: Tensor  # of the curriculum, in [0, 1]; changed in place
    score: Score = "success"  # what tells a good policy from a bad one, the mean over episodes

    @property
    def resting(self) -> Tensor:
        """Mask (num_envs,) of environments whose episode is over, and no other began."""
        return torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)

    @property
    def action_size(self) -> int:
        """Numbers of an action."""
        return self.interface.action.size

    @abstractmethod
    def reset(self, first_id: int = 0) -> Observation:
        """Begin an episode everywhere, with the ids `first_id`, `first_id + 1`, … (of this rank's)."""

    @abstractmethod
    def step(self, action: Tensor, *, restart: bool = True) -> Transition:
        """Advance every environment by one control step; actions (num_envs, action_size) beyond [-1, 1] are clipped.

        Without `restart`, what follows an episode that ended means nothing, and enters no totals.
        """

    @abstractmethod
    def take_totals(self) -> Totals:
        """Sums over the episodes that ended since the last call."""

    def take_broken_world(self) -> BrokenWorld | None:
        """The first world that broke since the last call, if one did."""
        return None

    @abstractmethod
    def unfinished_terms(self) -> Tensor:
        """Reward terms so far in the episodes that go on, over all environments (num_terms,)."""

    @abstractmethod
    def episode_ids(self) -> Tensor:
        """Id of the episode that each environment is in (num_envs,)."""

    @abstractmethod
    def outcomes(self, transition: Transition) -> dict[str, Tensor]:
        """How each episode ended (num_envs,) bool, by name; exactly one holds where one ended in this step."""

    @abstractmethod
    def snapshot(self) -> dict[str, Tensor]:
        """All that a continuation needs, but for the last observation, which the caller holds."""

    @abstractmethod
    def restore(self, snapshot: Mapping[str, Tensor]) -> Observation | None:
        """Continue from a snapshot; returns the observation to go on from where it is not the caller's."""

    def check(self) -> None:
        """Raise a `UserError` if the physics has lost something since the last call; `take_totals` looks too."""
        return

    def take_log(self) -> dict[str, float]:
        """What the simulation itself reports of the steps since the last call, by name, to be logged."""
        return {}

    def close(self) -> None:
        """Give back what the environments hold besides memory: windows, simulators, connections."""
        return

    def metrics(self) -> dict[str, Metric]:
        """What an evaluation reports for each episode, by name."""
        return {}

    def scene_statistics(self) -> dict[str, float]:
        """What is worth knowing about the scenes of an evaluation."""
        return {}


class ForeignEnvironment(VectorEnvironment):
    """Environments that another library simulates; `task.entry_point` may name such a class instead of a `Task`."""

    Settings: ClassVar[type]
    """A dataclass of `task.settings`."""

    @classmethod
    def at_once(cls, settings: Any) -> int:
        """How many environments side by side are cheap; by default few, since each is an object of its own."""
        return 50

    @classmethod
    @abstractmethod
    def make(
        cls, settings: Any, split: Split, seed: int, num_envs: int, *, rank: int = 0, ranks: int = 1, film: bool = False
    ) -> Self:
        """The environments that the settings name; with `film`, such that `picture` works.

        The episodes of validation and test are the same for every seed; of several ranks, each runs its share.
        """

    @abstractmethod
    def describe(self) -> str:
        """What this is, in a line."""

    def picture(self) -> np.ndarray | None:
        """The first environment as it looks now, (height, width, 3) uint8; None where it cannot be drawn."""
        return None
