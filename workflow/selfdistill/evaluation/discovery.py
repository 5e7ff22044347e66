"""Estimates discovery@k: how likely one of the first k attempts at a question passes (arXiv 2601.20802).

Of a search that stops at its first pass it is the share of questions and seeds whose first pass is among the first k
attempts; of independent draws it is pass@k, which has a closed form. Pure functions of arrays: S seeds x Q questions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import gammaln

from selfdistill.evaluation.estimators import LEVEL, Estimate, interval
from selfdistill.randomness import generator

#: Resamples of questions and seeds behind an interval of a number of attempts, or of a ratio of two.
RESAMPLES = 1000
NEVER = np.inf


def first_passes(attempts: pd.DataFrame, questions: Sequence[str], *, held_back: bool = False) -> np.ndarray:
    """Return the number of the first attempt that passes, [Q]; infinite where none does.

    Args:
        attempts: of one search and seed (`attempts.read_attempts`).
        questions: ids, in the order of the result.
        held_back: count a pass only where it passes the held-back tests as well. A search that stopped at a pass which
            does not hold has found nothing.
    """
    passed = attempts.loc[attempts["correct"]]
    if held_back:
        first = passed.sort_values("attempt").drop_duplicates("question")
        passed = first.loc[first["held_back"].fillna(False).astype(bool)]
    found = pd.Series(passed.groupby("question")["attempt"].min())
    return found.reindex(list(questions)).fillna(NEVER).to_numpy(dtype=np.float64)


def discovery(first: np.ndarray, k: int) -> np.ndarray:
    """Returns whether each search has passed within k attempts, as 0 and 1, [S, Q]; first: [S, Q] of `first_passes`."""
    return (np.asarray(first) <= k).astype(np.float64)


def pass_at(passes: np.ndarray, draws: np.ndarray | int, k: int) -> np.ndarray:
    """1 - C(n - c, k) / C(n, k) for each question's c of n draws, without bias (arXiv 2107.03374, equation 1).

    In logarithms, so that thousands of draws are as quick as ten; equal to the fraction to some 1e-12.
    Raises ValueError where k is less than 1 or more than the draws, and where not between none and all of them pass.
    """
    c, n = np.asarray(passes, dtype=np.float64), np.broadcast_to(np.asarray(draws, dtype=np.float64), np.shape(passes))
    if k < 1:
        raise ValueError(f"pass@{k} is of no attempt; k is 1 or more")
    if not (n >= k).all():
        raise ValueError(f"pass@{k} needs {k} draws or more of each question; there are {n.min():g}")
    if not ((c >= 0) & (c <= n)).all():
        raise ValueError(f"of {n.min():g} draws or more of each question {c.min():g} to {c.max():g} pass")
    some = np.where(n - c >= k, n - c, k)  # where fewer fail than are drawn, one of them passes for certain
    missed = np.exp(gammaln(some + 1) - gammaln(some - k + 1) - gammaln(n + 1) + gammaln(n - k + 1))
    found = np.clip(np.where(n - c >= k, 1 - missed, 1.0), 0, 1)  # logarithms may leave 1e-15 more or less
    return np.where(c == 0, 0.0, found)


def discovery_interval(scores: np.ndarray, level: float = LEVEL) -> Estimate:
    """Mean over seeds and questions, with an interval that speaks of other questions of the kind and other seeds.

    scores: [S, Q] of `discovery`, or [1, Q] of `pass_at`. That of estimators.interval with the problems sampled: it has
    no bounds (nan) for one question.
    """
    return interval([scores], problems="sampled", level=level)


@dataclass(frozen=True)
class Needed:
    """Attempts until a level of discovery is reached, with an interval; infinite where it never is.

    The interval speaks of other questions of the kind: of one question it has no bounds (nan).
    """

    value: float
    low: float
    high: float


class Curve:
    """discovery@k of a method on Q questions: of S searches that stop, or of independent draws in closed form."""

    def __init__(self, grid: Sequence[int], scores: np.ndarray):
        """grid: numbers of attempts, ascending; scores: [K, S, Q], of each of them."""
        self.grid, self.scores = np.asarray(grid), np.asarray(scores, dtype=np.float64)

    @classmethod
    def of_searches(cls, first: np.ndarray, grid: Sequence[int]) -> "Curve":
        """Return the curve of searches; first: [S, Q] of `first_passes`."""
        return cls(grid, np.stack([discovery(np.atleast_2d(first), k) for k in grid]))

    @classmethod
    def of_draws(cls, passes: np.ndarray, draws: np.ndarray | int, grid: Sequence[int]) -> "Curve":
        """Return the closed form of independent draws, of as many attempts as there are draws; c of n of each."""
        most = int(np.min(draws))
        kept = [k for k in grid if k <= most]
        return cls(kept, np.stack([pass_at(passes, draws, k)[None] for k in kept]))

    @property
    def questions(self) -> int:
        """Returns the number of questions."""
        return self.scores.shape[2]

    def needed(self, level: float, questions: np.ndarray | None = None, seeds: np.ndarray | None = None) -> float:
        """Return the fewest attempts of the grid whose mean reaches a level, on a resample where one is given."""
        scores = self.scores if seeds is None else self.scores[:, seeds]
        means = (scores if questions is None else scores[..., questions]).mean(axis=(1, 2))
        reached = np.flatnonzero(means >= level - 1e-12)
        return float(self.grid[reached[0]]) if len(reached) else NEVER


def needed_attempts(curve: Curve, level: float, key: tuple[int | str, ...] = ()) -> Needed:
    """Return the attempts that a curve needs for a level, with a percentile interval over questions and seeds.

    Args:
        curve: of a method.
        level: a share.
        key: names the random stream of the resamples.
    """
    rng = generator("needed", *key)
    values = [curve.needed(level, *_resample(rng, curve)) for _ in range(RESAMPLES)]
    return Needed(curve.needed(level), *_bounds(values, curve.questions))


def needed_ratio(first: Curve, second: Curve, level: float, key: tuple[int | str, ...] = ()) -> Needed:
    """Return how many times as many attempts `second` needs as `first`, on the same questions, drawn together.

    nan where neither gets there. Raises ValueError for curves of unlike questions.
    """
    if first.questions != second.questions:
        raise ValueError(f"curves of {first.questions} and {second.questions} questions cannot be compared")
    values, rng = [], generator("ratio", *key)
    for _ in range(RESAMPLES):
        questions, seeds = _resample(rng, first)
        values.append(
            _ratio(second.needed(level, questions, _seeds(rng, second)), first.needed(level, questions, seeds))
        )
    return Needed(_ratio(second.needed(level), first.needed(level)), *_bounds(values, first.questions))


def _ratio(above: float, below: float) -> float:
    return float("nan") if np.isinf(above) and np.isinf(below) else above / below


def _resample(rng: np.random.Generator, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(curve.questions, size=curve.questions), _seeds(rng, curve)


def _seeds(rng: np.random.Generator, curve: Curve) -> np.ndarray:
    return rng.integers(curve.scores.shape[1], size=curve.scores.shape[1])


def _bounds(values: Sequence[float], questions: int) -> tuple[float, float]:
    """The middle 95 % of resamples, each bound one of them: infinite ones stay what they are, nan are left out."""
    known = np.sort([value for value in values if not np.isnan(value)])
    if not len(known) or questions < 2:
        return float("nan"), float("nan")
    rest = (1 - LEVEL) / 2
    return float(known[int(np.floor(rest * (len(known) - 1)))]), float(
        known[int(np.ceil((1 - rest) * (len(known) - 1)))]
    )


def attempt_grid(most: int, per_octave: int = 4) -> list[int]:
    """Return the numbers of attempts from 1 to `most`, about evenly spaced on a log axis, powers of two among them."""
    steps = np.arange(0, np.log2(most) + 1e-9, 1 / per_octave)
    return sorted({*(round(2 ** float(step)) for step in steps), most})
