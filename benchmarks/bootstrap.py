"""The hierarchical bootstrap over seeds, problems and draws: a check of `estimators` that assumes no distribution.

Percentile intervals of a few seeds are too narrow, since three seeds drawn from three say little of a fourth: the
tables use `estimators`. docs/statistics.md has the measured coverage of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfdistill.evaluation.estimators import LEVEL, PROBLEMS, Estimate, scores_by_count, scores_by_seed
from selfdistill.randomness import generator

RESAMPLES = 2000

#: Scores drawn at once; 8 bytes each.
_AT_ONCE = 2**21


@dataclass(frozen=True)
class Resampling:
    """How seeds, problems and draws are resampled.

    Attributes:
        problems: "sampled" or "fixed", see `replicates`.
        resamples: how many.
        seed: of the randomness.
    """

    problems: str = "sampled"
    resamples: int = RESAMPLES
    seed: int = 0


def bootstrap_interval(correct: Sequence[np.ndarray], metric: str, how: Resampling = Resampling()) -> Estimate:
    """Macro average of a metric over benchmarks with its percentile interval; correct, metric: see `replicates`."""
    found = replicates(correct, metric, problems=how.problems, resamples=how.resamples, key=(how.seed, "bootstrap", 0))
    return _percentiles(_macro_average(correct, metric), found)


def bootstrap_difference(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], metric: str, how: Resampling = Resampling()
) -> Estimate:
    """Macro average of `first` minus that of `second` with its percentile interval.

    The same problems are drawn for both; seeds and draws are each one's own, and their numbers may differ.
    """
    ours, theirs = (
        replicates(
            side,
            metric,
            problems=how.problems,
            resamples=how.resamples,
            key=(how.seed, "bootstrap", number),
            problem_key=(how.seed, "bootstrap problems"),
        )
        for number, side in enumerate((first, second))
    )
    return _percentiles(_macro_average(first, metric) - _macro_average(second, metric), ours - theirs)


def replicates(
    correct: Sequence[np.ndarray],
    metric: str,
    *,
    problems: str,
    resamples: int,
    key: tuple[int | str, ...],
    problem_key: tuple[int | str, ...] | None = None,
) -> np.ndarray:
    """Macro averages of resampled draws, [resamples].

    correct: 0/1 arrays [S x] P x D, one a benchmark, of the same S seeds. A resample draws S seeds with replacement
    (the same ones for all benchmarks), P problems of each ("fixed": takes each once), and D draws of each of its
    problems in each of its seeds. One seed, one draw: nothing to draw from on that level.
    key, problem_key: of the randomness; resamples with equal problem keys and equal P draw the same problems.
    """
    if problems not in PROBLEMS:
        raise ValueError(f"problems is {problems!r}: expected one of {', '.join(PROBLEMS)}")
    arrays = [np.asarray(c, dtype=np.int64) for c in correct]
    arrays = [a[None] if a.ndim == 2 else a for a in arrays]
    seeds = len(arrays[0])
    drawn_seeds = generator(*key, "seeds").integers(seeds, size=(resamples, seeds))
    found = np.zeros(resamples)
    for place, array in enumerate(arrays):
        count, draws = array.shape[1:]
        right = array.sum(axis=2)
        scores = scores_by_count(draws, metric)
        rng = generator(*(problem_key or key), "problems", place)
        rows = rng.integers(count, size=(resamples, count)) if problems == "sampled" else np.arange(count)[None]
        chances = generator(*key, "draws", place)
        chunk = max(1, _AT_ONCE // (seeds * count))
        for start in range(0, resamples, chunk):
            part = slice(start, min(start + chunk, resamples))
            columns = rows[part] if problems == "sampled" else rows
            picked = right[drawn_seeds[part][:, :, None], columns[:, None, :]]
            if draws > 1:
                picked = chances.binomial(draws, picked / draws)
            found[part] += scores[picked].mean(axis=(1, 2))
    return found / len(arrays)


def _macro_average(correct: Sequence[np.ndarray], metric: str) -> float:
    return float(np.mean([scores_by_seed(c, metric).mean() for c in correct]))


def _percentiles(value: float, found: np.ndarray) -> Estimate:
    low, high = np.quantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))
