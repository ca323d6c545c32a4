"""Intervals against SciPy's."""

import pytest
from scipy.stats import binomtest

from robo_ppo.run.statistics import wilson_interval


@pytest.mark.parametrize(("count", "total"), [(963, 1000), (0, 1000), (1000, 1000), (1, 3), (20, 1000), (0, 1)])
def test_wilson_interval(count: int, total: int) -> None:
    expected = binomtest(count, total).proportion_ci(method="wilson")
    assert wilson_interval(count, total) == pytest.approx((expected.low, expected.high), abs=1e-7)


def test_wilson_interval_of_nothing_is_everything() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("count", "total"), [(-1, 5), (6, 5)])
def test_impossible_counts(count: int, total: int) -> None:
    with pytest.raises(ValueError, match="episodes"):
        wilson_interval(count, total)
