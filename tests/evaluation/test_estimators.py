import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfdistill.evaluation.estimators import score_variances, scores_by_seed
from selfdistill.randomness import generator

matrices = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.bool_, shape)
)


def slow_pass_at_k(draws: list[int], k: int) -> float:
    """Share of the subsets of k draws that hold a correct one."""
    subsets = list(itertools.combinations(draws, k))
    return sum(any(subset) for subset in subsets) / len(subsets)


@given(matrices, st.integers(1, 6))
def test_pass_at_k_counts_subsets(correct, k):
    if k > correct.shape[2]:
        with pytest.raises(ValueError, match=f"at least {k} draws"):
            scores_by_seed(correct, f"pass@{k}")
        return
    expected = [[slow_pass_at_k(list(problem), k) for problem in seed] for seed in correct]
    np.testing.assert_allclose(scores_by_seed(correct, f"pass@{k}"), expected)


@given(matrices)
def test_pass_at_k_grows_with_k(correct):
    rising = [scores_by_seed(correct, f"pass@{k}").mean() for k in range(1, correct.shape[2] + 1)]
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(rising))


def test_pass_at_k_is_unbiased():
    chance, draws, k = 0.2, 8, 4
    correct = generator("unbiased").random((100_000, draws)) < chance
    assert scores_by_seed(correct, f"pass@{k}").mean() == pytest.approx(1 - (1 - chance) ** k, abs=0.005)
    plugged_in = (1 - (1 - correct.mean(axis=1)) ** k).mean()
    assert abs(plugged_in - (1 - (1 - chance) ** k)) > 0.02  # the naive estimator is visibly off


def test_score_by_name():
    correct = np.array([[1, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(scores_by_seed(correct, "mean@3"), [[1 / 3, 1]])
    np.testing.assert_allclose(scores_by_seed(correct, "pass@2"), [[2 / 3, 1]])
    with pytest.raises(ValueError, match="exactly 12 draws"):
        scores_by_seed(correct, "mean@12")
    with pytest.raises(ValueError, match="unknown metric 'best@3'"):
        scores_by_seed(correct, "best@3")


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 4)), np.full((2, 2), 2), np.full((2, 2), 0.5)])
def test_what_is_no_matrix_of_draws_is_refused(bad):
    with pytest.raises(ValueError, match=r"matrix"):
        scores_by_seed(bad, "pass@1")


@given(matrices)
def test_scores_by_seed_are_each_seeds_own(correct):
    draws = correct.shape[2]
    by_seed = scores_by_seed(correct, f"mean@{draws}")
    for seed in range(correct.shape[0]):
        np.testing.assert_allclose(by_seed[seed], [np.mean([bool(x) for x in row]) for row in correct[seed]])
        np.testing.assert_allclose(by_seed[seed], scores_by_seed(correct[seed], "pass@1")[0])


@given(matrices, st.integers(1, 5))
def test_score_variances_equal_a_slow_jackknife(correct, k):
    seeds, problems, draws = correct.shape
    found = score_variances(correct, f"pass@{k}") if k <= draws else None
    if found is None:
        with pytest.raises(ValueError, match=f"at least {k} draws"):
            score_variances(correct, f"pass@{k}")
        return
    for seed, problem in itertools.product(range(seeds), range(problems)):
        row = list(correct[seed, problem])
        if k == draws:
            assert np.isnan(found[seed, problem])
            continue
        without = [slow_pass_at_k(row[:d] + row[d + 1 :], k) for d in range(draws)]
        jackknife = (draws - 1) / draws * sum((w - np.mean(without)) ** 2 for w in without)
        assert found[seed, problem] == pytest.approx(jackknife, abs=1e-12)


def test_score_variance_of_a_mean_is_unbiased():
    chance, draws = 0.3, 4
    correct = generator("variances").random((100_000, draws)) < chance
    expected = chance * (1 - chance) / draws
    assert score_variances(correct, f"mean@{draws}").mean() == pytest.approx(expected, rel=0.01)
