"""Observations: signals side by side in one vector per group, computed in the trainer and on board by the same code.

`Onboard` is the part of the signal graph that runs on the vehicle. It takes measurements and a memory (its last action,
previous values of signals, past observations), and returns the policy's observation; `robo_ppo.export` traces this very
object. With a `history` of N, the observation is that of the last N control steps side by side, the newest first; at
the beginning of an episode, its first one stands for those before it. A signal that needs something that no vehicle
knows can be observed in training, but `Onboard.refuse_to_export` says why it cannot fly.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from robo_ppo.env.signals import PREVIOUS, Graph, SignalTable
from robo_ppo.errors import UserError

PAST = "past_observations"
"""Part of the memory: the observations of the steps before, the newest first."""


class Onboard:
    """The policy's observation as a function of measurements and memory."""

    def __init__(self, table: SignalTable, signals: Sequence[str], history: int = 1) -> None:
        if not signals:
            raise UserError("the policy observes nothing; name signals in task.observation.policy")
        if history < 1:
            raise UserError(f"task.observation.history must be at least 1, not {history}")
        if PAST in table.names():
            raise UserError(f"'{PAST}' is a name of the observation's own; call the signal otherwise")
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
        self.history = history
        if history > 1:
            self.remembered[PAST] = ((history - 1) * self.present_size,)

    @property
    def present_size(self) -> int:
        """Length of the observation of one step."""
        return sum(torch.Size(shape).numel() for shape in self.sizes.values())

    @property
    def size(self) -> int:
        """Length of the observation."""
        return self.history * self.present_size

    def present(self, observation: Tensor) -> Tensor:
        """The part of an observation (n, size) that is of the present step (n, present_size)."""
        return observation[:, : self.present_size]

    def observe(self, leaves: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Observation (n, size), and what to remember for the next step, from measurements, states and memory."""
        present, remember = self._observe(self.graph, leaves)
        return self._with_past(present, remember, leaves)

    def begin(self, leaves: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """As `observe`, without a memory: the present counts as the steps before."""
        present, remember = self._observe(self._beginning, leaves)
        return self._with_past(present, remember, None)

    def _observe(self, graph: Graph, leaves: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        values = graph(leaves)
        remember = {PREVIOUS + name: values[name] for name in self.graph.previous}
        return concatenate(values, self.signals), remember

    def _with_past(
        self, present: Tensor, remember: dict[str, Tensor], leaves: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if self.history == 1:
            return present, remember
        past = [present] * (self.history - 1) if leaves is None else [leaves[PAST]]
        observation = torch.cat([present, *past], 1)
        return observation, remember | {PAST: observation[:, : -self.present_size]}

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
