"""Terms of the variance of a macro average, from scores of S seeds on P problems of each of B benchmarks.

The model is two-way: score[s, p] = mean + seed[s] + problem[p] + rest[s, p], where the rest holds the draws' chance and
what a seed does to single problems. A seed's effect is shared by all benchmarks of its run, problems belong to one
benchmark. The macro average of the seeds' means then has the variance

    Var(seeds' macro averages) / S  +  sum_b Var(problems' means over seeds) / P_b / B^2  -  rest,

    rest = sum_b Var(rest) / (S P_b) / B^2:

the rest is in both the first and the second term and must count once (Searle, Casella and McCulloch, Variance
Components, 1992, chapter 4, for the two-way crossed design with one observation a cell). Each term has degrees of
freedom, and their sum those of Satterthwaite (1946).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Term:
    """One estimated term of a variance, with its sign, and its degrees of freedom."""

    value: float
    freedom: float


def total(terms: Sequence[Term]) -> Term:
    """The sum of independent terms, with Satterthwaite's degrees of freedom (inf for a sum of zero).

    A sum of positive terms never has fewer than its least certain one; nor has one that takes some away again.
    """
    value = sum(term.value for term in terms)
    spread = sum(term.value**2 / term.freedom for term in terms)
    if not spread > 0:
        return Term(value, np.inf)
    return Term(value, max(value**2 / spread, min(term.freedom for term in terms if term.value > 0)))


def problem_terms(scores: Sequence[np.ndarray]) -> list[Term]:
    """What sampling problems contributes: a term for each benchmark [S x P_b], of its problems' means over seeds.

    Differences of two methods come as [1 x P_b]. One problem says nothing of others: nan.
    """
    return [_problem_term(array.mean(axis=0), len(scores)) for array in scores]


def seed_terms(scores: Sequence[np.ndarray], *, shared: bool) -> list[Term]:
    """What training again contributes, from benchmarks [S x P_b] of the same S seeds; nothing for one seed.

    shared: without the rest, which is in `problem_terms` too (negative terms); else with it: problems held fixed.
    """
    seeds = len(scores[0])
    if seeds == 1:
        return []
    averages = np.mean([array.mean(axis=1) for array in scores], axis=0)
    between = averages.var(ddof=1) / seeds
    if shared:
        return [Term(between, seeds - 1), *rest_terms(scores)]
    # Seeds that agree to the last draw are known to agree up to one step of their average only.
    return [Term(max(between, _step(scores) ** 2 / 12 / seeds), seeds - 1)]


def rest_terms(scores: Sequence[np.ndarray]) -> list[Term]:
    """What neither seed nor problem explains, as what it takes away: negative; nothing for one seed or one problem."""
    terms = []
    for array in scores:
        seeds, problems = array.shape
        freedom = (seeds - 1) * (problems - 1)
        if freedom:
            rest = array - array.mean(axis=0) - array.mean(axis=1, keepdims=True) + array.mean()
            terms.append(Term(-(rest**2).sum() / freedom / array.size / len(scores) ** 2, freedom))
    return terms


def draw_term(variances: Sequence[np.ndarray]) -> Term:
    """What drawing again contributes, from the variance of each problem's score [S x P_b] (`score_variances`)."""
    parts = [array.sum() / array.size**2 for array in variances]
    return Term(sum(parts) / len(parts) ** 2, np.inf)


def _problem_term(means: np.ndarray, benchmarks: int) -> Term:
    problems = len(means)
    if problems == 1:
        return Term(np.nan, np.nan)
    return Term(means.var(ddof=1) / problems / benchmarks**2, problems - 1)


def _step(scores: Sequence[np.ndarray]) -> float:
    """The least by which a seed's macro average can change: 1 / D on one problem, as far as the scores show it."""
    steps = []
    for array in scores:
        gaps = np.diff(np.unique(array))
        gaps = gaps[gaps > 1e-9]  # what is less is rounding
        if gaps.size:
            steps.append(gaps.min() / array.shape[1] / len(scores))
    return min(steps, default=0.0)
