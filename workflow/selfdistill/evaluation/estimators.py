"""Accuracy and its uncertainty from 0/1 matrices of draws. Pure functions of numpy arrays; no files, no training.

A matrix `correct` is P problems x D draws, or S seeds x P problems x D draws. Scores are [S, P]: the metric of each
seed on each problem. Everything here is a share between 0 and 1 (percent is the tables' business).

An interval says of what it speaks. `problems="sampled"`: other problems of the same kind and, with two seeds or more,
other training runs. `problems="fixed"`: other training runs on these very problems; with one seed, other draws of the
same run. Both are t-intervals with Satterthwaite's degrees of freedom on the variance terms of `variance`.

Measured coverage of the nominal 95 %, in the regimes of docs/coverage.csv and in no others: 2,000 simulated studies
each, 0.6 of a draw's variance between problems, 100, 500 or 83 + 30 + 30 problems with one or twelve draws, and the
average of 500 + 100 + 100 + 100 problems with one draw:

* `interval`: 93 to 97 % with one, three or five seeds: at a true accuracy of 70 % (the last average: 50 % too), with a
  standard deviation of 0 or 2 points between several seeds; at 90 and 95 % with one seed, or three and 1 point;
* `paired_difference` of two equally good methods: 94 to 97 % with one or five seeds, at 70 %.

Not so with 30 problems (88 to 98 % for `interval`, 94 to 99 % for a difference), with two seeds (93 to 99.6 %), nor for
a difference with three seeds (up to 97.6 %: too wide). Near the end of the scale, seeds that differ more than that can
be too much for `interval`: with three at 95 % and 2 points, 91 to 96 % were seen.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.special import stdtr, stdtrit

from selfdistill.evaluation.variance import Term, draw_term, problem_terms, seed_terms, total

LEVEL = 0.95
PROBLEMS = ("sampled", "fixed")

_METRIC = re.compile(r"(mean|pass)@([1-9]\d*)")
#: Below this a variance of shares is rounding: the step of an average over a million draws is larger.
NO_SPREAD = 1e-14
#: More degrees of freedom than these make no difference.
_MANY = 1e9


@dataclass(frozen=True)
class Estimate:
    """A value and its interval, all in the unit of the values that went in; nan bounds: nothing can be said."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference and its interval; p_value: two-sided, of no difference, by the same t as the interval (or nan)."""

    p_value: float


def scores_by_seed(correct: np.ndarray, metric: str) -> np.ndarray:
    """The named metric of each seed on each problem, [S, P]: "mean@k" (of exactly k draws) or "pass@k" (of k or more).

    correct: [S x] P x D; without the axis of seeds it is one seed. mean@k is the share of correct draws, which is also
    pass@1 estimated from k draws. pass@k is unbiased: 1 - C(D - c, k) / C(D, k) with c of D draws correct (Chen et al.
    2021, arXiv 2107.03374, equation 1). Raises ValueError for another name or an unfitting number of draws.
    """
    correct = _with_seeds(correct)
    return scores_by_count(correct.shape[2], metric)[correct.sum(axis=2)]


def scores_by_count(draws: int, metric: str) -> np.ndarray:
    """The named metric of one problem with c of so many draws correct, for c from 0 to `draws`: [draws + 1]."""
    kind, k = _parsed(metric, draws)
    counts = np.arange(draws + 1)
    return _passes(counts, draws, k) if kind == "pass" else counts / draws


def score_variances(correct: np.ndarray, metric: str) -> np.ndarray:
    """Variance of each score of `scores_by_seed` over other draws of the same seed and problem, [S, P].

    Delete-one jackknife over the draws (Efron and Stein 1981): for mean@k and pass@1 it is s (1 - s) / (D - 1) of the
    score s, unbiased. nan where the draws cannot tell: one draw, or pass@k of exactly k > 1 draws.
    Raises ValueError as `scores_by_seed` does.
    """
    correct = _with_seeds(correct)
    draws = correct.shape[2]
    kind, k = _parsed(metric, draws)
    k = k if kind == "pass" else 1
    if draws == 1 or k == draws:
        return np.full(correct.shape[:2], np.nan)
    right = correct.sum(axis=2)
    without_right, without_wrong = _passes(right - 1, draws - 1, k), _passes(right, draws - 1, k)
    mean = (right * without_right + (draws - right) * without_wrong) / draws
    squares = right * (without_right - mean) ** 2 + (draws - right) * (without_wrong - mean) ** 2
    return (draws - 1) / draws * squares


def interval(
    scores: Sequence[np.ndarray],
    *,
    problems: str = "sampled",
    level: float = LEVEL,
    variances: Sequence[np.ndarray] | None = None,
) -> Estimate:
    """Macro average over benchmarks, and its interval.

    scores: for each benchmark the scores of S seeds on its problems, in [0, 1], shape [S, P] (P may differ; [P] is one
    seed). One benchmark is a list of one. The value is the mean of the benchmarks' means.
    problems: "sampled" or "fixed", see the module; level: of the interval.
    variances: `score_variances` of the same shapes, needed for "fixed" with one seed only, which has no bounds (nan)
    without them. "sampled" has none where a benchmark has one problem.

    The interval has Wilson's form: it holds every m with |value - m| <= t * error * sqrt(m (1 - m) / (value (1 -
    value))), so it stays within [0, 1] and is wider towards 1/2. Where nothing varies (all right, all wrong) the error
    is that of the share of unlike problems which P problems can have hidden (Wilson's bound for none seen in P).
    Raises ValueError for no benchmark, one without problems, scores outside [0, 1], unlike numbers of seeds.
    """
    arrays = _scores(scores)
    value = _macro(arrays)
    _check(problems)
    spread = _sampled(arrays, [arrays]) if problems == "sampled" else _fixed([arrays], [variances])
    if math.isnan(spread.value):
        return Estimate(value, math.nan, math.nan)
    if spread.value < NO_SPREAD:
        hidden = _hidden(_problems(arrays), level)
        return Estimate(value, value - hidden * value, value + hidden * (1 - value))
    widening = _half_width(spread, level) ** 2 / (value * (1 - value))
    middle = (value + widening / 2) / (1 + widening)
    half = math.sqrt(widening * value * (1 - value) + widening**2 / 4) / (1 + widening)
    return Estimate(value, middle - half, middle + half)


def paired_difference(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    *,
    problems: str = "sampled",
    level: float = LEVEL,
    variances: tuple[Sequence[np.ndarray], Sequence[np.ndarray]] | None = None,
    trained: tuple[bool, bool] = (True, True),
) -> Difference:
    """Macro average of `first` minus that of `second`, scored on the same problems, with its interval and p-value.

    Both as in `interval`: the same benchmarks in the same order, and in each the same problems in the same order; the
    numbers of seeds may differ, and the seeds of the two are independent training runs, not pairs. What makes a problem
    easy for both methods cancels, so this interval is narrower than those of the two averages suggest.
    variances: those of both; a side with one seed enters "fixed" with its draws' variance alone.
    trained: whether each side's runs were trained; the base model's were not, so its one seed is all there is. Where
    one trained side has one seed and the other several, the seeds of the first are taken to vary as those of the second
    do: without, the interval would speak of other runs of one method and of one run of the other.
    Raises ValueError as `interval` does, and for shapes that do not pair.
    """
    ours, theirs = _scores(first), _scores(second)
    if [a.shape[1] for a in ours] != [b.shape[1] for b in theirs]:
        raise ValueError("the two methods do not have the same benchmarks and problems, so they cannot be paired")
    value = _macro(ours) - _macro(theirs)
    _check(problems)
    if problems == "sampled":
        gaps = [(a.mean(axis=0) - b.mean(axis=0))[None] for a, b in zip(ours, theirs, strict=True)]
        spread = _sampled(gaps, [ours, theirs], trained)
    else:
        spread = _fixed([ours, theirs], variances or (None, None), trained)
    if spread.value < NO_SPREAD:
        count = _problems(ours)
        hidden = _hidden(count, level)
        # The level at which the interval below would just reach 0 has z^2 = count * |value|.
        p_value = 2 * NormalDist().cdf(-math.sqrt(count * abs(value)))
        return Difference(value, value - hidden * (value + 1), value + hidden * (1 - value), p_value)
    half = _half_width(spread, level)
    p_value = 2 * float(stdtr(min(spread.freedom, _MANY), -abs(value) / math.sqrt(spread.value)))
    return Difference(value, float(np.maximum(value - half, -1)), float(np.minimum(value + half, 1)), p_value)


def _sampled(
    gaps: Sequence[np.ndarray], sides: Sequence[Sequence[np.ndarray]], trained: Sequence[bool] = (True, True)
) -> Term:
    """Variance over problems and seeds; never less than what the problems alone contribute."""
    problems = problem_terms(gaps)
    seeds = [term for side in sides for term in seed_terms(side, shared=True)]
    if (known := _known_side(sides, trained)) is not None:
        seeds = [_and_one_run(term, sides[known]) for term in seeds]
    return total([*problems, *seeds] if sum(term.value for term in seeds) > 0 else problems)


def _fixed(
    sides: Sequence[Sequence[np.ndarray]],
    variances: Sequence[Sequence[np.ndarray] | None],
    trained: Sequence[bool] = (True, True),
) -> Term:
    """Variance over seeds, or over draws where there is one seed."""
    if (known := _known_side(sides, trained)) is not None:
        return total([_and_one_run(term, sides[known]) for term in seed_terms(sides[known], shared=False)])
    terms = []
    for arrays, of_draws in zip(sides, variances, strict=True):
        if len(arrays[0]) > 1:
            terms += seed_terms(arrays, shared=False)
        else:
            terms.append(Term(math.nan, math.nan) if of_draws is None else draw_term(_matching(arrays, of_draws)))
    return total(terms)


def _known_side(sides: Sequence[Sequence[np.ndarray]], trained: Sequence[bool]) -> int | None:
    """Of two trained sides, one with one seed and one with several: the place of the latter; None in other cases."""
    several = [len(side[0]) > 1 for side in sides]
    return several.index(True) if all(trained) and len(sides) == 2 and sum(several) == 1 else None


def _and_one_run(term: Term, side: Sequence[np.ndarray]) -> Term:
    """A term of the mean over a side's S seeds, and what it says of one run of the other side: S times as much."""
    return Term((1 + len(side[0])) * term.value, term.freedom)


def _check(problems: str) -> None:
    if problems not in PROBLEMS:
        raise ValueError(f"problems is {problems!r}: expected one of {', '.join(PROBLEMS)}")


def _half_width(spread: Term, level: float) -> float:
    return float(stdtrit(min(spread.freedom, _MANY), (1 + level) / 2)) * math.sqrt(spread.value)


def _hidden(problems: float, level: float) -> float:
    """The share of unlike problems that none seen in so many may hide: Wilson's upper bound."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    return z**2 / (problems + z**2)


def _problems(arrays: Sequence[np.ndarray]) -> float:
    """As many equally weighted problems as would give the macro average its variance."""
    return len(arrays) ** 2 / sum(1 / a.shape[1] for a in arrays)


def _macro(arrays: Sequence[np.ndarray]) -> float:
    return float(np.mean([a.mean() for a in arrays]))


def _scores(scores: Sequence[np.ndarray]) -> list[np.ndarray]:
    arrays = [np.asarray(s, dtype=np.float64) for s in scores]
    if not arrays or any(a.ndim not in (1, 2) or a.size == 0 for a in arrays):
        raise ValueError("scores must be a list of benchmarks, each a non-empty array [seeds x] problems of scores")
    arrays = [np.atleast_2d(a) for a in arrays]
    if len({len(a) for a in arrays}) > 1:
        raise ValueError("the benchmarks of one method must have scores of the same seeds")
    if any(a.min() < 0 or a.max() > 1 for a in arrays):
        raise ValueError("scores must lie between 0 and 1")
    return arrays


def _matching(arrays: Sequence[np.ndarray], variances: Sequence[np.ndarray]) -> list[np.ndarray]:
    matched = [np.atleast_2d(np.asarray(v, dtype=np.float64)) for v in variances]
    if [v.shape for v in matched] != [a.shape for a in arrays]:
        raise ValueError("variances must have the shapes of the scores")
    return matched


def _parsed(metric: str, draws: int) -> tuple[str, int]:
    match = _METRIC.fullmatch(metric)
    if match is None:
        raise ValueError(f"unknown metric {metric!r}: expected mean@k or pass@k, for example mean@12 or pass@1")
    kind, k = match[1], int(match[2])
    if kind == "mean" and draws != k:
        raise ValueError(f"{metric} needs exactly {k} draws a problem; the matrix has {draws}")
    if kind == "pass" and draws < k:
        raise ValueError(f"{metric} needs at least {k} draws a problem; the matrix has {draws}")
    return kind, k


def _passes(right: np.ndarray, draws: int, k: int) -> np.ndarray:
    """1 - C(draws - c, k) / C(draws, k) for each count c of `right`; a count outside 0 to draws is its nearest."""
    by_count = np.array([1 - math.comb(draws - c, k) / math.comb(draws, k) for c in range(draws + 1)])
    return by_count[np.clip(right, 0, draws)]


def _with_seeds(correct: np.ndarray) -> np.ndarray:
    correct = np.asarray(correct)
    if correct.ndim not in (2, 3) or correct.size == 0:
        raise ValueError(f"expected a non-empty matrix [seeds x] problems x draws, got shape {correct.shape}")
    if correct.dtype != bool and not np.isin(correct, (0, 1)).all():
        raise ValueError("a matrix of draws holds 0 and 1 only")
    return correct.astype(np.int64).reshape(-1, *correct.shape[-2:])
