"""Whether PPO can be expected to learn from a reward: two numbers from stored flights that the ranking does not see.

A reward may rank every flight rightly and teach nothing: it pays at success alone, which a beginner never meets, or
whatever a beginner tries costs more than all that there is to gain. So a search prefers rewards with

- **guidance**: what successful flights are paid on their way, before their last second, over all that their terms
  move; 1 where every step towards success pays, below 0 where the way costs;
- **bearing**: (way + trying) / (|way| + |trying|) of what successful flights are paid on their way and what flying at
  random is; near -1 where a beginner is punished for whatever it does, and soon does nothing.

Both lie in [-1, 1]. They are a preference and no test: a reward of a person's that lacks them is trained all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robo_ppo.env.rewards import Reward
from robo_ppo.env.task import SUCCESS
from robo_ppo.shaping.flights.returns import Returns
from robo_ppo.shaping.flights.trajectories import Flight

RANDOM = "random"  # the kind of flights with random actions


@dataclass(frozen=True)
class Way:
    """What an unweighted term pays on the way, before a flight's last second: sums, and sums of absolute values."""

    succeeding: float
    moved: float
    trying: float


class Learnable:
    """For the stored flights of one task."""

    def __init__(self, returns: Returns) -> None:
        self._returns = returns
        stored = returns.trajectories
        self._last = round(stored.settle / stored.control_period)  # steps
        self._succeeding = [flight for flight in stored.flights if flight.end == SUCCESS]
        self._trying = [flight for flight in stored.flights if flight.kind == RANDOM]
        self.is_available = bool(self._succeeding and self._trying)

    def ways(self, reward: Reward) -> dict[str, Way]:
        """What each term pays with a weight of 1; means over flights."""
        weights = reward.weights.double()
        rows = self._returns.rewards(reward).double() / torch.where(weights > 0.0, weights, 1.0).unsqueeze(1)
        found: dict[str, Way] = {}
        for name, values in zip(reward.names, rows, strict=True):
            good = [self._before_the_end(values, flight) for flight in self._succeeding]
            tried = [values[flight.first + 1 : flight.first + flight.rows - 1] for flight in self._trying]
            found[name] = Way(
                float(np.mean([float(v.sum()) for v in good])),
                float(np.mean([float(v.abs().sum()) for v in good])),
                float(np.mean([float(v.sum()) for v in tried])),
            )
        return found

    def _before_the_end(self, values: Tensor, flight: Flight) -> Tensor:
        return values[flight.first + 1 : max(flight.first + 2, flight.first + flight.rows - self._last)]


def guidance(ways: Mapping[str, Way], weights: Mapping[str, float]) -> float:
    """How much of what moves on the way to success pays for it."""
    moved = sum(weights[name] * way.moved for name, way in ways.items())
    return sum(weights[name] * way.succeeding for name, way in ways.items()) / moved if moved > 0.0 else 0.0


def bearing(ways: Mapping[str, Way], weights: Mapping[str, float]) -> float:
    """How well what is to gain on the way outweighs what trying costs."""
    way = sum(weights[name] * one.succeeding for name, one in ways.items())
    trying = sum(weights[name] * one.trying for name, one in ways.items())
    size = abs(way) + abs(trying)
    return (way + trying) / size if size > 0.0 else 0.0
