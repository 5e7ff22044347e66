import math

import numpy as np
import pytest
from scipy import stats

from selfdistill.reporting.read.curves import ends, falls, gap_over_seeds, log_ratio, mean_over_seeds, validation


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


def test_changes_have_no_scale():
    small, large = curve([0.2, 0.3, 0.4]), curve([2000, 3000, 4000])
    assert log_ratio(small) == pytest.approx(log_ratio(large)) == pytest.approx(math.log(2))


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


@pytest.mark.parametrize("values", [[0.0] * 3, [0.1] * 3, [0.7] * 2])
def test_seeds_that_are_all_alike_have_no_interval(values):
    """A reward of 0 throughout, or lengths at the cap, say nothing of how seeds differ; nor does one such side."""
    found = mean_over_seeds(values)
    assert (found.value, math.isnan(found.low), math.isnan(found.high)) == (pytest.approx(values[0]), True, True)
    for first, second in ((values, values), (values, [0.1, 0.2]), ([0.1, 0.2], values)):
        found = gap_over_seeds(first, second)
        assert found.value == pytest.approx(np.mean(first) - np.mean(second))
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def tenths(*values):
    """A curve of forty points, four to each tenth."""
    return curve(np.repeat(values, 4))


RISE = (0.5, 0.6, 0.7, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9)


def test_a_rise_that_collapses_is_a_fall():
    """0.5 -> 0.9 -> 0.55 ends above its beginning."""
    assert falls([tenths(*RISE, 0.55)] * 3) == pytest.approx([-0.35] * 3)
    assert falls([tenths(*RISE, 0.9)] * 3) == pytest.approx([0.0] * 3)
    assert falls([tenths(*np.linspace(0.1, 1.0, 10))] * 3) == pytest.approx([0.1] * 3)
    assert falls([tenths(*np.linspace(1.0, 0.1, 10))] * 3) == pytest.approx([-0.9] * 3)


def test_the_best_tenth_is_that_of_the_other_seeds():
    first, second = np.full(10, 0.5), np.full(10, 0.5)
    first[2], second[6] = 0.9, 0.8
    first[6], second[2] = 0.4, 0.3
    assert falls([tenths(*first), tenths(*second)]) == pytest.approx([0.5 - 0.4, 0.5 - 0.3])
    assert falls([tenths(*first)]) == pytest.approx([0.5 - 0.9])


def test_few_points_have_fewer_parts():
    short, long = curve([0.2, 0.6, 0.8, 0.4]), tenths(*RISE, 0.5)
    assert falls([short, short]) == pytest.approx([-0.4] * 2)
    assert falls([short, long]) == pytest.approx([-0.4, -0.4])  # thirds: the last of both is the best
    assert falls([{9: 0.1, 1: 0.6}] * 2) == pytest.approx([-0.5] * 2)


@pytest.mark.parametrize("rise", [0.0, 0.4])
def test_noise_is_no_fall(rise):
    """Flat, or risen to a plateau: no bias, few intervals of three seeds below 0 (by each seed's own best 26, 14 %)."""
    rng, truth = np.random.default_rng(0), np.minimum(np.arange(10) / 5, 1) * rise
    found = [falls([curve(truth + 0.02 * rng.normal(size=10)) for _ in range(3)]) for _ in range(1000)]
    assert np.mean(found) == pytest.approx(0, abs=0.002)
    assert np.mean([mean_over_seeds(values).high < 0 for values in found]) < 0.06


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


def test_validation_takes_one_of_several_metrics():
    both = [{"step": 0, "val/a/pass@1": 0.2, "val/a/mean@4": 0.6}, {"step": 5, "val/a/mean@4": 0.8}]
    assert validation(both, {"benchmarks": {"a": {"distribution": "in"}}}) == {0: 0.6, 5: 0.8}
