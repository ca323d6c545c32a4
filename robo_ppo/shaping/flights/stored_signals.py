"""Signals of stored flights, computed from their leaves by the very functions that the environment calls.

    signals = StoredSignals(trajectories, table)
    signals["goal_distance"]              # (rows,), of all rows of all flights
    signals["previous_goal_distance"]     # the row before; at a flight's beginning, the present one

That is what the environment hands to the graph, too: after a reset the previous value of a signal is its present one,
and a signal never needs its own previous value, so whole flights can be computed at once. Values are kept: programs
that differ in weights, or in a term, share all the rest.
"""

import torch
from torch import Tensor

from robo_ppo.env.signals import PREVIOUS, Graph, SignalTable
from robo_ppo.errors import UserError
from robo_ppo.shaping.flights.trajectories import Trajectories


class StoredSignals:
    """Values (rows, …) by the name of a signal."""

    def __init__(self, trajectories: Trajectories, table: SignalTable) -> None:
        self.trajectories, self.table = trajectories, table
        before = torch.arange(trajectories.rows) - 1
        for flight in trajectories.flights:
            before[flight.first] = flight.first
        self._before = before
        self._values: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._values:
            self.compute(self.table.graph([name]))
        return self._values[name]

    @property
    def paid(self) -> "PaidRows":
        """The rows that are paid: all but the beginnings."""
        return PaidRows(self)

    def compute(self, graph: Graph) -> dict[str, Tensor]:
        """Values of every step of a graph; those that the table knows are kept for whoever asks next."""
        values: dict[str, Tensor] = {name: self._leaf(name) for name in graph.leaves}
        for step in graph.steps:
            if step.name in self._values:
                values[step.name] = self._values[step.name]
            else:
                one = Graph((step.name,), step.inputs, (step,))
                values[step.name] = one(values)[step.name]
                if step.name in self.table.signals:
                    self._values[step.name] = values[step.name]
        return values

    def _leaf(self, name: str) -> Tensor:
        if name not in self._values:
            if name.startswith(PREVIOUS) and name not in self.table.leaves:
                self._values[name] = self[name.removeprefix(PREVIOUS)][self._before]
            else:
                self._values[name] = self._stored(name)
        return self._values[name]

    def _stored(self, name: str) -> Tensor:
        leaf, stored = self.table.leaves[name], self.trajectories.leaves
        if name not in stored or tuple(stored[name].shape[1:]) != leaf.shape:
            there = f"is {tuple(stored[name].shape[1:])}" if name in stored else "is missing"
            raise UserError(f"'{name}' {there} in the stored flights, where the task has {leaf.shape}")
        return stored[name]


class PaidRows:
    """The same signals without the flights' beginnings, (rows - flights, …)."""

    def __init__(self, signals: StoredSignals) -> None:
        self._signals = signals
        mask = torch.ones(signals.trajectories.rows, dtype=torch.bool)
        mask[[flight.first for flight in signals.trajectories.flights]] = False
        self._rows = mask.nonzero().squeeze(1)
        self._values: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._values:
            self._values[name] = self._signals[name][self._rows]
        return self._values[name]
