import numpy as np
import pytest
from benchmark_scripts import load

from selfdistill.evaluation.estimators import scores_by_seed
from selfdistill.randomness import generator

bootstrap = load("bootstrap")
Resampling, replicates = bootstrap.Resampling, bootstrap.replicates
bootstrap_difference, bootstrap_interval = bootstrap.bootstrap_difference, bootstrap.bootstrap_interval


def made_up(*shape: int, key: str = "bootstrap", mean: float = 0.7) -> np.ndarray:
    """0/1 draws [S x] P x D of problems that are hard and easy."""
    rng = generator(key, *shape)
    chances = rng.beta(2 * mean, 2 * (1 - mean), size=(shape[-2], 1))
    return rng.random(shape) < chances


def slow_replicates(correct, metric, problems, resamples, key, problem_key):
    """The same resample by resample and cell by cell, from the same streams."""
    seeds = len(correct[0])
    drawn_seeds = generator(*key, "seeds").integers(seeds, size=(resamples, seeds))
    found = []
    rows = [
        generator(*problem_key, "problems", b).integers(c.shape[1], size=(resamples, c.shape[1]))
        for b, c in enumerate(correct)
    ]
    chances = [generator(*key, "draws", b) for b in range(len(correct))]
    for resample in range(resamples):
        macro = []
        for b, benchmark in enumerate(correct):
            count, draws = benchmark.shape[1:]
            picked = rows[b][resample] if problems == "sampled" else range(count)
            scores = []
            for s in drawn_seeds[resample]:
                for p in picked:
                    right = benchmark[s, p].sum()
                    right = chances[b].binomial(draws, right / draws) if draws > 1 else right
                    redrawn = np.arange(draws) < right
                    scores.append(scores_by_seed(redrawn[None], metric)[0, 0])
            macro.append(np.mean(scores))
        found.append(np.mean(macro))
    return found


@pytest.mark.parametrize("problems", ["sampled", "fixed"])
@pytest.mark.parametrize(
    ("shapes", "metric"), [([(3, 6, 4), (3, 5, 4)], "mean@4"), ([(2, 6, 5)], "pass@3"), ([(1, 7, 1)], "pass@1")]
)
def test_replicates_equal_plain_loops_in_chunks_of_any_size(problems, shapes, metric, monkeypatch):
    correct = [made_up(*shape) for shape in shapes]
    given = {"problems": problems, "resamples": 25, "key": (0, "a"), "problem_key": (0, "b")}
    expected = slow_replicates(correct, metric, problems, 25, (0, "a"), (0, "b"))
    np.testing.assert_allclose(replicates(correct, metric, **given), expected)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 40)
    np.testing.assert_allclose(replicates(correct, metric, **given), expected)


def test_the_interval_is_that_of_the_replicates_and_repeats():
    correct = [made_up(3, 20, 12)]
    found = bootstrap_interval(correct, "mean@12", Resampling(resamples=400, seed=5))
    again = replicates(correct, "mean@12", problems="sampled", resamples=400, key=(5, "bootstrap", 0))
    assert found.value == pytest.approx(correct[0].mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(again, [0.025, 0.975])))
    assert found == bootstrap_interval(correct, "mean@12", Resampling(resamples=400, seed=5))
    assert found != bootstrap_interval(correct, "mean@12", Resampling(resamples=400, seed=6))


def test_each_level_adds_its_share_of_the_variance():
    """Against the variances that resampling must have, level by level."""
    correct = made_up(4, 40, 6)
    shares = correct.mean(axis=2)
    within = (shares * (1 - shares)).mean() / 6

    def spread(draws, problems):
        return replicates([draws], f"mean@{draws.shape[2]}", problems=problems, resamples=6000, key=(0,)).var()

    one_seed = correct[:1]
    drawn = (shares[0] * (1 - shares[0])).mean() / 6 / 40
    assert spread(one_seed, "fixed") == pytest.approx(drawn, rel=0.1)
    # A resampled problem's draws are drawn again, with the chances of the problem that was picked.
    assert spread(one_seed, "sampled") == pytest.approx(drawn + shares[0].var() / 40, rel=0.1)
    assert spread(correct, "fixed") == pytest.approx(within / 160 + shares.mean(axis=1).var() / 4, rel=0.1)
    assert spread(correct[:, :, :1], "fixed") == pytest.approx(correct[:, :, 0].mean(axis=1).var() / 4, rel=0.1)


def test_differences_pair_problems_and_nothing_else():
    base = made_up(1, 60, 12)
    shared = bootstrap_difference([base], [base], "mean@12", Resampling(resamples=1500))
    assert shared.value == 0
    # Two methods that are right on the same problems: only the draws, drawn for each, are left.
    shares = base.mean(axis=2)
    draws_alone = 2 * 1.96 * np.sqrt(2 * (shares * (1 - shares)).mean() / 12 / 60)
    assert shared.high - shared.low == pytest.approx(draws_alone, rel=0.15)
    other = base[:, generator("turn").permutation(60)]
    unpaired = bootstrap_difference([base], [other], "mean@12", Resampling(resamples=1500))
    assert unpaired.high - unpaired.low > 1.5 * (shared.high - shared.low)


def test_methods_may_have_different_numbers_of_seeds():
    three, one = made_up(3, 30, 4), made_up(1, 30, 4, key="other")
    found = bootstrap_difference([three], [one], "mean@4", Resampling(resamples=200))
    assert found.value == pytest.approx(three.mean() - one.mean())
    assert found.low < found.value < found.high


def test_another_word_for_problems_is_refused():
    with pytest.raises(ValueError, match="problems is 'some'"):
        bootstrap_interval([made_up(3, 4, 2)], "mean@2", Resampling(problems="some"))
