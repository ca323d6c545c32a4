"""`llm=none` for ranges: wider, narrower and mixed parts of what passed the sweep. No model, no network.

    proposals, _ = RangeSearch(swept, seed=0).propose(request)

A range is spoken of as a *share*: how far it reaches from the nominal value to the border of what passed; 1 is all of
it, 1.5 goes half as far again beyond. The first proposals take one share for all parameters, then half of them change
the leader in a few parameters and the others mix. What is proposed depends on the seed, the round and what was tried.
"""

from collections.abc import Mapping

import numpy as np
from typing_extensions import override

from robo_ppo.env.scenes import seed_of
from robo_ppo.shaping.llm.model import Usage
from robo_ppo.shaping.proposer import Proposal, Proposer, Request
from robo_ppo.shaping.ranges.ranges import Ranges
from robo_ppo.shaping.ranges.sweep import ERRORS, Sweep, Swept

ALIKE = (0.5, 1.0, 1.5, 0.25)  # shares of all parameters, in the first round
MIXED = (0.0, 0.25, 0.5, 1.0, 1.5)
CHANGES = (0.5, 0.75, 1.5, 2.0)  # factors on the leader's share of a parameter
MOST_CHANGED = 3
MOST = 1.5
_DRAWS = 20  # for each proposal that is wanted

Shares = dict[str, tuple[float, float]]
"""For each parameter its share below and above the nominal value."""


class RangeSearch(Proposer[Ranges]):
    """Proposes shares of what passed."""

    origin = "search"

    def __init__(self, swept: Sweep, seed: int) -> None:
        self._swept, self._seed = swept, seed
        self._axes: dict[str, Swept] = dict(swept.parameters)
        if swept.errors is not None:
            self._axes[ERRORS] = swept.errors

    @override
    def propose(self, request: Request[Ranges]) -> tuple[list[Proposal[Ranges]], Usage]:
        rng = np.random.default_rng(seed_of("ranges", self._seed, request.round))
        leader = request.leader
        known = {one.program.settings for one in (*request.tried, *request.refused)}
        alike = list(ALIKE) if request.round == 1 else []
        found: list[Proposal[Ranges]] = []
        for number in range(_DRAWS * request.count):
            if len(found) == request.count:
                break
            if alike:
                share = alike.pop(0)
                shares: Shares = {name: (share, share) for name in self._axes}
                reason = f"{share:.0%} of what passed the sweep, for every parameter"
            elif number % 2 == 0:
                shares, reason = self._changed(self._shares(leader.program), rng), f"{leader.name} with a few changes"
            else:
                drawn = {name: float(rng.choice(MIXED)) for name in self._axes}
                shares, reason = {name: (one, one) for name, one in drawn.items()}, "a mixture of shares"
            ranges = self._ranges(shares, reason)
            if ranges.settings not in known:
                known.add(ranges.settings)
                found.append(Proposal(ranges, leader.name, self.origin, reason))
        return found, Usage()

    def _changed(self, shares: Shares, rng: np.random.Generator) -> Shares:
        """With a few parameters' ranges wider, narrower, or begun."""
        names = rng.choice(sorted(shares), size=min(len(shares), rng.integers(1, MOST_CHANGED + 1)), replace=False)
        changed = dict(shares)
        for name in map(str, names):
            factor = float(rng.choice(CHANGES))
            low, high = (min(MOST, factor * share) for share in shares[name])
            begun = float(rng.choice(MIXED[1:]))
            changed[name] = (low, high) if low or high else (begun, begun)
        return changed

    def _shares(self, ranges: Ranges) -> Shares:
        """Ranges as shares, as near as may be proposed."""
        shares: Shares = {}
        for name, one in self._axes.items():
            nominal = (one.nominal, one.nominal)
            low, high = (0.0, ranges.measurement_errors) if name == ERRORS else ranges.parameters.get(name, nominal)
            shares[name] = (_share(one, low, one.low), _share(one, high, one.high))
        return shares

    def _ranges(self, shares: Mapping[str, tuple[float, float]], reason: str) -> Ranges:
        parameters: dict[str, tuple[float, float]] = {}
        errors = 1.0 if ERRORS in shares else 0.0
        for name, (below, above) in shares.items():
            one = self._axes[name]
            if name == ERRORS:
                errors = _rounded(_value(one, above, one.high))
            elif below or above:
                low, high = _value(one, below, one.low), _value(one, above, one.high)
                if low < high:
                    parameters[name] = (_rounded(low), _rounded(high))
        return Ranges(parameters, errors, reason)


def _share(one: Swept, value: float, border: float) -> float:
    """How far a value is on the way to a border; 0 where there is no way."""
    if value == one.nominal or border == one.nominal or (value > one.nominal) != (border > one.nominal):
        return 0.0
    return min(MOST, one.position(value) / one.position(border))


def _value(one: Swept, share: float, border: float) -> float:
    """The value at a share of the way to a border, as far as was looked."""
    position = share * one.position(border) if border != one.nominal else 0.0
    return one.at(min(1.0, max(-1.0, position)))


def _rounded(value: float) -> float:
    """Three digits tell enough, and a person has to read them."""
    return float(f"{value:.3g}")
