"""Measures training curves: how far one went from its beginning, how far a share fell from its best.

The beginning of a curve is the mean of its first steps (a fortieth of them, 1 to 10); its end, highest and lowest are
means over a tenth of the steps: the last tenth, and the ones that lie furthest up and down, wherever they begin. So an
excursion that comes back is seen, and a fast one is not hidden in its own beginning. The unit of every interval is the
seed; a factor of 0 (responses of no token) is one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from selfdistill.evaluation.estimators import LEVEL
from selfdistill.reporting.claims.inputs import Trace
from selfdistill.reporting.claims.intervals import Family, alike, over_seeds
from selfdistill.reporting.claims.predicates import CHANGE, FALL, FALL_SHARE, LEAST_FALL, LEAST_SEEDS, Word
from selfdistill.reporting.read.curves import ends, falls

#: More seeds than these are not looked for.
MOST_SEEDS = 100
#: How many such differences a fall of one seed has to be.
_NOISE = 5.0

NAMES = {
    "end": "last tenth of the steps / beginning",
    "highest": "highest tenth / beginning",
    "lowest": "lowest tenth / beginning",
    "fall": "last tenth - best tenth before",
}


@dataclass(frozen=True)
class Bound:
    """One value a seed (a logarithm, or a difference of shares), and the range that it is held against, alike."""

    of: str
    values: Sequence[float]
    above: float
    below: float

    @property
    def family(self) -> Family:
        """Returns their mean, with its interval."""
        return over_seeds(self.values)

    def holds(self, value: float) -> bool:
        """Returns whether one seed's value lies in the range."""
        return self.above < value < self.below

    @property
    def clearly_inside(self) -> bool:
        """Returns whether all seeds lie in the range, by a margin on its closed sides."""
        margin = self._margin
        return all(self.above + margin < v < self.below - margin for v in self.values)

    @property
    def clearly_outside(self) -> bool:
        """Returns whether all seeds lie outside the range, on one side, by a margin."""
        margin = self._margin
        return all(v < self.above - margin for v in self.values) or all(v > self.below + margin for v in self.values)

    @property
    def _margin(self) -> float:
        """Another factor of CHANGE, or half as much as has to be lost."""
        return abs(self.below) / 2 if self.of == "fall" else math.log(CHANGE)


def bounds_of(word: Word, traces: Sequence[Trace]) -> list[Bound]:
    """Return a word's measures of the seeds' traces, each with its range; all of them have to hold."""
    if word.of == "fall":
        fallen = falls_and_bests(traces)
        best = float(np.mean([best for _, best in fallen]))
        return [Bound("fall", [fall for fall, _ in fallen], -math.inf, -least_fall(best))]
    ranges = {word.of: (word.above, word.below)}
    if word.of == "both":
        ranges = {"highest": (0.0, word.below), "lowest": (word.above, math.inf)}
    return [Bound(of, [measure(t, of) for t in traces], log(low), log(high)) for of, (low, high) in ranges.items()]


def measure(trace: Trace, of: str) -> float:
    """Natural logarithm of a measure over the curve's beginning: -inf for a measure of 0, nan for a beginning of 0."""
    values = trace.values
    begin = values[: max(1, min(10, round(len(values) / 40)))].mean()
    if not begin > 0:
        return math.nan
    width = max(1, round(len(values) / 10))
    tenths = np.convolve(values, np.full(width, 1 / width), mode="valid")
    found = {"end": tenths[-1], "highest": tenths.max(), "lowest": tenths.min()}[of]
    return math.log(found / begin) if found > 1e-9 * begin else -math.inf  # a sum of zeros may be some 1e-17


def falls_and_bests(traces: Sequence[Trace]) -> list[tuple[float, float]]:
    """For each seed its last tenth minus its best tenth before (`curves.falls`), and that best.

    A seed that fell when no other did has its best tenth where theirs is not. Its own counts where the fall from it is
    beyond what the choice of the best of noisy tenths makes of a flat curve: twice the least fall, and _NOISE times
    the usual difference of two tenths that follow each other, which a curve that wanders slowly has too.
    """
    curves = [trace.curve for trace in traces]
    found = []
    for curve, fall in zip(curves, falls(curves), strict=True):
        (alone,), end = falls([curve]), ends(curve)[1]
        values = np.array([curve[step] for step in sorted(curve)])
        tenths = [part.mean() for part in np.array_split(values, min(10, len(values)))]
        noise = float(np.median(np.abs(np.diff(tenths))))
        if -alone > max(2 * least_fall(end - alone), _NOISE * noise):
            fall = min(fall, alone)
        found.append((fall, end - fall))
    return found


def least_fall(best: float) -> float:
    """Return the share that a curve with this best has to lose to have fallen."""
    return max(min(FALL / 100, FALL_SHARE * best), LEAST_FALL / 100)


def seeds_for(mean: float, spread: float, above: float, below: float) -> float:
    """Seeds with which an interval would lie on one side of the nearest bound; inf: more than are looked for.

    mean, spread: of one value a seed, spread nan where it is not known: then the least number that tells anything.
    """
    if math.isnan(mean) or math.isinf(mean):
        return math.nan
    if math.isnan(spread):
        return LEAST_SEEDS
    distance = min(abs(mean - side) for side in (above, below) if math.isfinite(side))
    counts = np.arange(LEAST_SEEDS, MOST_SEEDS + 1)
    enough = stdtrit(counts - 1, (1 + LEVEL) / 2) * spread / np.sqrt(counts) < distance
    return float(counts[enough.argmax()]) if enough.any() else math.inf


def spread_of(*sides: Sequence[float]) -> float:
    """Standard deviation of one value a seed, or of the difference of two sides'; nan where a side does not tell."""
    if any(len(side) < 2 or alike(side) or not all(map(math.isfinite, side)) for side in sides):
        return math.nan
    return math.sqrt(sum(np.var(side, ddof=1) for side in sides))


def log(factor: float) -> float:
    """Return the logarithm, with -inf and inf for the ends of an open range."""
    return -math.inf if factor <= 0 else math.log(factor)
