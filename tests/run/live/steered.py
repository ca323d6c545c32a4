"""Tasks with something to drag and something to steer: what no shipped task has both of."""

import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.config import RunConfig
from robo_ppo.env.signals import State, signal
from robo_ppo.env.task import CommandRange
from robo_ppo.tasks.uav.hover import UavHover
from tests.env.toy import Visits, config


class Steered(Visits):
    """Go to a target that a person may command."""

    @override
    def states(self) -> dict[str, State]:
        return super().states() | {"beacon": State((3,), "m", "world")}

    @override
    def handles(self) -> dict[str, str]:
        return {"beacon": "beacon"}

    @override
    def commands(self) -> dict[str, CommandRange]:
        return {"target (m)": CommandRange("target", -2.0, 2.0)}

    @signal(unit="m", frame="world")
    def position(self, qpos: Tensor) -> Tensor:
        return torch.nn.functional.pad(qpos, (0, 2))


class DragsNothing(Steered):
    """Names a state that there is not."""

    @override
    def handles(self) -> dict[str, str]:
        return {"beacon": "becon"}


class DragsATarget(Steered):
    """Names a state that is no position."""

    @override
    def handles(self) -> dict[str, str]:
        return {"target": "target"}


class CommandsTooMuch(Steered):
    """Commands a second number of a state that has one."""

    @override
    def commands(self) -> dict[str, CommandRange]:
        return {"target (m)": CommandRange("target", -2.0, 2.0, index=1)}


class SteeredHover(UavHover):
    """Hover where a person wants it."""

    @override
    def commands(self) -> dict[str, CommandRange]:
        return {"goal height (m)": CommandRange("goal_position", 0.5, 2.5, index=2)}


def steered(task: type[Steered] = Steered) -> RunConfig:
    """A run of one of these tasks."""
    return config(entry_point=f"{__name__}:{task.__name__}")
