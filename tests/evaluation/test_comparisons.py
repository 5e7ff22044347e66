import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from selfdistill.evaluation.comparisons import holm, mcnemar, wilson


def slow_holm(p_values: list[float]) -> list[float]:
    """The least alpha at which Holm's step-down procedure rejects each: from the smallest p, stop at the first kept."""
    members = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    for place, (_, index) in enumerate(members):
        needed = max((len(members) - earlier) * members[earlier][0] for earlier in range(place + 1))
        adjusted[index] = min(needed, 1.0)
    return adjusted


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8))
def test_holm_equals_the_procedure(p_values):
    np.testing.assert_allclose(holm(p_values), slow_holm(p_values))


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.02, math.nan]), [0.02, math.nan])
    assert holm([]).shape == (0,)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_mcnemar_equals_the_binomial_test_of_unlike_problems(pairs):
    first, second = np.array(pairs, dtype=int).T
    ours, theirs = sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)
    expected = stats.binomtest(ours, ours + theirs).pvalue if ours + theirs else 1
    assert mcnemar(first, second) == pytest.approx(expected)


@pytest.mark.parametrize("bad", [([0, 1], [0]), ([0, 2], [0, 1]), ([[0]], [[1]])])
def test_mcnemar_refuses_what_is_not_paired(bad):
    with pytest.raises(ValueError, match="same problems"):
        mcnemar(*map(np.array, bad)) if len(bad[0]) == len(bad[1]) else mcnemar(np.array(bad[0]), np.array(bad[1]))


@given(st.integers(1, 200), st.data(), st.sampled_from([0.8, 0.95]))
def test_wilson_equals_scipy(total, data, level):
    correct = data.draw(st.integers(0, total))
    expected = stats.binomtest(correct, total).proportion_ci(level, method="wilson")
    found = wilson(correct, total, level)
    assert found.value == correct / total
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("correct", "total"), [(1, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_share(correct, total):
    with pytest.raises(ValueError, match="no share"):
        wilson(correct, total)
