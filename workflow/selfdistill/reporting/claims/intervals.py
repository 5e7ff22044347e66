"""Compares an interval with a range, and says how sure that is; all predicates are judged by it.

`Family` is an interval at any level, so that one rule reads a verdict off it and another the p-value that corrections
need, whatever estimator is behind it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from selfdistill.evaluation.estimators import LEVEL

#: Of a 95 % interval, on each side.
TAIL = (1 - LEVEL) / 2
#: Seeds from which "all of them" counts as an answer where an interval over them is too wide.
UNANIMOUS = 3


@dataclass(frozen=True)
class Family:
    """A value with its interval at any level: `at(level)` gives its bounds, nan where there are none."""

    value: float
    at: Callable[[float], tuple[float, float]]

    def bounds(self) -> tuple[float, float]:
        """Return the 95 % interval."""
        return self.at(LEVEL)

    def inside(self, above: float, below: float, level: float = LEVEL) -> bool:
        """Returns whether the whole interval lies in the range."""
        low, high = self.at(level)
        return low > above and high < below

    def outside(self, above: float, below: float, level: float = LEVEL) -> bool:
        """Returns whether no part of the interval lies in the range."""
        low, high = self.at(level)
        return high <= above or low >= below

    def p_value(self, lies: Callable[[float], bool]) -> float:
        """Return the least tail (half of one minus the level) at which `lies(level)` holds; 0.5 where it never does."""
        if not lies(1e-9):
            return 0.5
        low, high = math.log(1e-8), math.log(0.5)
        for _ in range(12):
            middle = (low + high) / 2
            low, high = (low, middle) if lies(1 - 2 * math.exp(middle)) else (middle, high)
        return math.exp(high)


def over_seeds(values: Sequence[float]) -> Family:
    """The mean of one value a seed, with its t-interval; no bounds for one seed, seeds all alike, or not all finite."""
    given = np.asarray(values, dtype=float)
    with np.errstate(invalid="ignore"):
        mean = float(given.mean())
    if len(given) < 2 or alike(values) or not np.isfinite(given).all():
        return Family(mean, _none)
    return _t(mean, float(given.var(ddof=1)) / len(given), len(given) - 1)


def gap_over_seeds(first: Sequence[float], second: Sequence[float]) -> Family:
    """The mean of `first` minus that of `second`, each one value a seed, the seeds independent: Welch's t-interval.

    No bounds where one side has one seed, seeds all alike, or not all finite.
    """
    sides = [np.asarray(side, dtype=float) for side in (first, second)]
    with np.errstate(invalid="ignore"):
        gap = float(sides[0].mean() - sides[1].mean())
    if any(len(side) < 2 or alike(side) or not np.isfinite(side).all() for side in sides):
        return Family(gap, _none)
    parts = [side.var(ddof=1) / len(side) for side in sides]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(side) - 1) for part, side in zip(parts, sides, strict=True))
    return _t(gap, float(sum(parts)), float(freedom))


def alike(values: Sequence[float]) -> bool:
    """Returns whether two or more seeds have one and the same value: their spread is not known, rather than zero."""
    return len(values) > 1 and min(values) == max(values)


def apart(first: Sequence[float], second: Sequence[float]) -> int:
    """1 where each of three seeds or more lies above each of as many others, -1 where below, else 0.

    By chance one side comes out above in 1 of 20 such pairs of three.
    """
    if min(len(first), len(second)) < UNANIMOUS or any(math.isnan(value) for value in (*first, *second)):
        return 0
    return int(min(first) > max(second)) - int(max(first) < min(second))


def _t(value: float, variance: float, freedom: float) -> Family:
    error = math.sqrt(variance)

    def at(level: float) -> tuple[float, float]:
        half = float(stdtrit(freedom, (1 + level) / 2)) * error
        return value - half, value + half

    return Family(value, at)


def _none(level: float) -> tuple[float, float]:
    return math.nan, math.nan
