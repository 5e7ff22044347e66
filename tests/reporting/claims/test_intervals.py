"""Intervals over seeds, at any level, and where they lie."""

import math

import numpy as np
import pytest
from scipy import stats

from selfdistill.reporting.claims.intervals import apart, gap_over_seeds, over_seeds
from selfdistill.reporting.claims.measures import seeds_for

FIRST, SECOND = [0.3, 0.5, 0.1, 0.7], [1.0, 1.4, 0.3]


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_they_are_those_of_student_and_welch(level):
    mean = stats.ttest_1samp(FIRST, 0).confidence_interval(level)
    assert over_seeds(FIRST).at(level) == pytest.approx((mean.low, mean.high))
    gap = stats.ttest_ind(FIRST, SECOND, equal_var=False).confidence_interval(level)
    assert gap_over_seeds(FIRST, SECOND).at(level) == pytest.approx((gap.low, gap.high))
    assert gap_over_seeds(FIRST, SECOND).value == pytest.approx(-0.5)


def test_p_values_are_those_of_the_test():
    found = over_seeds(FIRST)
    above = found.p_value(lambda level: found.inside(0.1, math.inf, level))
    assert above == pytest.approx(stats.ttest_1samp(FIRST, 0.1, alternative="greater").pvalue, rel=0.01)
    assert found.p_value(lambda level: found.outside(0.1, math.inf, level)) == 0.5


@pytest.mark.parametrize("values", [[0.5], [0.1] * 3, [0.5, math.nan], [-math.inf, 0.1, 0.2]])
def test_some_seeds_have_no_interval(values):
    """One; all alike, which tells nothing of their spread; one that is no number, or a factor of 0."""
    for family in (over_seeds(values), gap_over_seeds(values, FIRST), gap_over_seeds(FIRST, values)):
        assert all(map(math.isnan, family.bounds()))
        assert not family.inside(-math.inf, math.inf)
        assert not family.outside(0, 1)
    assert over_seeds([0.1] * 3).value == pytest.approx(0.1)


def test_sides_that_lie_apart():
    assert apart([3, 4, 5], [0, 1, 2]) == 1
    assert apart([0, 1, 2], [3, 4, 5]) == -1
    assert apart([0, 1, 3], [3, 4, 5]) == 0
    assert apart([3, 4], [0, 1, 2]) == 0  # two are too few


def test_seeds_that_an_interval_needs():
    spread, distance = 0.1, 0.06
    wanted = next(n for n in range(3, 100) if stats.t.ppf(0.975, n - 1) * spread / math.sqrt(n) < distance)
    assert seeds_for(0.06, spread, 0.0, math.inf) == wanted
    assert seeds_for(0.0001, spread, 0.0, math.inf) == math.inf
    assert seeds_for(0.5, math.nan, 0.0, math.inf) == 3
    assert math.isnan(seeds_for(math.nan, spread, 0.0, 1.0))


def test_95_of_100_hold_the_truth():
    rng = np.random.default_rng(0)
    held = [np.prod([b - 0.2 for b in over_seeds(rng.normal(0.2, 0.1, 3)).bounds()]) < 0 for _ in range(1000)]
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)
