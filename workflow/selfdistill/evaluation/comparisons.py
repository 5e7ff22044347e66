"""Compares many methods, and answers that are right or wrong: Holm, McNemar, Wilson."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from selfdistill.evaluation.estimators import LEVEL, Estimate


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values of one family: what is at most alpha is significant at a family-wise error of alpha.

    Holm 1979 (Scandinavian Journal of Statistics 6): the i-th smallest of m is multiplied by m - i + 1, none is made
    smaller than one before it, none larger than 1. Holds however the tests depend on each other. nan stays nan and is
    no member of the family.
    """
    given = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(given.shape, np.nan)
    order = np.argsort(given)[: np.isfinite(given).sum()]  # nan is sorted last
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * given[order]), 1)
    return adjusted


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Exact two-sided p-value that two methods, one draw a problem, are right equally often on the same problems.

    first, second: [P] of 0 and 1. Only problems that one method alone solves count; under no difference each is as
    likely the one's as the other's (McNemar 1947, with the binomial in place of chi-square). None such: 1.
    Speaks of these two runs on problems of this kind, not of other seeds. Raises ValueError for other input.
    """
    ours, theirs = np.asarray(first), np.asarray(second)
    if ours.ndim != 1 or ours.shape != theirs.shape or not np.isin([ours, theirs], (0, 1)).all():
        raise ValueError("McNemar's test takes two vectors of 0 and 1 over the same problems")
    only_ours, only_theirs = int(np.sum(ours > theirs)), int(np.sum(ours < theirs))
    differing = only_ours + only_theirs
    return float(_binomial(only_ours, differing).pvalue) if differing else 1.0


def wilson(correct: int, total: int, level: float = LEVEL) -> Estimate:
    """Share of `correct` in `total` independent draws (one a problem: pass@1 of one run), with Wilson's interval.

    Wilson 1927 (Journal of the American Statistical Association 22). Several draws of one problem are not independent:
    for them `estimators.interval`. Raises ValueError unless 0 <= correct <= total and total > 0.
    """
    if not 0 <= correct <= total or total <= 0:
        raise ValueError(f"{correct} of {total} is no share")
    bounds = _binomial(correct, total).proportion_ci(level, method="wilson")
    return Estimate(correct / total, max(float(bounds.low), 0.0), min(float(bounds.high), 1.0))


def _binomial(hits: int, total: int) -> Any:
    """The exact test of a share of one half."""
    from scipy.stats import binomtest  # half a second to import, and most tables ask for neither

    return binomtest(hits, total)
