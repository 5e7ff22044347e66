import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from selfdistill.evaluation.estimators import difference_variances, observations, score_variances, scores_by_seed
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


@given(matrices, st.integers(1, 5), st.booleans())
def test_variances_equal_a_slow_jackknife(correct, k, of_difference):
    """Of one method's scores, and of the difference to another's whose draws are left out in pairs."""
    seeds, problems, draws = correct.shape
    metric, other = f"pass@{k}", correct[:, :, ::-1] if of_difference else np.zeros_like(correct)

    def estimate():
        return difference_variances(correct, other, metric) if of_difference else score_variances(correct, metric)

    if k > draws:
        with pytest.raises(ValueError, match=f"at least {k} draws"):
            estimate()
        return
    found = estimate()
    for seed, problem in itertools.product(range(seeds), range(problems)):
        ours, theirs = list(correct[seed, problem]), list(other[seed, problem])
        if k == draws:
            assert np.isnan(found[seed, problem])
            continue
        without = [
            slow_pass_at_k(ours[:d] + ours[d + 1 :], k) - slow_pass_at_k(theirs[:d] + theirs[d + 1 :], k)
            for d in range(draws)
        ]
        jackknife = (draws - 1) / draws * sum((w - np.mean(without)) ** 2 for w in without)
        assert found[seed, problem] == pytest.approx(jackknife, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "draws", "chance", "bias"),
    [("mean@4", 4, 0.3, 0.0), ("pass@1", 12, 0.05, 0.0), ("pass@11", 12, 0.05, 0.31), ("pass@3", 4, 0.3, 0.56)],
)
def test_the_jackknife_of_a_mean_is_unbiased_and_of_pass_at_k_too_large(metric, draws, chance, bias):
    """Expectations by enumeration: every number of correct draws, weighed by its chance."""
    counts = np.arange(draws + 1)
    weights = stats.binom.pmf(counts, draws, chance)
    every = counts[:, None] > np.arange(draws)  # [draws + 1 problems, draws]
    scores, variances = scores_by_seed(every, metric)[0], score_variances(every, metric)[0]
    true = weights @ scores**2 - (weights @ scores) ** 2
    assert weights @ variances / true - 1 == pytest.approx(bias, abs=0.005)


def test_pairs_of_draws_that_agree_do_not_vary_and_independent_ones_as_both_sides_do():
    rng = generator("pairs of draws")
    first, second = (rng.random((40_000, 4)) < chance for chance in (0.3, 0.6))
    assert (difference_variances(first, first, "mean@4") == 0).all()
    both = score_variances(first, "mean@4").mean() + score_variances(second, "mean@4").mean()
    assert difference_variances(first, second, "mean@4").mean() == pytest.approx(both, rel=0.02)
    with pytest.raises(ValueError, match="in pairs"):
        difference_variances(first, second[:, :3], "pass@1")


def test_a_score_stands_for_as_many_answers_as_it_is_made_of():
    assert [observations(12, metric) for metric in ("mean@12", "pass@1", "pass@5", "pass@12")] == [12, 12, 2, 1]
