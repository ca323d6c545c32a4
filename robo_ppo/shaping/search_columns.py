"""What terms pay in the stored flights, computed once for each term and its settings: a search asks thousands of times.

columns = Columns(gate, leader)
columns.scale("near_goal", {"distance": 0.3, "speed": 0.6})      # what it pays in a typical flight with a weight of 1
columns.qualities({"progress": {"weight": 3.0}, …})              # margin, guidance and bearing of a whole reward
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robo_ppo.env.flights import End
from robo_ppo.env.language import Program
from robo_ppo.errors import UserError
from robo_ppo.shaping.flights.learnable import Way, bearing, guidance
from robo_ppo.shaping.flights.returns import TermReturns
from robo_ppo.shaping.gate import Gate

WEIGHT = "weight"
_BETTER: dict[End, End] = {"failure": "timeout", "timeout": "success"}


@dataclass(frozen=True)
class Column:
    """What a term with a weight of 1 pays: discounted returns (flights,), and on the way."""

    returns: np.ndarray
    way: Way | None


class Columns:
    """Columns of the task's terms, and of the leader's own."""

    def __init__(self, gate: Gate, leader: Program) -> None:
        self._gate, self._leader = gate, leader
        self._known: dict[tuple[str, tuple[tuple[str, float], ...]], Column] = {}

    def of(self, term: str, settings: Mapping[str, float]) -> Column:
        """A term's column; zeros where it cannot be computed."""
        key = (term, tuple(sorted(settings.items())))
        if key not in self._known:
            own = {name: {**given, WEIGHT: 0.0} for name, given in self._leader.weights.items()}
            kept = {name: given for name, given in own.items() if name in self._leader.functions}
            try:
                program = self._leader.with_weights({**kept, term: {WEIGHT: 1.0, **settings}})
                returns, ways = self._gate.terms_of(program), self._gate.ways_of(program)
                column = returns.matrix[:, returns.names.index(term)]
                self._known[key] = Column(column, None if ways is None else ways[term])
            except UserError:  # not finite with these settings, say
                self._known[key] = Column(np.zeros(1), None)
        return self._known[key]

    def scale(self, term: str, settings: Mapping[str, float]) -> float:
        """What a term with a weight of 1 pays in a typical flight, in absolute value."""
        return float(np.sqrt(np.square(self.of(term, settings).returns).mean()))

    def against(self, end: End, term: str, settings: Mapping[str, float]) -> float:
        """How a term speaks against an end: what it pays more, over its scale, where flights ended a way better."""
        returns, ends = self.of(term, settings).returns, np.array(self._gate.ends)
        so, better = ends == end, ends == _BETTER[end]
        if len(returns) != len(ends) or not so.any() or not better.any():
            return 0.0
        scale = self.scale(term, settings)
        return float(returns[better].mean() - returns[so].mean()) / scale if scale > 0.0 else 0.0

    def qualities(self, weights: Mapping[str, Mapping[str, float]]) -> np.ndarray:
        """Margin, guidance and bearing of a reward, each in [-1, 1]; what no flights tell of is 1."""
        columns = {
            term: self.of(term, {name: value for name, value in given.items() if name != WEIGHT})
            for term, given in weights.items()
        }
        numbers = {term: given[WEIGHT] for term, given in weights.items()}
        matrix = np.stack([column.returns for column in columns.values()], 1)
        margin = self._gate.margin(TermReturns(tuple(weights), matrix, np.array(list(numbers.values()))))
        ways = {term: column.way for term, column in columns.items() if column.way is not None}
        return np.array([margin, guidance(ways, numbers), bearing(ways, numbers)] if ways else [margin, 1.0, 1.0])
