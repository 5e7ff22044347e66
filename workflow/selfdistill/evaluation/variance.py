"""Splits the variance of a macro average, from scores of S seeds on P problems of each of B benchmarks.

The model is two-way: score[s, p] = mean + seed[s] + problem[p] + rest[s, p], where the rest holds the draws' chance and
what a seed does to single problems. A seed's effect is shared by all benchmarks of its run, problems belong to one
benchmark. The macro average of the seeds' means then has the variance

    Var(seeds' macro averages) / S  +  sum_b Var(problems' means over seeds) / P_b / B^2  -  rest,

    rest = sum_b Var(rest) / (S P_b) / B^2:

the rest is in both the first and the second term and must count once (Searle, Casella and McCulloch, Variance
Components, 1992, chapter 4, for the two-way crossed design with one observation a cell). Each term has degrees of
freedom, and their sum those of Satterthwaite (1946).

What few problems or draws show of a variance is too little where nearly all of them are alike: at 98 % of 100 problems
an interval made of it alone holds the truth in 89 of 100 studies. Two things are added, of Z2 = 1.96^2 units in all,
shared equally by the benchmarks of an average. A level is taken to have Z2 more problems (or draws, with the problems
fixed), half of them right and half wrong (`softened`), as Agresti and Coull (1998) do with counts. A difference is
widened where its problems speak for one side only, and is never taken for more certain than Z2 unseen problems that
one method alone solves allow (`gap_terms`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

#: Unseen problems or draws that are allowed for: the square of the normal quantile of a 95 % interval.
Z2 = NormalDist().inv_cdf(0.975) ** 2
#: Of a difference: how much skewness counts, and how much differences in both directions count against unseen ones.
#: Measured (docs/statistics.md): with less, rare gains of one method are not covered; with more, all others widen.
_SKEW, _BOTH = 2.0, 4.0


@dataclass(frozen=True)
class Term:
    """One estimated term of a variance, with its sign, and its degrees of freedom."""

    value: float
    freedom: float


def total(terms: Sequence[Term]) -> Term:
    """Return the sum of independent terms, with Satterthwaite's degrees of freedom (inf for a sum of zero).

    A sum of positive terms never has fewer than its least certain one; nor has one that takes some away again.
    """
    value = sum(term.value for term in terms)
    spread = sum(term.value**2 / term.freedom for term in terms)
    if not spread > 0:
        return Term(value, np.inf)
    return Term(value, max(value**2 / spread, min(term.freedom for term in terms if term.value > 0)))


def by_cluster(values: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """Return one value for each cluster of problems, [P] -> [C], with the same mean: the unit that others are drawn in.

    Variants of one problem are no independent ones. A cluster's value is the mean and, scaled by C / P, the sum of its
    problems' distances from it: the variance of the values over C is the cluster-robust one (Liang and Zeger 1986).
    clusters: a number for each problem; None: each is its own.
    """
    if clusters is None:
        return values
    _, place = np.unique(clusters, return_inverse=True)
    sums = np.bincount(place, weights=values - values.mean())
    return values.mean() + sums * len(sums) / len(values)


def problem_terms(scores: Sequence[np.ndarray]) -> list[Term]:
    """Returns what sampling problems adds: a term for each benchmark, from means over seeds [P_b] (or `by_cluster`).

    One problem says nothing of others: nan.
    """
    terms, share = [], Z2 / len(scores)
    for means in scores:
        count = len(means)
        spread = softened(means.var(ddof=1), count, means.mean(), share) if count > 1 else np.nan
        terms.append(_of_problems(spread / count, count, len(scores)))
    return terms


def gap_terms(gaps: Sequence[np.ndarray]) -> list[Term]:
    """Returns `problem_terms` of differences of two methods' means: gaps [P_b] in [-1, 1], one array a benchmark.

    The variance of the mean gap is s^2 / P times 1 + 2 g^2, with the skewness g of that mean: where few problems
    differ, all to one side, a small mean gap is seen with too small a variance. And its root is at least what problems
    that were not seen may differ by, z / (P + z^2), less what was seen: the mean size of the gaps where all are to one
    side of 0, or of the median gap, and up to four times as much where they are not.
    """
    terms, share = [], Z2 / len(gaps)
    for array in gaps:
        count = len(array)
        if count == 1:
            terms.append(_of_problems(np.nan, count, len(gaps)))
            continue
        off = array - array.mean()
        squares = (off**2).sum()
        skewed = (off**3).sum() ** 2 / squares**3 if squares > 1e-12 else 0.0
        seen = min(_seen(array), _seen(array - np.median(array)))
        unseen = max(share / (count + share) - seen, 0) / np.sqrt(share)
        terms.append(
            _of_problems(max(squares / (count - 1) / count * (1 + _SKEW * skewed), unseen**2), count, len(gaps))
        )
    return terms


def _seen(gaps: np.ndarray) -> float:
    """Returns how far gaps are from 0: their mean size if all are to one side, up to _BOTH times as much if not."""
    return float(_BOTH * abs(gaps).mean() - (_BOTH - 1) * abs(gaps.mean()))


def softened(variance: float, count: float, mean: float, more: float) -> float:
    """Return the variance of `count` units in [0, 1], with `more` units added of which half are 0 and half are 1.

    Of units that are all alike it is that of count + more independent answers with this mean, and so an interval of
    Wilson's form is Wilson's.
    """
    apart = more / 4 + count * more / (count + more) * (mean - 0.5) ** 2
    return (count * variance + apart) / (count + more)


def softened_mean(count: float, mean: float, more: float) -> float:
    """Return their mean with the same units added."""
    return (count * mean + more / 2) / (count + more)


def seed_terms(scores: Sequence[np.ndarray], *, shared: bool, draws: int = 1) -> list[Term]:
    """Returns what training again contributes, from benchmarks [S x P_b] of the same S seeds; nothing for one seed.

    shared: without the rest, which is in `problem_terms` too (negative terms); else with it: problems held fixed. Seeds
    that agree are then known to agree only as far as S x P_b x draws draws tell.
    """
    seeds = len(scores[0])
    if seeds == 1:
        return []
    averages = np.mean([array.mean(axis=1) for array in scores], axis=0)
    between = averages.var(ddof=1) / seeds
    if shared:
        return [Term(between, seeds - 1), *rest_terms(scores)]
    return [Term(between + unseen_draws(scores, draws), seeds - 1)]


def rest_terms(scores: Sequence[np.ndarray]) -> list[Term]:
    """Returns the residual as a negative term (two others count it); nothing for one seed or one problem."""
    terms = []
    for array in scores:
        seeds, problems = array.shape
        freedom = (seeds - 1) * (problems - 1)
        if freedom:
            rest = array - array.mean(axis=0) - array.mean(axis=1, keepdims=True) + array.mean()
            terms.append(Term(-(rest**2).sum() / freedom / array.size / len(scores) ** 2, freedom))
    return terms


def draw_term(variances: Sequence[np.ndarray]) -> Term:
    """Gives what drawing again contributes, from the variance of each problem's score [S x P_b] (`score_variances`)."""
    parts = [array.sum() / array.size**2 for array in variances]
    return Term(sum(parts) / len(parts) ** 2, np.inf)


def unseen_draws(scores: Sequence[np.ndarray], draws: int) -> float:
    """Returns what `softened` adds to the variance of a macro average of [S x P_b] scores, each of so many draws."""
    share = Z2 / len(scores)
    counts = [array.size * draws for array in scores]
    parts = [softened(0.0, n, array.mean(), share) / n for n, array in zip(counts, scores, strict=True)]
    return sum(parts) / len(scores) ** 2


def _of_problems(variance: float, problems: int, benchmarks: int) -> Term:
    return Term(variance / benchmarks**2, problems - 1 if problems > 1 else np.nan)
