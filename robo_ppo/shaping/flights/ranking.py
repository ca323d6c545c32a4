"""The ranking test: on flights of known quality a right reward pays the right ones more.

    ranking = Ranking(config, DryRun(config).table)     # reads the flights
    returns = ranking.returns.of(reward)                # once for each set of terms and their settings
    ranking.margin(returns, weights)                    # microseconds: the search's score, > 0 passes
    ranking.refusals(returns)                           # the counter-examples

The pairs come from the task: which kind must be worth more than which other on the same scene, and why. Of a pair, what
each term pays the right flight more counts for the reward, what it pays the wrong one more counts against it:

    margin = (for - against) / (for + against)      # in [-1, 1]; 0 where nothing tells the two apart

so it does not depend on the scale of the reward, nor on the way that both flights share.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from robo_ppo.config import RunConfig
from robo_ppo.env.build import make_task
from robo_ppo.env.signals import SignalTable
from robo_ppo.env.task import SUCCESS, Task
from robo_ppo.errors import UserError
from robo_ppo.shaping.flights import trajectories as stored
from robo_ppo.shaping.flights.returns import Returns, TermReturns
from robo_ppo.shaping.flights.stored_signals import StoredSignals
from robo_ppo.shaping.flights.trajectories import Flight, Trajectories

TIE = 0.01  # a margin that is no more than this is no order
NAMED = 2  # terms that a message names


class NotAvailable(Exception):
    """A task, or this configuration of it, has no flights to rank by; the message says why."""


@dataclass(frozen=True)
class Pair:
    """Two flights on the same scene, by their number, of which the first must be worth more."""

    better: int
    worse: int
    why: str


@dataclass(frozen=True)
class CounterExample:
    """A pair that a reward ranks wrongly."""

    pair: Pair
    margin: float
    message: str  # the numbers, the terms that tip the scale, and what to do
    short: str  # what is worth more than what


class Ranking:
    """Everything that does not depend on the reward, prepared once."""

    def __init__(self, config: RunConfig, table: SignalTable, trajectories: Trajectories | None = None) -> None:
        """`table` holds the task's signals, without any reward (`DryRun.table`).

        Raises:
            NotAvailable: there are no flights for this task, or not as it is configured.
            UserError: the file is damaged.
        """
        found = trajectories or stored_for(config)
        self.trajectories, self.signals = found, StoredSignals(found, table)
        _check_truth(self.signals, make_task(config))
        self.returns = Returns(self.signals, config.ppo.gamma)
        self.pairs = pairs_of(found)
        self._better = np.array([pair.better for pair in self.pairs])
        self._worse = np.array([pair.worse for pair in self.pairs])

    def margins(self, returns: TermReturns, weights: np.ndarray | None = None) -> np.ndarray:
        """Margin of every pair (pairs,)."""
        by_term = self._differences(returns, weights)
        total = np.abs(by_term).sum(1)
        return by_term.sum(1) / np.where(total > 0.0, total, 1.0)

    def margin(self, returns: TermReturns, weights: np.ndarray | None = None) -> float:
        """The worst pair's: what a search may maximise; above `TIE` the reward passes."""
        return float(self.margins(returns, weights).min(initial=1.0))  # of no pairs, none is wrong

    def refusals(self, returns: TermReturns) -> list[CounterExample]:
        """What a reward ranks wrongly: of every two kinds the worst scene; what pays a policy most comes first."""
        margins = self.margins(returns)
        gains = self._differences(returns, None).sum(1)  # of the right flight
        worst: dict[tuple[str, str], int] = {}
        for number in np.argsort(gains, kind="stable"):
            if margins[number] <= TIE:
                worst.setdefault(self._kinds(self.pairs[number]), int(number))
        return [self._counter_example(number, returns, margins) for number in worst.values()]

    def _differences(self, returns: TermReturns, weights: np.ndarray | None) -> np.ndarray:
        weighted = returns.matrix * (returns.weights if weights is None else weights)
        return weighted[self._better] - weighted[self._worse]

    def _flights(self, pair: Pair) -> tuple[Flight, Flight]:
        flights = self.trajectories.flights
        return flights[pair.better], flights[pair.worse]

    def _counter_example(self, number: int, returns: TermReturns, margins: np.ndarray) -> CounterExample:
        message, short = self._message(number, returns, margins), self._short(number, returns)
        return CounterExample(self.pairs[number], float(margins[number]), message, short)

    def _short(self, number: int, returns: TermReturns) -> str:
        pair, worth = self.pairs[number], returns.matrix @ returns.weights
        better, worse = self._flights(pair)
        kind = self.trajectories.kind
        return (
            f"{kind(worse.kind).title} (episode {worse.episode}) is worth {worth[pair.worse]:.3g}, "
            f"{kind(better.kind).title} {worth[pair.better]:.3g}"
        )

    def _message(self, number: int, returns: TermReturns, margins: np.ndarray) -> str:
        pair = self.pairs[number]
        gains = -self._differences(returns, None)[number]  # of the wrong flight
        order = np.argsort(-np.abs(gains))
        speak_for = [n for n in order if gains[n] > 0.0][:NAMED]
        against = [n for n in order if gains[n] < 0.0][:NAMED]
        told = "no term tells them apart"
        if speak_for:
            told = f"{_listed(returns, speak_for, gains)} more for it"
            told += f", {_listed(returns, against, -gains)} less" if against else ", and nothing speaks against it"
        scenes = [n for n, other in enumerate(self.pairs) if self._kinds(other) == self._kinds(pair)]
        wrong = sum(margins[n] <= TIE for n in scenes)
        return f"{self._short(number, returns)}: {told} (so in {wrong} of {len(scenes)} scenes); {pair.why}"

    def _kinds(self, pair: Pair) -> tuple[str, str]:
        better, worse = self._flights(pair)
        return better.kind, worse.kind


def pairs_of(trajectories: Trajectories) -> tuple[Pair, ...]:
    """Every two flights that the kinds compare, on the scenes that have both."""
    number = {(flight.kind, flight.episode): n for n, flight in enumerate(trajectories.flights)}
    return tuple(
        Pair(number[better, flight.episode], n, why)
        for n, flight in enumerate(trajectories.flights)
        for better, why in trajectories.kind(flight.kind).below.items()
        if (better, flight.episode) in number
    )


def _listed(returns: TermReturns, terms: list[int], gains: np.ndarray) -> str:
    return " and ".join(f"{returns.names[n]} pays {gains[n]:.3g}" for n in terms)


def stored_for(config: RunConfig) -> Trajectories:
    """The flights that are stored for a task; NotAvailable where there are none."""
    path = stored.path_of(config)
    if path is None or not path.exists():
        raise NotAvailable(f"{config.task.name} has no stored flights")
    found = stored.read(path)
    if found.task != config.task.name:
        raise UserError(f"{path} holds flights of {found.task}, not of {config.task.name}")
    period = config.task.timestep * config.task.decimation
    if abs(found.control_period - period) > 1e-6 * period:
        raise NotAvailable(f"the stored flights have a step of {found.control_period:g} s, the task {period:g} s")
    return found


def _check_truth(signals: StoredSignals, task: Task) -> None:
    """NotAvailable where the flights do not end as they did: the task's settings or code have changed since."""
    try:
        ends: Mapping[str, np.ndarray] = {n: signals[n].numpy() for n in (SUCCESS, *task.failures)}
    except UserError as error:
        raise NotAvailable(f"the stored flights do not fit the task as it is configured: {error}") from error
    failed = np.zeros_like(ends[SUCCESS])
    for name in task.failures:
        failed |= ends[name]
    for flight in signals.trajectories.flights:
        paid = slice(flight.first + 1, flight.first + flight.rows)
        over = ends[SUCCESS][paid] | failed[paid]
        now = "timeout" if not over[-1] else "failure" if failed[paid][-1] else "success"
        if over[:-1].any() or now != flight.end:
            raise NotAvailable(
                f"the stored flights were made under other settings: '{flight.kind}' of episode {flight.episode} ended "
                "otherwise then; make them again: python -m robo_ppo.shaping record task=<name>"
            )
