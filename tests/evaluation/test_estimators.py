import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfdistill.evaluation.estimators import (
    accuracy_by_problem,
    interval,
    mean_accuracy,
    paired_difference,
    pass_at_k,
    pass_at_k_by_problem,
    score_by_problem,
)
from selfdistill.randomness import generator

matrices = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.bool_, shape)
)
score_vectors = st.lists(st.floats(0, 1), min_size=1, max_size=8).map(np.array)


def slow_pass_at_k(draws: list[int], k: int) -> float:
    """Share of the subsets of k draws that hold a correct one."""
    subsets = list(itertools.combinations(draws, k))
    return sum(any(subset) for subset in subsets) / len(subsets)


@given(matrices)
def test_accuracy_is_the_mean_over_seeds_and_draws_of_each_problem(correct):
    expected = []
    for problem in range(correct.shape[1]):
        cells = [bool(x) for seed in correct for x in seed[problem]]
        expected.append(sum(cells) / len(cells))
    np.testing.assert_allclose(accuracy_by_problem(correct), expected)
    assert mean_accuracy(correct) == pytest.approx(sum(expected) / len(expected))


@given(matrices, st.integers(1, 6))
def test_pass_at_k_counts_subsets(correct, k):
    draws = correct.shape[2]
    if k > draws:
        with pytest.raises(ValueError, match="draws"):
            pass_at_k_by_problem(correct, k)
        return
    expected = [
        np.mean([slow_pass_at_k(list(seed[problem]), k) for seed in correct]) for problem in range(correct.shape[1])
    ]
    np.testing.assert_allclose(pass_at_k_by_problem(correct, k), expected)
    assert pass_at_k(correct, k) == pytest.approx(np.mean(expected))


@given(matrices)
def test_pass_at_one_is_the_accuracy_and_pass_at_k_grows(correct):
    rising = [pass_at_k(correct, k) for k in range(1, correct.shape[2] + 1)]
    assert rising[0] == pytest.approx(mean_accuracy(correct))
    assert all(b >= a - 1e-12 for a, b in itertools.pairwise(rising))


def test_pass_at_k_is_unbiased():
    chance, draws, k = 0.2, 8, 4
    correct = generator("unbiased").random((100_000, draws)) < chance
    assert pass_at_k(correct, k) == pytest.approx(1 - (1 - chance) ** k, abs=0.005)
    plugged_in = (1 - (1 - correct.mean(axis=1)) ** k).mean()
    assert abs(plugged_in - (1 - (1 - chance) ** k)) > 0.02  # the naive estimator is visibly off


def test_score_by_name():
    correct = np.array([[1, 0, 0], [1, 1, 1]])
    np.testing.assert_allclose(score_by_problem(correct, "mean@3"), [1 / 3, 1])
    np.testing.assert_allclose(score_by_problem(correct, "pass@2"), [2 / 3, 1])
    with pytest.raises(ValueError, match="exactly 12 draws"):
        score_by_problem(correct, "mean@12")
    with pytest.raises(ValueError, match="unknown metric 'best@3'"):
        score_by_problem(correct, "best@3")


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 4)), np.full((2, 2), 2), np.full((2, 2), 0.5)])
def test_what_is_no_matrix_of_draws_is_refused(bad):
    with pytest.raises(ValueError, match=r"matrix"):
        accuracy_by_problem(bad)


def test_interval_equals_a_slow_bootstrap():
    benchmarks = [np.array([0, 0.25, 1, 1]), np.array([0.5, 0.75, 0])]
    estimate = interval(benchmarks, resamples=500, seed=3)
    rngs = [generator(3, "bootstrap", position) for position in range(2)]
    picks = [rng.integers(len(scores), size=(500, len(scores))) for rng, scores in zip(rngs, benchmarks, strict=True)]
    macro = []
    for replicate in range(500):
        means = []
        for rows, scores in zip(picks, benchmarks, strict=True):
            means.append(sum(scores[row] for row in rows[replicate]) / len(scores))
        macro.append(sum(means) / 2)
    assert estimate.value == pytest.approx((0.5625 + 1.25 / 3) / 2)
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(macro, [0.025, 0.975])))


@settings(max_examples=50, deadline=None)
@given(st.lists(score_vectors, min_size=1, max_size=3), st.integers(0, 5))
def test_interval_holds_the_value_lies_in_range_and_repeats(benchmarks, seed):
    first = interval(benchmarks, resamples=400, seed=seed)
    assert -1e-9 <= first.low <= first.value + 1e-9
    assert first.value - 1e-9 <= first.high <= 1 + 1e-9
    assert first == interval(benchmarks, resamples=400, seed=seed)


def test_interval_is_wider_for_draws_that_agree_within_a_problem():
    rng = generator("clusters")
    split = np.repeat(rng.random((50, 1)) < 0.5, 12, axis=1)  # every problem all right or all wrong
    mixed = rng.permutation(split.ravel()).reshape(split.shape)
    clustered, spread = interval([split.mean(axis=1)]), interval([mixed.mean(axis=1)])
    assert clustered.value == pytest.approx(spread.value)
    assert clustered.high - clustered.low > 2.5 * (spread.high - spread.low)


def test_no_variation_is_not_certainty():
    perfect = interval([np.ones(100)])
    assert (perfect.value, perfect.high) == (1, 1)
    assert perfect.low == pytest.approx(100 / (100 + 1.959964**2))  # Wilson's interval for 100 of 100
    assert interval([np.zeros(100)]).high == pytest.approx(1 - perfect.low)
    pooled = interval([np.ones(50), np.ones(50)])
    assert pooled.low == pytest.approx(perfect.low)
    tied = paired_difference([np.ones(100)], [np.ones(100)])
    assert tied.low == pytest.approx(-tied.high)
    assert tied.high > 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=10))
def test_paired_difference_changes_sign_with_its_order(pairs):
    first, second = np.array(pairs).T
    ahead = paired_difference([first], [second], resamples=400)
    behind = paired_difference([second], [first], resamples=400)
    assert ahead.value == pytest.approx(first.mean() - second.mean())
    assert (ahead.value, ahead.low, ahead.high) == pytest.approx((-behind.value, -behind.high, -behind.low))


def test_pairing_removes_what_problems_share():
    rng = generator("pairs")
    base = rng.random(80)
    better = np.clip(base + 0.05 + 0.02 * rng.standard_normal(80), 0, 1)
    paired = paired_difference([better], [base])
    assert paired.low > 0
    alone = interval([better])
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)


def test_what_does_not_pair_is_refused():
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([np.ones(3)], [np.ones(4)])
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([np.ones(3)], [np.ones(3), np.ones(3)])
    for bad in ([], [np.ones((2, 2))], [np.array([])]):
        with pytest.raises(ValueError, match="list of benchmarks"):
            interval(bad)
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval([np.array([50.0])])


def _draws_with_hard_and_easy_problems(rng: np.random.Generator, problems: int, draws: int) -> np.ndarray:
    """Draws of mean 0.7 with 0.6 of p(1 - p) between problems: a beta with a + b = 1 / 0.6 - 1."""
    total = 1 / 0.6 - 1
    chances = rng.beta(0.7 * total, 0.3 * total, size=(problems, 1))
    return rng.random((problems, draws)) < chances


def test_coverage_of_the_interval_by_problem():
    """Nominal 95 %, measured with new problems each time; the interval that takes draws as independent fails."""
    covered = {30: 0, 100: 0}
    naive = dict.fromkeys(covered, 0)
    trials = 500
    for problems in covered:
        for trial in range(trials):
            correct = _draws_with_hard_and_easy_problems(generator("coverage", problems, trial), problems, 12)
            estimate = interval([accuracy_by_problem(correct)], resamples=1000, seed=trial)
            covered[problems] += estimate.low <= 0.7 <= estimate.high
            margin = 1.96 * np.sqrt(correct.mean() * (1 - correct.mean()) / correct.size)
            naive[problems] += abs(correct.mean() - 0.7) <= margin
    shares = {problems: count / trials for problems, count in covered.items()}
    print("coverage by problem", shares, "with draws as independent", {p: n / trials for p, n in naive.items()})
    assert 0.89 <= shares[30] <= 0.97
    assert 0.92 <= shares[100] <= 0.98
    assert max(naive.values()) / trials < 0.70


def test_coverage_of_the_macro_average_and_of_the_paired_difference():
    trials, macro, paired = 400, 0, 0
    for trial in range(trials):
        rng = generator("macro coverage", trial)
        scores = [accuracy_by_problem(_draws_with_hard_and_easy_problems(rng, p, 12)) for p in (83, 30, 30)]
        estimate = interval(scores, resamples=800, seed=trial)
        macro += estimate.low <= 0.7 <= estimate.high
        chances = rng.uniform(0.1, 0.8, size=(60, 1))
        ours = rng.random((60, 12)) < chances + 0.1
        theirs = rng.random((60, 12)) < chances
        difference = paired_difference(
            [accuracy_by_problem(ours)], [accuracy_by_problem(theirs)], resamples=800, seed=trial
        )
        paired += difference.low <= 0.1 <= difference.high
    print("coverage of a macro average", macro / trials, "of a paired difference", paired / trials)
    assert 0.90 <= macro / trials <= 0.98
    assert 0.90 <= paired / trials <= 0.98
