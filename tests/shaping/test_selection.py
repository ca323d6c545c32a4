"""Who wins: paired seeds, an interval, and at least three of them."""

import numpy as np
import pytest
import scipy.stats

from robo_ppo.shaping.selection import compare, is_better


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    for seeds in (2, 3, 5, 16):
        given, winner = rng.random(seeds), rng.random(seeds)
        found = compare(range(seeds), given.tolist(), winner.tolist())
        truth = scipy.stats.ttest_rel(winner, given).confidence_interval(0.95)
        assert found.difference == pytest.approx((winner - given).mean())
        assert (found.low, found.high) == pytest.approx((truth.low, truth.high), rel=1e-3)


@pytest.mark.parametrize(
    ("given", "winner", "wins"),
    [
        ([0.3, 0.2, 0.4], [0.95, 0.93, 0.96], True),
        ([0.90, 0.92, 0.91], [0.91, 0.91, 0.92], False),  # better in the mean, and within what seeds differ
        ([0.3, 0.2], [0.95, 0.85], False),  # too few to be called
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5], False),
        ([0.9, 0.9, 0.9], [0.1, 0.2, 0.1], False),
    ],
)
def test_only_a_difference_beyond_that_of_seeds_wins(given: list[float], winner: list[float], wins: bool) -> None:
    assert is_better(compare(range(len(given)), given, winner)) == wins
