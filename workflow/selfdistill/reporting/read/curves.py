"""Reads training curves: their ends, by how much shares fell from their best, and validation accuracy.

A curve is step -> value of one metric of one run (`runs.series`); each is read by the steps that it has.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from selfdistill.reporting.read.accuracy import counted_benchmarks
from selfdistill.reporting.read.runs import series

Curve = Mapping[int, float]


def ends(curve: Curve) -> tuple[float, float]:
    """Mean of the first and of the last tenth of a curve's points (of one point at least); nan for less than two."""
    values = np.array([curve[step] for step in sorted(curve)])
    if len(values) < 2:
        return math.nan, math.nan
    tenth = _tenth(len(values))
    return float(values[:tenth].mean()), float(values[-tenth:].mean())


def falls(curves: Sequence[Curve]) -> list[float]:
    """For each seed's curve, of two points at least, its last tenth minus its best tenth before that; below 0: a fall.

    So a rise that collapses is a fall, of a share, which has no scale. The best of nine noisy tenths lies above the
    truth, so that a curve that only wobbles would seem to fall in every seed: for each seed the best tenth is that of
    the mean of the *other* seeds, whose noise is not its own. Where they rise, nothing is selected from the noise that
    is measured, and the mean of a flat curve is 0. Seeds that peak at different times fall by more than this says. One
    seed has only itself to select by, and its fall is exaggerated.
    """
    count = min(min(9, len(curve) - _tenth(len(curve))) for curve in curves)
    parts = np.array([_parts(curve, count) for curve in curves])  # [seeds, parts before the last tenth, and that one]
    before, last = parts[:, :-1], parts[:, -1]
    others = (before.sum(axis=0) - before) / (len(curves) - 1) if len(curves) > 1 else before
    best = others.argmax(axis=1)
    return [float(end - mine[place]) for end, mine, place in zip(last, before, best, strict=True)]


def validation(metrics: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[int, float]:
    """Validation accuracy: macro mean of the counted benchmarks in distribution, at the steps that have them all.

    settings: of the task, as in `tables`. The number of draws may be another than in the evaluation, so any mean@k or
    pass@1 is taken, mean@k before pass@1. Empty where a benchmark was never validated.
    """
    curves = [validation_of(metrics, name) for name in counted_benchmarks(settings, ("in",))]
    steps = sorted(set.intersection(*map(set, curves))) if curves else []
    return {step: float(np.mean([curve[step] for curve in curves])) for step in steps}


def validation_of(metrics: Sequence[Mapping[str, Any]], benchmark: str) -> dict[int, float]:
    """Validation accuracy of one benchmark, mean@k before pass@1; empty where it was never validated."""
    logged = sorted({key for record in metrics for key in record})
    keys = [key for key in logged if re.fullmatch(rf"val/{re.escape(benchmark)}/(mean@\d+|pass@1)", key)]
    return dict(series(metrics, keys[0])) if keys else {}


def _tenth(points: int) -> int:
    return max(1, round(points / 10))


def _parts(curve: Curve, count: int) -> list[float]:
    """Means of `count` even parts of what comes before the last tenth, and of the last tenth."""
    values = np.array([curve[step] for step in sorted(curve)])
    before, last = np.split(values, [len(values) - _tenth(len(values))])
    return [*(float(part.mean()) for part in np.array_split(before, count)), float(last.mean())]
