"""What a task brings: scenes, states, signals, success and failure, and metrics. Reward terms are named in the reward.

A task lives in `tasks/`; `conf/task/<name>.yaml` names its class, what the policy observes, and its settings. Success,
failure and metrics belong to the task: no reward, whoever wrote it, can touch them.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from robo_ppo.env.flights import Flights
from robo_ppo.env.robot import Robot
from robo_ppo.env.scenes import Columns
from robo_ppo.env.shapes import Shape
from robo_ppo.env.signals import State


@dataclass(frozen=True)
class Metric:
    """A number that an evaluation reports for each episode: a signal (num_envs,), reduced over the episode's steps."""

    signal: str
    reduce: Literal["last", "min", "max", "sum"]
    unit: str
    only_success: bool = False  # mean over successful episodes


@dataclass(frozen=True)
class Rewrite:
    """States that a task changed at the end of a step: `values` apply where `rows` (num_envs,) is true."""

    rows: Tensor
    values: dict[str, Tensor]


@dataclass(frozen=True)
class CommandRange:
    """One number of a state, and the lowest and highest value that a person may give it."""

    state: str
    low: float
    high: float
    index: int = 0  # of the state's numbers


SUCCESS = "success"
"""Every task has this signal (num_envs,) bool; it ends an episode well."""
TIMEOUT = "timeout"
"""The outcome of an episode that the time limit ended."""


class Task(ABC):
    """One task for one robot. Marked functions of `sources()` and marked methods of the task are its signals."""

    Settings: ClassVar[type]
    """A dataclass of the task's own settings."""

    failures: tuple[str, ...]
    """Signals (num_envs,) bool that end an episode badly; the first one that holds names the cause."""

    def __init__(self, robot: Robot, settings: object, control_period: float) -> None:
        self.robot = robot
        self.settings = settings
        self.control_period = control_period

    @abstractmethod
    def sources(self) -> Sequence[object]:
        """Modules and objects whose marked functions are signals of the task."""

    @abstractmethod
    def terms(self) -> Sequence[object]:
        """Modules whose functions a reward may name."""

    @abstractmethod
    def scenes(self, rng: np.random.Generator, count: int) -> Columns:
        """Draw `count` scenes: arrays (count, ...) by the name of a state, or `qpos` and `qvel`; kept in float32."""

    def states(self) -> dict[str, State]:
        """What the task remembers, by name."""
        return {}

    def metrics(self) -> dict[str, Metric]:
        """What an evaluation reports besides success, by name."""
        return {}

    def limits(self) -> Mapping[str, float]:
        """What a safety net on board must not let happen in this task (`robo_ppo_onboard.safety.limits`)."""
        return {}

    def curriculum(self, columns: dict[str, Tensor], level: Tensor) -> dict[str, Tensor]:
        """Make episodes easier: the columns of episodes that begin at a level in [0, 1]; 1 changes nothing."""
        return columns

    def advance(self, values: Mapping[str, Tensor]) -> Rewrite | None:
        """Change states at the end of a step (next waypoint, new command), from the signals of the step."""
        return None

    def advance_signals(self) -> tuple[str, ...]:
        """Signals that `advance` reads."""
        return ()

    def shapes(self, values: Mapping[str, np.ndarray]) -> list[Shape]:
        """What a picture of one environment shows, from its states."""
        return []

    def scene_statistics(self, columns: Mapping[str, Tensor]) -> dict[str, float]:
        """What is worth knowing about the scenes of an evaluation, from the columns of their bank."""
        return {}

    def readings(self) -> dict[str, str]:
        """Numbers worth showing beside a film: label with unit → signal (num_envs,)."""
        return {}

    def behaviour(self) -> dict[str, str]:
        """How the robot moves, for whoever judges a reward by what came of it: label with unit → signal (num_envs,)."""
        return self.readings()

    def within_reach(self) -> str | None:
        """Signal (num_envs,) bool that holds where success is near: who stays there without it hovers, or stalls."""
        return None

    def recorded(self) -> tuple[str, ...]:
        """Signals that must be computed besides what the task needs, to record whole episodes with their metrics."""
        metrics = [metric.signal for metric in self.metrics().values()]
        return tuple(dict.fromkeys([self.position_signal(), *metrics, *self.readings().values(), "qpos"]))

    def handles(self) -> dict[str, str]:
        """What a person may drag about in the live view: label → state (num_envs, 3), a position in the world frame."""
        return {}

    def commands(self) -> dict[str, CommandRange]:
        """What a person may steer in the live view, as with a stick: label with unit → a number of a state."""
        return {}

    def flights(self) -> Flights | None:
        """How it can be flown well and badly, for a ranking test of rewards; None: there is no such test."""
        return None

    def position_signal(self) -> str:
        """Signal (num_envs, 3) with the vehicle's position in the world frame."""
        return "position"
