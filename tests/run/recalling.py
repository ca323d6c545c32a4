"""A task that only a memory solves: a number is shown when the episode begins, and must be commanded until it ends."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.env.scenes import Columns
from robo_ppo.env.signals import State, measurement, signal
from robo_ppo.env.task import Task


@dataclass(frozen=True)
class RecallsSettings:
    """None."""


class Recalls(Task):
    """The cart's own motion says nothing, since the policy sees the cue alone."""

    Settings = RecallsSettings
    settings: RecallsSettings
    failures = ()

    @override
    def sources(self) -> Sequence[object]:
        return ()

    @override
    def terms(self) -> Sequence[object]:
        return (sys.modules[__name__],)

    @override
    def scenes(self, rng: np.random.Generator, count: int) -> Columns:
        cue = rng.choice((-0.7, 0.7), (count, 1))
        return {"qpos": np.zeros((count, 1)), "qvel": np.zeros((count, 1)), "cue": cue}

    @override
    def states(self) -> dict[str, State]:
        return {"cue": State((1,)), "steps": State((), follows="counted")}

    @signal()
    def counted(self, steps: Tensor) -> Tensor:
        return steps + 1.0

    @measurement()
    def shown(self, cue: Tensor, steps: Tensor) -> Tensor:
        return cue * (steps == 0.0).unsqueeze(1)

    @signal()
    def success(self, steps: Tensor) -> Tensor:
        return steps < 0.0


def recalled(last_action: Tensor, cue: Tensor) -> Tensor:
    """How near the last command came to the cue."""
    return -torch.square(last_action - cue)[:, 0]
