"""What stored flights are worth to PPO, term by term, so that other weights are a matrix product away.

    returns.of(reward).matrix @ weights          # (flights,)

A flight's return is discounted with the run's gamma from its first step. Success and failure end it. What the time
limit cut goes on: PPO bootstraps it with the value of its last state, and here that is the mean reward of the flight's
last second, for ever: mean / (1 - gamma).
"""

import functools
import inspect
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robo_ppo.env.rewards import Reward
from robo_ppo.env.signals import SignalTable
from robo_ppo.shaping.flights.stored_signals import StoredSignals
from robo_ppo.shaping.flights.trajectories import Trajectories

MOST_KEPT = 512  # terms of the task's own, with different settings, whose returns are remembered


@dataclass(frozen=True)
class TermReturns:
    """Discounted returns of unweighted terms."""

    names: tuple[str, ...]
    matrix: np.ndarray  # (flights, terms) float64
    weights: np.ndarray  # (terms,) of the reward they were computed for

    def weights_of(self, given: Mapping[str, float]) -> np.ndarray:
        """Weights (terms,) in the order of the columns, by name; of what is not named 0."""
        return np.array([given.get(name, 0.0) for name in self.names])


class Returns:
    """Returns of all flights, for any reward."""

    def __init__(self, signals: StoredSignals, gamma: float) -> None:
        self._signals = signals
        self.trajectories = signals.trajectories
        self._share = torch.from_numpy(row_weights(signals.trajectories, gamma))
        self._flight = torch.repeat_interleave(
            torch.arange(len(self.trajectories.flights)),
            torch.tensor([flight.rows for flight in self.trajectories.flights]),
        )
        self._known: dict[Hashable, np.ndarray] = {}

    def of(self, reward: Reward) -> TermReturns:
        """Returns of a reward's terms."""
        table = self.table_with(reward)
        columns = [self._column(table, name) for name in reward.outputs]
        return TermReturns(reward.names, np.stack(columns, 1), reward.weights.double().cpu().numpy())

    def rewards(self, reward: Reward) -> Tensor:
        """Weighted terms (terms, rows) of every row; what a flight's first row says was never paid."""
        return reward.terms(self._signals.compute(self.table_with(reward).graph(reward.outputs)))

    def table_with(self, reward: Reward) -> SignalTable:
        """The task's signals and a reward's terms."""
        return SignalTable({**self._signals.table.signals, **reward.signals}, self._signals.table.leaves)

    def _column(self, table: SignalTable, name: str) -> np.ndarray:
        key = _key(table.signals[name].function)
        if key is not None and key in self._known:
            return self._known[key]
        values = self._signals.compute(table.graph([name]))[name].double()
        values = torch.where(self._share > 0.0, values, 0.0)  # a flight's beginning is not paid, whatever it says
        sums = torch.zeros(len(self.trajectories.flights), dtype=torch.float64)
        column = sums.index_add_(0, self._flight, values * self._share).numpy()
        if key is not None and len(self._known) < MOST_KEPT:
            self._known[key] = column
        return column


def row_weights(trajectories: Trajectories, gamma: float) -> np.ndarray:
    """How much the reward of each row counts in the return of its flight (rows,).

    What a flight that ran out of time would go on with counts as its last rows do; not with a `gamma` of 1, where it
    would be worth more than anything.
    """
    weights = np.zeros(trajectories.rows)
    for flight in trajectories.flights:
        paid = weights[flight.first + 1 : flight.first + flight.rows]
        paid[:] = gamma ** np.arange(flight.steps)
        if flight.end == "timeout" and gamma < 1.0:
            last = min(flight.steps, max(1, round(trajectories.settle / trajectories.control_period)))
            paid[-last:] += gamma**flight.steps / (1.0 - gamma) / last
    return weights


def _key(function: Any) -> Hashable | None:
    """What tells a task's own term with its settings from all others; None for what a program brings."""
    inner, settings = (function.func, function.keywords) if isinstance(function, functools.partial) else (function, {})
    return (inner, tuple(sorted(settings.items()))) if inspect.isfunction(inner) else None
