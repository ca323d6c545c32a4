"""Who wins: paired seeds, an interval, and at least three of them."""

import numpy as np
import pytest
import scipy.stats

from robo_ppo.shaping.selection import compare, is_better, is_open


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


def test_more_seeds_may_tell_where_all_so_far_agree() -> None:
    assert is_open(compare(range(3), [0.0, 0.67, 0.56], [0.92, 0.9, 0.9]))
    assert not is_open(compare(range(3), [0.3, 0.2, 0.4], [0.95, 0.93, 0.96]))  # it is better already
    assert not is_open(compare(range(3), [0.9, 0.2, 0.4], [0.8, 0.93, 0.96]))  # one was worse


def test_a_reward_that_is_no_better_seldom_wins_though_seeds_may_be_added() -> None:
    """As often as the docs say, where differences are normal."""
    rng, cases = np.random.default_rng(0), 3000
    wins = 0
    for drawn in rng.normal(0.0, 0.1, (cases, 5)):
        for seeds in (3, 4, 5):
            found = compare(range(seeds), [0.5] * seeds, (0.5 + drawn[:seeds]).tolist())
            if not is_open(found):
                break
        wins += is_better(found)
    assert 0.035 < wins / cases < 0.06
