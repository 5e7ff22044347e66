"""Computes the smallest difference that an evaluation can see, and the seeds or problems that a given one needs.

Differences of two methods with equally many seeds, compared as `estimators.paired_difference` does. Variances are
taken from two methods' draws (`estimate`) or given.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from selfdistill.evaluation.estimators import (
    LEVEL,
    PROBLEMS,
    difference_variances,
    score_variances,
    scores_by_seed,
)
from selfdistill.evaluation.variance import Term, gap_terms, rest_terms, seed_terms, total

#: Chance of seeing a difference that is there.
POWER = 0.8

#: Share of a draw's variance p (1 - p) between problems, where one draw a problem cannot tell
#: (docs/statistics.md).
BETWEEN = 0.6

#: Standard deviation of a training run's accuracy around its method's, as a share, where too few seeds tell it. An
#: assumption, not a measurement.
ASSUMED_SEED_SD = 0.01

#: Seeds beyond each method's first that a spread below the assumed one needs to be believed. With fewer the estimate is
#: too often far too small, or 0: from three seeds of one method in 30 to 50 of 100 studies.
ENOUGH_SEEDS = 10

#: Below this a variance of shares is rounding: the step of an average over a million draws is larger.
NO_SPREAD = 1e-14

#: No more than so many seeds, or times as many problems, are considered.
MOST = 10_000


@dataclass(frozen=True)
class Variances:
    """Variances of a difference of two methods, in squared shares.

    Attributes:
        problem: of the gap of their chances on a problem, one a benchmark.
        run: of a run's own chances on a problem around its method's, of the difference of two runs.
        draw: of one draw around the run's chance, of the difference of two draws of equal seed and number.
        seed: of a run's macro average around its method's, both together, the draws and `run` aside (nan: not known).
    """

    problem: tuple[float, ...]
    run: tuple[float, ...]
    draw: tuple[float, ...]
    seed: float


@dataclass(frozen=True)
class Design:
    """Problems of each benchmark, draws a problem and seed, seeds of each method."""

    benchmarks: tuple[int, ...]
    draws: int
    seeds: int


@dataclass(frozen=True)
class Needed:
    """Holds what a difference needs, all else as in the design (inf: no number is enough).

    Attributes:
        seeds: of each method, two or more.
        problems: of all benchmarks together, each enlarged alike; nan where more problems do not answer the question:
            with the problems fixed, and with one seed, which says nothing of other runs on however many problems.
    """

    seeds: float
    problems: float


def estimate(first: Sequence[np.ndarray], second: Sequence[np.ndarray], metric: str) -> Variances:
    """Variances from two methods' draws: 0/1 arrays [S x] P x D of the same benchmarks and problems.

    With equally many seeds and draws they are those of the differences of runs and draws in pairs, since draws of equal
    seed and number tend to be right together (`estimators.difference_variances`); else of both sides added up.
    What one seed cannot tell apart stays together: a run's own chances count as the problem's, and `seed` is nan unless
    both methods have two seeds or more. From one draw a problem, `draw` is the share 1 - BETWEEN of m (1 - m) of the
    mean m, of both sides added up. No estimate is below 0.
    """
    problem, run, draw = [], [], []
    for pair in zip(first, second, strict=True):
        scores = [scores_by_seed(correct, metric) for correct in pair]
        gaps = scores[0].mean(axis=0) - scores[1].mean(axis=0)
        if np.shape(pair[0]) == np.shape(pair[1]):
            drawn = [_mean_or(difference_variances(*pair, metric), sum(_assumed(s) for s in scores))]
            scores = [scores[0] - scores[1]]
        else:
            drawn = [_mean_or(score_variances(c, metric), _assumed(s)) for c, s in zip(pair, scores, strict=True)]
        kept = [max(_rest(s) - d, 0.0) for s, d in zip(scores, drawn, strict=True)]
        by_chance = sum((k + d) / len(s) for k, d, s in zip(kept, drawn, scores, strict=True))
        # As the interval has it, with what it allows for problems that were not seen.
        problem.append(max(gap_terms([gaps])[0].value * len(gaps) - by_chance, 0.0) if len(gaps) > 1 else math.nan)
        run.append(sum(kept))
        draws = [np.shape(correct)[-1] for correct in pair][: len(drawn)]
        draw.append(sum(d * n for d, n in zip(drawn, draws, strict=True)))
    seed = sum(seed_variance([scores_by_seed(correct, metric) for correct in side]) for side in (first, second))
    return Variances(tuple(problem), tuple(run), tuple(draw), seed)


def seed_variance(scores: Sequence[np.ndarray]) -> float:
    """Variance of a run's macro average around its method's, from scores [S, P] of each benchmark; nan for one seed.

    Not below 0: where the draws' chance hides the seeds' spread that is no evidence that there is none.
    """
    pooled = pooled_seed_variance([scores])
    return max(pooled.value, 0.0) if pooled.freedom else math.nan


def pooled_seed_variance(methods: Sequence[Sequence[np.ndarray]]) -> Term:
    """Returns the variance between seeds over several methods, weighed by S - 1 degrees of freedom; maybe negative.

    Pooled before anything is cut off at 0, since a mean of cut estimates is too large. Without two seeds of any method:
    nan with no degrees of freedom.
    """
    spreads = []
    for scores in methods:
        seeds = len(scores[0])
        if seeds > 1:
            spreads.append((seeds - 1, seeds * sum(term.value for term in seed_terms(scores, shared=True))))
    freedom = sum(weight for weight, _ in spreads)
    value = sum(weight * spread for weight, spread in spreads) / freedom if spreads else math.nan
    return Term(value, freedom)


def believed_seed_variance(methods: Sequence[Sequence[np.ndarray]]) -> tuple[float, bool]:
    """Variance of one run's macro average around its method's, from several methods, and whether it was measured.

    As `pooled_seed_variance`; where that is less than ASSUMED_SEED_SD allows, or unknown, and from fewer seeds than
    ENOUGH_SEEDS, what is assumed stands for it.
    """
    pooled, assumed = pooled_seed_variance(methods), ASSUMED_SEED_SD**2
    believed = pooled.value > assumed or pooled.freedom >= ENOUGH_SEEDS  # nan, of no seeds, is neither
    return (max(pooled.value, 0.0), True) if believed else (assumed, False)


def detectable(
    variances: Variances, design: Design, *, problems: str = "sampled", level: float = LEVEL, power: float = POWER
) -> float:
    """Return the least difference, as a share, that the interval tells from none with the chance `power`.

    (t of the level + t of the power) standard errors. With one seed it speaks of these two runs, as the interval does:
    the seeds' variance is left out; else it is nan where that is not known. nan too where the design has no interval
    (one draw of one seed on fixed problems), and where nothing varies: draws that are all alike do not tell how others
    would vary.
    Raises ValueError for other `problems`.
    """
    if problems not in PROBLEMS:
        raise ValueError(f"problems is {problems!r}: expected one of {', '.join(PROBLEMS)}")
    error = _error(variances, design, problems)
    if error.value < NO_SPREAD:
        return math.nan
    quantiles = [float(stdtrit(min(error.freedom, 1e9), chance)) for chance in ((1 + level) / 2, power)]
    return sum(quantiles) * math.sqrt(error.value)


def needed(
    difference: float,
    variances: Variances,
    design: Design,
    *,
    problems: str = "sampled",
    level: float = LEVEL,
    power: float = POWER,
) -> Needed:
    """Returns how many seeds (two or more), or how many problems, would make a difference of this share detectable."""

    def enough(times: int = 1, seeds: int = design.seeds) -> bool:
        other = Design(tuple(times * size for size in design.benchmarks), design.draws, seeds)
        return detectable(variances, other, problems=problems, level=level, power=power) <= difference

    seeds = _least(2, lambda number: enough(seeds=number))
    if problems == "fixed" or design.seeds == 1:
        return Needed(seeds, math.nan)
    return Needed(seeds, _least(1, lambda times: enough(times=times)) * sum(design.benchmarks))


def _error(variances: Variances, design: Design, problems: str) -> Term:
    """Variance of the macro average of a difference, and its degrees of freedom: what `paired_difference` would see."""
    parts = list(zip(design.benchmarks, variances.problem, variances.run, variances.draw, strict=True))
    scale = [1 / size / len(parts) ** 2 for size, *_ in parts]
    rest = [(run + draw / design.draws) / design.seeds * s for (_, _, run, draw), s in zip(parts, scale, strict=True)]
    freedom = 2 * (design.seeds - 1)
    terms = []
    if problems == "sampled":
        if min(design.benchmarks) < 2:  # one problem says nothing of others
            return Term(math.nan, math.nan)
        for (size, between, *_), s, chance in zip(parts, scale, rest, strict=True):
            terms.append(Term(between * s + chance, size - 1))
            if freedom:
                terms.append(Term(-chance, freedom * (size - 1)))  # which is in the seeds' term too
    if freedom:
        terms.append(Term(variances.seed / design.seeds + sum(rest), freedom))
    if not terms:  # one seed on fixed problems: only further draws of it tell how draws vary
        return Term(sum(rest), math.inf) if design.draws > 1 else Term(math.nan, math.nan)
    return total(terms)


def _least(start: int, enough: Callable[[int], bool]) -> float:
    """The least number from `start` to MOST that is enough, given that more is never worse; inf where none is."""
    if not enough(MOST):
        return math.inf
    low, high = start, MOST
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return low


def _mean_or(variances: np.ndarray, assumed: float) -> float:
    """The mean variance of a score over other draws; what is assumed of it where the draws do not tell."""
    found = float(variances.mean())
    return assumed if math.isnan(found) else found


def _assumed(scores: np.ndarray) -> float:
    mean = float(scores.mean())
    return (1 - BETWEEN) * mean * (1 - mean)


def _rest(scores: np.ndarray) -> float:
    """Variance of a score that neither its seed nor its problem explains; 0 for one seed or problem."""
    terms = rest_terms([scores])
    return -terms[0].value * scores.size if terms else 0.0
