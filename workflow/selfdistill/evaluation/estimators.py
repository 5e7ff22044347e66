"""Estimates accuracy and its uncertainty from 0/1 matrices of draws. Pure functions of numpy arrays.

A matrix `correct` is P problems x D draws, or S seeds x P problems x D draws. Scores are [S, P]: the metric of each
seed on each problem. Everything here is a share between 0 and 1 (percent is the tables' business).

An interval says of what it speaks. `problems="sampled"`: other problems of the same kind and, with two seeds or more,
other training runs. `problems="fixed"`: other training runs on these very problems; with one seed, other draws of the
same run. Both are t-intervals with Satterthwaite's degrees of freedom on the variance terms of `variance`.

Measured coverage of the nominal 95 %, in the regimes of docs/coverage.csv and in no others (1,000 simulated studies
each, in three worlds; docs/statistics.md has the rest): at least 93 %, except on fixed problems where runs collapse,
and except where the interval of one seed is read as one of its method. On 100 problems or more, at 50 to 70 % and with
the problems sampled: `interval` 93 to 97 % with one to five seeds, `paired_difference` 93 to 99 %. Near the ends of the
scale both are rather too wide, a difference up to 100 %.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from selfdistill.evaluation.variance import (
    Z2,
    Term,
    by_cluster,
    draw_term,
    gap_terms,
    problem_terms,
    seed_terms,
    softened_mean,
    total,
    unseen_draws,
)

LEVEL = 0.95
PROBLEMS = ("sampled", "fixed")

#: For each benchmark the number of each problem's cluster, or None.
Clusters = Sequence[np.ndarray | None] | None

_METRIC = re.compile(r"(mean|pass)@([1-9]\d*)")
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
    """Return the named metric of one problem with c of so many draws correct, for c from 0 to `draws`: [draws + 1]."""
    kind, k = _parsed(metric, draws)
    counts = np.arange(draws + 1)
    return _passes(counts, draws, k) if kind == "pass" else counts / draws


def score_variances(correct: np.ndarray, metric: str, together: np.ndarray | None = None) -> np.ndarray:
    """Return the variance of each score of `scores_by_seed` over other draws of the same seed and problem, [S, P].

    Delete-one jackknife over the draws (Efron and Stein 1981). For mean@k and pass@1 it is s (1 - s) / (D - 1) of the
    score s, and unbiased; for pass@k with k > 1 it is too large on average: by 31 % for pass@11 of 12 draws at a chance
    of 5 %, by 56 % for pass@3 of 4 at 30 %. nan where the draws cannot tell: one draw, or pass@k of exactly k > 1
    draws. Raises ValueError as `scores_by_seed` does.

    together: a number for each problem, [P], equal for those that are read off the same draws (`group_scores.grouped`):
    each then has its covariances with the others too, so that the sum over them is the variance of their sum.
    """
    return _jackknife(_without_each(_with_seeds(correct), metric), together)


def difference_variances(
    first: np.ndarray, second: np.ndarray, metric: str, together: np.ndarray | None = None
) -> np.ndarray:
    """Returns `score_variances` of the difference of two methods' scores, [S, P], with draws in pairs: d with d.

    Draws of equal seed, problem and number are made from the same random numbers, whatever the method, and so tend to
    be right together: the difference then varies less than the sum of both variances says. Of draws that are
    independent it is that sum on average. Raises ValueError for unlike shapes, and as `scores_by_seed` does.

    together: as of `score_variances`.
    """
    ours, theirs = _with_seeds(first), _with_seeds(second)
    if ours.shape != theirs.shape:
        raise ValueError(f"draws of shapes {ours.shape} and {theirs.shape} cannot be taken in pairs")
    return _jackknife(_without_each(ours, metric) - _without_each(theirs, metric), together)


def observations(draws: int, metric: str) -> int:
    """Returns the independent answers that a score of draws stands for: mean@k for k, pass@k of D draws for D / k."""
    kind, k = _parsed(metric, draws)
    return draws // k if kind == "pass" else draws


def interval(
    scores: Sequence[np.ndarray],
    *,
    problems: str = "sampled",
    level: float = LEVEL,
    variances: Sequence[np.ndarray] | None = None,
    draws: int | None = None,
    clusters: Clusters = None,
) -> Estimate:
    """Macro average over benchmarks, and its interval.

    The interval has Wilson's form: it holds every m with |value - m| <= t * error * sqrt(m (1 - m) / (a (1 - a))), and
    so stays within [0, 1] and is wider towards 1/2. error and a, the average, are those of `variance.softened`: near 0
    and 1 they allow for unlike problems (or, with the problems fixed, draws) that were not seen. Where all are right or
    all wrong it is Wilson's own, of as many problems or draws; from there on, one more wrong answer does not raise the
    lower bound of one seed's average, except on fixed problems where a problem's draws are then all wrong, and so seem
    not to vary.

    Args:
        scores: for each benchmark the scores of S seeds on its problems, in [0, 1], shape [S, P] (P may differ; [P] is
            one seed). One benchmark is a list of one. The value is the mean of the benchmarks' means.
        problems: "sampled" or "fixed", see the module.
        level: of the interval.
        variances: `score_variances` of the same shapes, needed for "fixed" with one seed only, which has no bounds
            (nan) without them. "sampled" has none where a benchmark has one problem.
        draws: independent answers behind each score (`observations`); needed for "fixed".
        clusters: for each benchmark a number for each problem, [P], equal for variants of one problem, which are then
            drawn together; None where each is its own. Only "sampled" asks.

    Raises:
        ValueError: no benchmark, one without problems, scores outside [0, 1], unlike numbers of seeds, "fixed" without
            `draws`.
    """
    arrays = _scores(scores)
    value = _macro(arrays)
    draws = _checked(problems, draws)
    sampled = problems == "sampled"
    means = _by_cluster([a.mean(axis=0) for a in arrays], clusters)
    spread = _sampled(problem_terms(means), [arrays]) if sampled else _fixed([arrays], [variances], draws)
    if math.isnan(spread.value):
        return Estimate(value, math.nan, math.nan)
    counts = [len(units) if sampled else a.size * draws for units, a in zip(means, arrays, strict=True)]
    parts = [softened_mean(n, a.mean(), Z2 / len(arrays)) for n, a in zip(counts, arrays, strict=True)]
    return share_of(value, float(np.mean(parts)), spread, level)


def paired_difference(
    first: Sequence[np.ndarray],
    second: Sequence[np.ndarray],
    *,
    problems: str = "sampled",
    level: float = LEVEL,
    variances: tuple[Sequence[np.ndarray] | None, Sequence[np.ndarray] | None] | None = None,
    of_difference: Sequence[np.ndarray] | None = None,
    draws: int | None = None,
    clusters: Clusters = None,
    trained: tuple[bool, bool] = (True, True),
    of_runs: Term | None = None,
) -> Difference:
    """Macro average of `first` minus that of `second`, scored on the same problems, with its interval and p-value.

    value +- t errors. What makes a problem easy for both methods cancels, so this interval is narrower than those of
    the two averages suggest. No error is 0: see `variance.gap_terms`, and `variance.softened` with the problems fixed.
    Seeds are not paired: runs of equal seed share their random numbers, which makes them alike if anything, and the
    interval then too wide; but three pairs of seeds have two degrees of freedom, and two times three seeds have four.

    Args:
        first, second: as in `interval`: the same benchmarks in the same order, and in each the same problems in the
            same order; the numbers of seeds may differ.
        problems, level: as in `interval`.
        variances: those of both; a side with one seed enters "fixed" with its draws' variance alone.
        of_difference: `difference_variances`, [1, P], where both have one seed: in place of the sum of `variances`.
        draws: as in `interval`, the fewer of both.
        clusters: as in `interval`.
        trained: whether each side's runs were trained; the base model's were not, so its one seed is all there is.
            Where one trained side has one seed and the other several, the seeds of the first are taken to vary as
            those of the second do: without, the interval would speak of other runs of one method and of one run of the
            other.
        of_runs: the variance of a training run's macro average in general (`power.pooled_seed_variance`). Where these
            sides' few seeds seem to vary by less, "sampled" takes them to vary so; one seed each still speaks of these
            two runs.

    Raises:
        ValueError: as `interval` does, and for shapes that do not pair.
    """
    ours, theirs = _scores(first), _scores(second)
    if [a.shape[1] for a in ours] != [b.shape[1] for b in theirs]:
        raise ValueError("the two methods do not have the same benchmarks and problems, so they cannot be paired")
    value = _macro(ours) - _macro(theirs)
    draws = _checked(problems, draws)
    if problems == "sampled":
        gaps = [a.mean(axis=0) - b.mean(axis=0) for a, b in zip(ours, theirs, strict=True)]
        sides = (ours, theirs)
        seeds = at_least(terms_of_seeds(sides, trained), of_runs, sides, trained)
        spread = with_seeds(gap_terms(_by_cluster(gaps, clusters)), seeds)
    elif of_difference is not None and len(ours[0]) == len(theirs[0]) == 1:
        unseen = sum(unseen_draws(side, draws) for side in (ours, theirs))
        drawn = draw_term(_matching(ours, of_difference))
        spread = Term(drawn.value + unseen, drawn.freedom)
    else:
        spread = _fixed([ours, theirs], variances or (None, None), draws, trained)
    return difference_of(value, spread, level)


def _by_cluster(values: Sequence[np.ndarray], clusters: Clusters) -> list[np.ndarray]:
    if clusters is None:
        return list(values)
    return [by_cluster(v, c) for v, c in zip(values, clusters, strict=True)]


def _sampled(
    problems: Sequence[Term], sides: Sequence[Sequence[np.ndarray]], trained: Sequence[bool] = (True, True)
) -> Term:
    """Variance over problems and seeds."""
    return with_seeds(problems, terms_of_seeds(sides, trained))


def terms_of_seeds(sides: Sequence[Sequence[np.ndarray]], trained: Sequence[bool] = (True, True)) -> list[Term]:
    """Returns what training both sides again adds, where problems are sampled; see `paired_difference` of one seed."""
    seeds = [term for side in sides for term in seed_terms(side, shared=True)]
    if (known := _known_side(sides, trained)) is not None:
        seeds = [_and_one_run(term, sides[known]) for term in seeds]
    return seeds


def at_least(
    seeds: list[Term], of_runs: Term | None, sides: Sequence[Sequence[np.ndarray]], trained: Sequence[bool]
) -> list[Term]:
    """Terms of seeds, or what `of_runs`, the variance of one run, says of as many, where that is more."""
    if of_runs is None or not seeds or not of_runs.freedom:
        return seeds
    runs = sum(1 / len(side[0]) for side, counts in zip(sides, trained, strict=True) if counts)
    general = Term(of_runs.value * runs, of_runs.freedom)
    return [general] if general.value > sum(term.value for term in seeds) else seeds


def with_seeds(problems: Sequence[Term], seeds: Sequence[Term]) -> Term:
    """Return the variance over problems and seeds; never less than what the problems alone contribute."""
    return total([*problems, *seeds] if sum(term.value for term in seeds) > 0 else problems)


def difference_of(value: float, spread: Term, level: float = LEVEL) -> Difference:
    """Return a difference with this variance: value +- t errors, within [-1, 1]."""
    half = _half_width(spread, level)
    p_value = 2 * float(stdtr(min(spread.freedom, _MANY), -abs(value) / math.sqrt(spread.value)))
    return Difference(value, float(np.maximum(value - half, -1)), float(np.minimum(value + half, 1)), p_value)


def share_of(value: float, around: float, spread: Term, level: float = LEVEL) -> Estimate:
    """Return a share with this variance: the interval of Wilson's form, its error being that of a share `around`."""
    widening = _half_width(spread, level) ** 2 / (around * (1 - around))
    middle = (value + widening / 2) / (1 + widening)
    half = math.sqrt(widening * value * (1 - value) + widening**2 / 4) / (1 + widening)
    return Estimate(value, max(middle - half, 0.0), min(middle + half, 1.0))


def _fixed(
    sides: Sequence[Sequence[np.ndarray]],
    variances: Sequence[Sequence[np.ndarray] | None],
    draws: int,
    trained: Sequence[bool] = (True, True),
) -> Term:
    """Variance over seeds, or over draws where there is one seed."""
    if (known := _known_side(sides, trained)) is not None:
        of_seeds = seed_terms(sides[known], shared=False, draws=draws)
        return total([_and_one_run(term, sides[known]) for term in of_seeds])
    terms = []
    for arrays, of_draws in zip(sides, variances, strict=True):
        if len(arrays[0]) > 1:
            terms += seed_terms(arrays, shared=False, draws=draws)
        elif of_draws is None:
            terms.append(Term(math.nan, math.nan))
        else:
            drawn = draw_term(_matching(arrays, of_draws))
            terms.append(Term(drawn.value + unseen_draws(arrays, draws), drawn.freedom))
    return total(terms)


def _known_side(sides: Sequence[Sequence[np.ndarray]], trained: Sequence[bool]) -> int | None:
    """Returns which of two trained sides has several seeds, where the other has one; None in other cases."""
    several = [len(side[0]) > 1 for side in sides]
    return several.index(True) if all(trained) and len(sides) == 2 and sum(several) == 1 else None


def _and_one_run(term: Term, side: Sequence[np.ndarray]) -> Term:
    """A term of the mean over a side's S seeds, and what it says of one run of the other side: S times as much."""
    return Term((1 + len(side[0])) * term.value, term.freedom)


def _checked(problems: str, draws: int | None) -> int:
    """The number of draws, which only "fixed" asks for."""
    if problems not in PROBLEMS:
        raise ValueError(f"problems is {problems!r}: expected one of {', '.join(PROBLEMS)}")
    if problems == "fixed" and draws is None:
        raise ValueError("with the problems fixed, an interval needs the number of draws behind a score")
    return draws or 1


def _half_width(spread: Term, level: float) -> float:
    return float(stdtrit(min(spread.freedom, _MANY), (1 + level) / 2)) * math.sqrt(spread.value)


def _macro(arrays: Sequence[np.ndarray]) -> float:
    return float(np.mean([a.mean() for a in arrays]))


def _scores(scores: Sequence[np.ndarray]) -> list[np.ndarray]:
    arrays = [np.asarray(s, dtype=np.float64) for s in scores]
    if not arrays or any(a.ndim not in (1, 2) or a.size == 0 for a in arrays):
        raise ValueError("scores must be a list of benchmarks, each a non-empty array [seeds x] problems of scores")
    arrays = [np.atleast_2d(a) for a in arrays]
    if len({len(a) for a in arrays}) > 1:
        raise ValueError("the benchmarks of one method must have scores of the same seeds")
    if not all(a.min() >= 0 and a.max() <= 1 for a in arrays):  # nan is neither
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


def _without_each(correct: np.ndarray, metric: str) -> np.ndarray:
    """The score of each seed and problem with each of its draws left out, [S, P, D]; nan where it has none then."""
    draws = correct.shape[2]
    kind, k = _parsed(metric, draws)
    k = k if kind == "pass" else 1
    if draws == 1 or k == draws:
        return np.full(correct.shape, np.nan)
    return _passes(correct.sum(axis=2, keepdims=True) - correct, draws - 1, k)


def _jackknife(without: np.ndarray, together: np.ndarray | None) -> np.ndarray:
    """Variance of estimates from their values with each of D draws left out, [S, P, D] -> [S, P]."""
    draws = without.shape[-1]
    off = without - without.mean(axis=-1, keepdims=True)
    sums = off if together is None else (np.equal.outer(together, together) @ off)
    return (draws - 1) / draws * (off * sums).sum(axis=-1)


def _with_seeds(correct: np.ndarray) -> np.ndarray:
    correct = np.asarray(correct)
    if correct.ndim not in (2, 3) or correct.size == 0:
        raise ValueError(f"expected a non-empty matrix [seeds x] problems x draws, got shape {correct.shape}")
    if correct.dtype != bool and not np.isin(correct, (0, 1)).all():
        raise ValueError("a matrix of draws holds 0 and 1 only")
    return correct.astype(np.int64).reshape(-1, *correct.shape[-2:])
