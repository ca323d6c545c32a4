"""A person's own task, in a package that only PYTHONPATH knows: uav_hover with terms and signals that go wrong.

ODD_RANK makes the second rank go wrong: `mistake` or `fault` when it builds the task, `drift` as it learns.
"""

import os
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from robo_ppo.env.signals import signal
from robo_ppo.errors import UserError
from robo_ppo.learn.ppo import Statistics
from robo_ppo.run.train import Trainer
from robo_ppo.tasks.uav.hover import UavHover


def whole_position(position: Tensor) -> Tensor:
    """Three numbers where one is wanted."""
    return position


def over_all(goal_distance: Tensor) -> Tensor:
    """One number for all environments together."""
    return goal_distance.mean()


def logarithm(goal_distance: Tensor) -> Tensor:
    """Not a number beyond 1.2 m."""
    return torch.log(1.2 - goal_distance)


@signal(unit="m")
def root(height: Tensor) -> Tensor:
    """Not a number below 1 m."""
    return torch.sqrt(height - 1.0)


def _drift() -> None:
    """Let one weight of this rank come out a little different, as a fault of its memory would."""
    learn = Trainer.iterate

    def iterate(self: Trainer) -> Statistics:
        statistics = learn(self)
        self.ppo.parameters.value.data[7] += 1e-6
        return statistics

    Trainer.iterate = iterate


class OddTask(UavHover):
    """uav_hover, and what is above."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # pyright: ignore[reportArgumentType]
        way = os.environ.get("ODD_RANK")
        if way and sys.argv[0].endswith("rank.py"):
            if way == "drift":
                _drift()
            else:
                raise UserError("this rank has no camera") if way == "mistake" else RuntimeError("boom")

    def sources(self) -> Sequence[object]:
        return [*super().sources(), sys.modules[__name__]]

    def terms(self) -> Sequence[object]:
        return [*super().terms(), sys.modules[__name__]]
