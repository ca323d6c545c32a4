"""The final as a picture: each seed before and after, and the difference with its interval on an axis that holds zero.

final = shown_final(refinement.comparison)
final.low, final.high, final.zero          # per cent of the axis, which goes from final.start to final.end
"""

import math
from dataclasses import dataclass

from robo_ppo.shaping.record import Comparison


@dataclass(frozen=True)
class Seed:
    """A seed: success in validation with either reward."""

    seed: int
    given: float
    winner: float


@dataclass(frozen=True)
class ShownFinal:
    """What the page shows of it."""

    seeds: list[Seed]
    comparison: Comparison
    start: float  # of the axis, a difference in success
    end: float
    zero: float  # per cent of the axis, as are the next three
    low: float
    mean: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval lies above zero."""
        return self.comparison.low > 0.0


def shown_final(comparison: Comparison | None) -> ShownFinal | None:
    """The final's seeds and axis, if there was a final; the axis ends at whole tens of points."""
    if comparison is None:
        return None
    seeds = [Seed(*row) for row in zip(comparison.seeds, comparison.given, comparison.winner, strict=False)]
    ends = [max(-1.0, min(1.0, value)) for value in (0.0, comparison.low, comparison.high) if math.isfinite(value)]
    start, end = math.floor(min(ends) * 10) / 10, max(math.ceil(max(ends) * 10), 1) / 10

    def across(value: float) -> float:
        return 100.0 * max(0.0, min(1.0, (value - start) / (end - start))) if math.isfinite(value) else 0.0

    low, mean, high = (across(value) for value in (comparison.low, comparison.difference, comparison.high))
    return ShownFinal(seeds, comparison, start, end, across(0.0), low, mean, high)
