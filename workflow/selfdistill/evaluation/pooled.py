"""Compares two methods over several blocks (a task and a model each), and estimates how often one run beats another.

A block has its own runs. Blocks of one task have the same problems, whatever the model: what makes a problem favour a
method may do so for every model, so the gaps of one task's blocks are averaged problem by problem before their spread
is taken, and only blocks of different tasks count as independent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selfdistill.evaluation.estimators import (
    Clusters,
    Difference,
    Estimate,
    difference_of,
    share_of,
    terms_of_seeds,
    with_seeds,
)
from selfdistill.evaluation.variance import Z2, Term, by_cluster, gap_terms, softened, softened_mean, total


@dataclass(frozen=True)
class Block:
    """Two methods' scores in one block.

    Attributes:
        problems: names of what the blocks that share problems share: equal names, equal problems in equal order.
        first, second: for each benchmark scores [S, P] of S seeds.
        trained: whether each side's runs were trained.
        clusters: as in `estimators.interval`.
    """

    problems: str
    first: Sequence[np.ndarray]
    second: Sequence[np.ndarray]
    trained: tuple[bool, bool] = (True, True)
    clusters: Clusters = None


def pooled_difference(blocks: Sequence[Block]) -> Difference:
    """Return the mean over blocks of the macro averages of `first` minus those of `second`, problems sampled.

    Of one block it is `estimators.paired_difference`.
    """
    gaps, problems, seeds = [], [], []
    for name in dict.fromkeys(block.problems for block in blocks):
        alike = [block for block in blocks if block.problems == name]
        pairs = [zip(block.first, block.second, strict=True) for block in alike]
        by_block = [[a.mean(axis=0) - b.mean(axis=0) for a, b in pair] for pair in pairs]
        together = [np.mean(same, axis=0) for same in zip(*by_block, strict=True)]
        share = len(alike) / len(blocks)
        units = [by_cluster(*pair) for pair in zip(together, alike[0].clusters or [None] * len(together), strict=True)]
        problems += [Term(share**2 * term.value, term.freedom) for term in gap_terms(units)]
        gaps.append(share * np.mean([gap.mean() for gap in together]))
    for block in blocks:
        terms = terms_of_seeds((block.first, block.second), block.trained)
        seeds += [Term(term.value / len(blocks) ** 2, term.freedom) for term in terms]
    return difference_of(float(np.sum(gaps)), with_seeds(problems, seeds))


def improvement(blocks: Sequence[Block]) -> Estimate:
    """The chance that a run of `first` does better than one of `second`, on a benchmark of a block picked at random.

    The probability of improvement of Agarwal et al. 2021 (arXiv 2108.13264): in each block and benchmark the share of
    pairs of runs in which the first has the higher accuracy, ties counting half (Mann and Whitney's U over S x S').
    The interval speaks of other runs on these problems: the variance of each run's own share (DeLong et al. 1988), a
    run having one for all benchmarks of its block. It has Wilson's form and allows for as many unseen runs as
    `variance.softened` does; nan where a trained side has one seed.
    """
    values, terms, known, pairs = [], [], True, 0
    for block in blocks:
        ours, theirs = (np.array([scores.mean(axis=1) for scores in side]) for side in (block.first, block.second))
        gaps = ours[:, :, None] - theirs[:, None, :]  # [benchmarks, S, S']
        better = np.where(np.abs(gaps) < 1e-12, 0.5, gaps > 0).mean(axis=0)
        values.append(better.mean())
        for axis, trained in zip((1, 0), block.trained, strict=True):
            own, count = better.mean(axis=axis), better.shape[1 - axis]
            if trained and count > 1:
                terms.append(Term(own.var(ddof=1) / count / len(blocks) ** 2, count - 1))
            known &= count > 1 or not trained
        pairs += min(
            (n for n, trained in zip(better.shape, block.trained, strict=True) if trained), default=better.shape[0]
        )
    value = float(np.mean(values))
    if not known:
        return Estimate(value, math.nan, math.nan)
    spread = total(terms)
    freedom = min(spread.freedom, sum(term.freedom for term in terms))  # runs that never differ tell no more
    variance = softened(pairs * spread.value, pairs, value, Z2) / pairs
    return share_of(value, softened_mean(pairs, value, Z2), Term(variance, freedom))


def rank_intervals(values: Sequence[float], apart: np.ndarray) -> list[tuple[int, int, int]]:
    """Place, and first and last place that it may really have, of each of V methods; the best is 1.

    apart: [V, V], which of them are told apart, at a family-wise rate over all pairs: then all intervals hold at once
    at that rate (Mogstad et al. 2024, Review of Economic Studies 91). A method's place is at least one more than the
    methods that are told to be better, and at most V less those that are told to be worse.
    """
    numbers = np.asarray(values, dtype=np.float64)
    found = []
    for place, value in enumerate(numbers):
        better, worse = (int((apart[place] & side).sum()) for side in (numbers > value, numbers < value))
        found.append((1 + int((numbers > value).sum()), 1 + better, len(numbers) - worse))
    return found
