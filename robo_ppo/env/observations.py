"""Observations: signals side by side in one vector per group, computed in the trainer and on board by the same code.

`Onboard` is the part of the signal graph that runs on the vehicle. It takes measurements and a memory (its last action
and previous values of signals), and returns the policy's observation; `robo_ppo.export` traces this very object. A
signal that needs something that no vehicle knows can be observed in training, but `Onboard.refuse_to_export` says why
it cannot fly.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from robo_ppo.env.signals import PREVIOUS, Graph, SignalTable
from robo_ppo.errors import UserError


class Onboard:
    """The policy's observation as a function of measurements and memory."""

    def __init__(self, table: SignalTable, signals: Sequence[str]) -> None:
        if not signals:
            raise UserError("the policy observes nothing; name signals in task.observation.policy")
        self.table = table
        self.signals = tuple(signals)
        self.measurements = table.measurements(signals)
        # What is remembered for the next step must be computed in this one.
        self.graph = table.graph_with_previous(signals, onboard=True)
        self.shapes = table.shapes(self.graph)
        self.remembered = {PREVIOUS + name: self.shapes[name] for name in self.graph.previous}
        previous = self.graph.previous
        self._beginning = table.graph([*signals, *previous], onboard=True, beginning=previous)
        self.states = tuple(n for n in self.graph.leaves if n not in self.measurements and n not in self.remembered)
        self.sizes = {name: self.shapes[name] for name in signals}

    @property
    def size(self) -> int:
        """Length of the observation."""
        return sum(torch.Size(shape).numel() for shape in self.sizes.values())

    def observe(self, leaves: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Observation (n, size), and what to remember as `previous_` values, from measurements, states and memory."""
        return self._observe(self.graph, leaves)

    def begin(self, leaves: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `observe`, without a memory: the present counts as the step before."""
        return self._observe(self._beginning, leaves)

    def _observe(self, graph: Graph, leaves: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        values = graph(leaves)
        remember = {name: values[name.removeprefix(PREVIOUS)] for name in self.remembered}
        return concatenate(values, self.signals), remember

    def refuse_to_export(self) -> None:
        """Raise a `UserError` that shows the way to a leaf that the vehicle does not know, if there is one."""
        for name in self.signals:
            path = self.table.path_off_board(name)
            if path is not None:
                raise UserError(
                    f"the policy observes '{name}', which cannot be computed on board: {' → '.join(path)} is known "
                    "to the simulator alone. Observe it in the critic, or publish it as a measurement"
                )


def concatenate(values: Mapping[str, Tensor], signals: Sequence[str]) -> Tensor:
    """Signals side by side, (n, sum of their sizes), in float32."""
    return torch.cat(
        [values[name].flatten(1) if values[name].ndim > 1 else values[name].unsqueeze(1) for name in signals], 1
    ).float()
