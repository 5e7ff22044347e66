import math

import numpy as np
import pytest

from selfdistill.reporting.claims.intervals import over_seeds
from selfdistill.reporting.read.curves import ends, falls, validation


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
    assert np.mean([over_seeds(values).bounds()[1] < 0 for values in found]) < 0.06


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
