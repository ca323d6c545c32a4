"""Whether one reward is better than another: the same seeds, the same validation episodes, an interval.

    comparison = compare(seeds=[0, 1, 2], given=[0.31, 0.28, 0.35], winner=[0.95, 0.93, 0.96])
    comparison.low > 0.0       # then, and only then, is it better

A seed is the unit: two trainings of the same reward differ by more than two evaluations of the same policy. The
interval is Student's for the mean of the paired differences; with three seeds it is wide, and honest about it.
"""

import math
import statistics
from collections.abc import Sequence

from robo_ppo.shaping.record import Comparison

LEAST_SEEDS = 3

# Two-sided 95 % quantiles of Student's t for 1, 2, 3, … degrees of freedom; beyond, the last one errs on the safe side.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


def compare(
    seeds: Sequence[int], given: Sequence[float], winner: Sequence[float], *, challenger: str = ""
) -> Comparison:
    """The difference in success between two rewards over paired seeds, with its 95 % interval."""
    differences = [after - before for before, after in zip(given, winner, strict=True)]
    mean = statistics.fmean(differences)
    half = _quantile(len(differences) - 1) * _standard_error(differences)
    return Comparison(list(seeds), list(given), list(winner), mean, mean - half, mean + half, challenger)


def is_better(comparison: Comparison) -> bool:
    """Whether the winner has won: enough seeds, and the interval above zero."""
    return len(comparison.seeds) >= LEAST_SEEDS and comparison.low > 0.0


def is_open(comparison: Comparison) -> bool:
    """Whether more seeds may tell: every one so far was better with the winner, and the interval does not say so yet.

    Whoever goes on from three seeds to five while this holds calls a reward the winner that is no better in 4.8 % of
    cases instead of 2.5 % (simulated, differences normal).
    """
    pairs = zip(comparison.given, comparison.winner, strict=True)
    return not is_better(comparison) and all(after > before for before, after in pairs)


def _quantile(freedom: int) -> float:
    return math.inf if freedom < 1 else _T[min(freedom, len(_T)) - 1]


def _standard_error(differences: Sequence[float]) -> float:
    return statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 1.0
