"""What a robot brings: its model, its action interfaces, what it measures, and which of its parameters may vary.

A robot lives in `robots/<name>/robot.py`; `conf/robot/<name>.yaml` names its class and the action interface to use.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import mujoco
from torch import Tensor

from robo_ppo.env.constants import constant
from robo_ppo.env.signals import State
from robo_ppo_onboard.contract import Fallback


@dataclass(frozen=True)
class ActionInterface:
    """What the policy commands: one number for each actuator of the model, in the order of the model's `ctrl`.

    The network's action in [-1, 1] maps linearly to [lower, upper]; beyond that it is clipped. `throttle` maps each
    command in N to a part of full throttle, for flight controllers that take that: points (N, 0 to 1).
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    note: str = ""
    throttle: tuple[tuple[float, float], ...] | None = None

    @property
    def size(self) -> int:
        """How many commands there are."""
        return len(self.names)

    def command(self, action: Tensor) -> Tensor:
        """Commands (n, size) in their units, from actions (n, size)."""
        lower, upper = self._bounds(action)
        return lower + (action.clamp(-1.0, 1.0) + 1.0) * (0.5 * (upper - lower))

    def action(self, command: Tensor) -> Tensor:
        """Inverse of `command` within the bounds."""
        lower, upper = self._bounds(command)
        return (command - lower) / (0.5 * (upper - lower)) - 1.0

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return constant(self.lower, like), constant(self.upper, like)


@dataclass(frozen=True)
class Scale:
    """A model field that a parameter multiplies; `entries` are indices along its first axis (None: all of them)."""

    field: str
    entries: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Parameter:
    """A physical parameter that may differ from episode to episode.

    With `scales`, its value is a factor on those model fields; otherwise it is a state of its own name, which signals
    read.
    """

    unit: str
    nominal: float
    scales: tuple[Scale, ...] = ()


class Robot(ABC):
    """One robot with one of its action interfaces; marked methods are its signals.

    `robot.action` in the configuration names the interface; a class refuses, with a `UserError`, what it does not have.
    """

    name: str
    action: ActionInterface
    radius: float  # m, of the sphere that collides
    limits: Mapping[str, float] = {}
    """What a safety net on board must not let happen, by the names of `robo_ppo_onboard.safety.limits`."""
    fallback: Fallback | None = None
    """What flies on board when the policy may not; None: nothing is commanded (0, or the nearest that is possible)."""

    @abstractmethod
    def __init__(self, action: str) -> None: ...

    @abstractmethod
    def spec(self) -> mujoco.MjSpec:
        """The model with the actuators of the action interface."""

    def initial(self) -> dict[str, tuple[float, ...]]:
        """State fields of the simulation that an episode begins with, where they are not zero or drawn in the scene."""
        return {}

    def fields(self) -> tuple[str, ...]:
        """Simulation fields that its signals read."""
        return ("qpos", "qvel")

    def parameters(self) -> dict[str, Parameter]:
        """Parameters that may be randomized, by name."""
        return {}

    def states(self) -> dict[str, State]:
        """States that its signals need."""
        return {}

    def drives(self) -> dict[str, str]:
        """Simulation fields that a signal drives in every control step: field → signal (external forces)."""
        return {}
