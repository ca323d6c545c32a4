"""The space of rewards that a search draws from: which terms there are, what each pays, and its settings.

space = Space.of(library, leader)
point = space.point(leader, columns)             # {"progress:on": True, "progress:share": 1.2, …}
space.weights(space.changed(point, rng), columns)    # {"progress": {"weight": 3.0}, …}

A weight is a *share*: what the term pays over a typical flight, since weights of terms of different size cannot be
compared.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robo_ppo.env.flights import End
from robo_ppo.env.language import Program
from robo_ppo.shaping.edits import Library
from robo_ppo.shaping.search_columns import WEIGHT, Columns

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Point = dict[str, Any]
"""For every term whether it is there (`progress:on`), its share and its settings (`near_goal:distance`)."""

_TOTAL = 10.0  # what a share of 1 pays over a flight
_SHARES = (0.003, 3.0)
_SETTINGS = (0.05, 5.0)  # of a setting without a default: SI units of a robot's size
_AROUND = 4.0  # how far a setting with a default may be drawn from it, as a factor
_FACTORS = (0.1, 0.25, 0.5, 2.0, 4.0, 10.0)  # of a change
_LEANS = (2.0, 4.0)  # factors of a term that speaks against what goes wrong
_LEAVES = 0.2  # how often a change takes a term out
_ON, _SHARE = "on", "share"


@dataclass(frozen=True)
class Space:
    """Between what the shares and settings of all terms lie."""

    ranges: dict[str, tuple[float, float]]
    fixed: dict[str, dict[str, float]]  # settings that no factor varies

    @classmethod
    def of(cls, library: Library, leader: Program) -> "Space":
        """All terms that a reward may have: the task's, and the leader's own."""
        settings: dict[str, Mapping[str, float | None]] = dict(library)
        for term, given in leader.weights.items():
            settings.setdefault(term, {name: value for name, value in given.items() if name != WEIGHT})
        ranges: dict[str, tuple[float, float]] = {}
        fixed: dict[str, dict[str, float]] = {}
        for term, defaults in settings.items():
            ranges[f"{term}:{_SHARE}"] = _SHARES
            for name, default in defaults.items():
                if default is None:
                    ranges[f"{term}:{name}"] = _SETTINGS
                elif default > 0.0:
                    ranges[f"{term}:{name}"] = (default / _AROUND, default * _AROUND)
                else:
                    fixed.setdefault(term, {})[name] = default
        return cls(ranges, fixed)

    @property
    def terms(self) -> list[str]:
        """Names of the terms."""
        return sorted({key.partition(":")[0] for key in self.ranges})

    def distributions(self) -> "dict[str, BaseDistribution]":
        """The space as Optuna knows it."""
        from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

        found: dict[str, BaseDistribution] = {
            f"{term}:{_ON}": CategoricalDistribution([True, False]) for term in self.terms
        }
        return found | {key: FloatDistribution(*limits, log=True) for key, limits in self.ranges.items()}

    def point(self, program: Program, columns: Columns) -> Point:
        """A program as a point of the space, as near as the space comes to it."""
        weights = program.weights
        point: Point = {f"{term}:{_ON}": term in weights and weights[term][WEIGHT] > 0.0 for term in self.terms}
        for key, (low, high) in self.ranges.items():
            term, _, name = key.partition(":")
            settings, value = weights.get(term), None
            if settings is not None:
                others = {n: v for n, v in settings.items() if n != WEIGHT}
                share = settings[WEIGHT] * columns.scale(term, others) / _TOTAL if name == _SHARE else None
                value = others.get(name) if share is None else share
            point[key] = self._within(key, value) if value is not None else math.sqrt(low * high)
        return point

    def changed(self, point: Point, rng: np.random.Generator) -> Point:
        """The point with one of its terms changed: put in, taken out, made stronger or weaker, or set anew."""
        term = str(rng.choice(self.terms))
        keys = [key for key in self.ranges if key.startswith(f"{term}:")]
        if not point[f"{term}:{_ON}"]:
            drawn = {key: float(np.exp(rng.uniform(*np.log(self.ranges[key])))) for key in keys}
            return {**point, **drawn, f"{term}:{_ON}": True}
        if rng.random() < _LEAVES:
            return {**point, f"{term}:{_ON}": False}
        key = str(rng.choice(keys))
        return {**point, key: self._within(key, point[key] * float(rng.choice(_FACTORS)))}

    def leaning(self, point: Point, end: End, columns: Columns, rng: np.random.Generator) -> Point:
        """The point with one or two terms stronger that speak against such an end, or weaker that speak for it."""
        terms = self.terms
        against = np.array([columns.against(end, term, self._settings(point, term)) for term in terms])
        is_there = np.array([point[f"{term}:{_ON}"] for term in terms])
        odds = np.where(is_there | (against > 0.0), np.square(against), 0.0)  # what is not there cannot be weaker
        if not odds.any():
            return point
        most = min(int(rng.integers(1, 3)), np.count_nonzero(odds))
        for number in rng.choice(len(terms), most, replace=False, p=odds / odds.sum()):
            key, factor = f"{terms[number]}:{_SHARE}", float(rng.choice(_LEANS))
            share = point[key] * (factor if against[number] > 0.0 else 1.0 / factor)
            point = {**point, f"{terms[number]}:{_ON}": True, key: self._within(key, share)}
        return point

    def weights(self, point: Point, columns: Columns) -> dict[str, dict[str, float]]:
        """The terms that are on, with weights and settings."""
        weights: dict[str, dict[str, float]] = {}
        for term in self.terms:
            if not point[f"{term}:{_ON}"]:
                continue
            settings = self._settings(point, term)
            scale = columns.scale(term, settings)
            if scale > 0.0:  # else it pays nothing, whatever its weight
                weights[term] = {WEIGHT: _rounded(point[f"{term}:{_SHARE}"] * _TOTAL / scale), **settings}
        return weights

    def _within(self, key: str, value: float) -> float:
        """The value, or the border of its range that it lies beyond."""
        low, high = self.ranges[key]
        return min(max(value, low), high)

    def _settings(self, point: Point, term: str) -> dict[str, float]:
        prefix = f"{term}:"
        drawn = {key.removeprefix(prefix): value for key, value in point.items() if key.startswith(prefix)}
        found = {name: _rounded(value) for name, value in drawn.items() if name not in (_ON, _SHARE)}
        return {**self.fixed.get(term, {}), **found}


def _rounded(value: float) -> float:
    """Two digits tell enough, a person has to read them, and fewer different values have to be computed."""
    return float(f"{value:.2g}")
