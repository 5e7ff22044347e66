import math

import numpy as np
import pytest
from scipy import stats

from selfdistill.reporting.curves import difference, ends, gap_over_seeds, log_ratio, mean_over_seeds, validation


def curve(values, first=1):
    return dict(enumerate(values, start=first))


def test_ends_are_means_of_a_tenth():
    values = [*range(10), *range(30, 40)]
    assert ends(curve(values)) == (0.5, 38.5)


def test_a_tenth_is_one_point_at_least():
    assert ends(curve([3.0, 9.0, 5.0])) == (3.0, 5.0)
    assert ends({20: 1.0, 0: 4.0}) == (4.0, 1.0)  # by step, whatever the order


@pytest.mark.parametrize("few", [{}, {3: 1.0}])
def test_less_than_two_points_have_no_ends(few):
    assert all(map(math.isnan, ends(few)))
    assert math.isnan(log_ratio(few))
    assert math.isnan(difference(few))


def test_changes_have_no_scale():
    small, large = curve([0.2, 0.3, 0.4]), curve([2000, 3000, 4000])
    assert log_ratio(small) == pytest.approx(log_ratio(large)) == pytest.approx(math.log(2))
    assert difference(small) == pytest.approx(0.2)


@pytest.mark.parametrize("values", [[0.0, 1.0], [1.0, 0.0], [-1.0, 1.0]])
def test_no_ratio_to_nothing(values):
    assert math.isnan(log_ratio(curve(values)))


def test_the_mean_over_seeds_is_a_t_interval():
    values = [0.3, 0.5, 0.1, 0.7]
    found = mean_over_seeds(values)
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx((0.4, reference.low, reference.high))


def test_the_gap_over_seeds_is_welchs():
    first, second = [0.3, 0.5, 0.1, 0.7], [1.0, 1.4, 0.3]
    found = gap_over_seeds(first, second)
    reference = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == pytest.approx((-0.5, reference.low, reference.high))


def test_one_seed_has_no_interval():
    assert math.isnan(mean_over_seeds([0.5]).low)
    assert math.isnan(gap_over_seeds([0.5], [0.1, 0.2]).high)
    assert gap_over_seeds([0.5], [0.1, 0.2]).value == pytest.approx(0.35)


def test_what_is_nan_at_one_seed_is_nan():
    assert math.isnan(mean_over_seeds([0.5, math.nan]).value)
    assert math.isnan(gap_over_seeds([0.5, 0.4], [0.1, math.nan]).low)


def test_equal_seeds_differ_by_nothing():
    found = gap_over_seeds([0.5, 0.5], [0.1, 0.1])
    assert (found.low, found.value, found.high) == (0.4, 0.4, 0.4)


@pytest.mark.slow
def test_coverage_over_three_seeds():
    """2,000 experiments of three seeds each: 95 % of the intervals hold the truth, of unequal spreads too."""
    rng = np.random.default_rng(0)
    single = [mean_over_seeds(rng.normal(0.2, 0.1, 3)) for _ in range(2000)]
    gaps = [gap_over_seeds(rng.normal(0.5, 0.1, 3), rng.normal(0.2, 0.1, 3)) for _ in range(2000)]
    assert np.mean([e.low < 0.2 < e.high for e in single]) == pytest.approx(0.95, abs=0.015)
    assert np.mean([e.low < 0.3 < e.high for e in gaps]) == pytest.approx(0.96, abs=0.02)


def test_validation_is_the_mean_of_counted_benchmarks_in_distribution():
    settings = {
        "benchmarks": {
            "a": {"distribution": "in"},
            "a2": {"distribution": "in", "counted": True},
            "b": {"distribution": "out"},
            "c": {"distribution": "in", "counted": False},
        }
    }
    records = [
        {"step": 0, "val/a/mean@4": 0.2, "val/a2/pass@1": 0.4, "val/b/mean@4": 0.9, "val/c/mean@4": 0.9},
        {"step": 5, "val/a/mean@4": 0.5},
        {"step": 10, "val/a/mean@4": 0.4, "val/a2/pass@1": 0.8},
    ]
    assert validation(records, settings) == {0: pytest.approx(0.3), 10: pytest.approx(0.6)}
    assert validation(records[1:2], settings) == {}
