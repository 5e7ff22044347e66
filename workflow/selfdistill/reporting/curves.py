"""Statistics of training curves: by how much one changed from its first tenth to its last, over seeds.

A curve is step -> value of one metric of one run (`runs.series`). Changes are scale-free, so that a toy with answers of
twenty tokens and a model with sixteen thousand are judged by one measure, and each run by the steps that it has. The
unit of every interval is the seed: one training run, however large its change, says nothing of the next one.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from selfdistill.evaluation.estimators import LEVEL, Estimate
from selfdistill.reporting.runs import series

Curve = Mapping[int, float]


def ends(curve: Curve) -> tuple[float, float]:
    """Mean of the first and of the last tenth of a curve's points (of one point at least); nan for less than two."""
    values = np.array([curve[step] for step in sorted(curve)])
    if len(values) < 2:
        return math.nan, math.nan
    tenth = max(1, round(len(values) / 10))
    return float(values[:tenth].mean()), float(values[-tenth:].mean())


def log_ratio(curve: Curve) -> float:
    """Natural logarithm of the last tenth over the first; nan where one of them is not positive."""
    first, last = ends(curve)
    return math.log(last / first) if first > 0 and last > 0 else math.nan


def difference(curve: Curve) -> float:
    """The last tenth minus the first: for shares, which have no scale and may be 0."""
    first, last = ends(curve)
    return last - first


def mean_over_seeds(values: Sequence[float], *, level: float = LEVEL) -> Estimate:
    """Mean of one value a seed with its t-interval; nan bounds for one seed, nan throughout where a value is nan."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, math.nan, math.nan)
    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return Estimate(mean, float(mean - half), float(mean + half))


def gap_over_seeds(first: Sequence[float], second: Sequence[float], *, level: float = LEVEL) -> Estimate:
    """Mean of `first` minus that of `second`, each one value a seed, the seeds independent: Welch's t-interval.

    nan bounds where one side has one seed, nan throughout where a value is nan.
    """
    gap = float(np.mean(first) - np.mean(second))
    if min(len(first), len(second)) < 2:
        return Estimate(gap, math.nan, math.nan)
    parts = [np.var(side, ddof=1) / len(side) for side in (first, second)]
    if sum(parts) == 0:
        return Estimate(gap, gap, gap)
    freedom = sum(parts) ** 2 / sum(p**2 / (len(side) - 1) for p, side in zip(parts, (first, second), strict=True))
    half = stats.t.ppf((1 + level) / 2, freedom) * math.sqrt(sum(parts))
    return Estimate(gap, float(gap - half), float(gap + half))


def validation(metrics: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[int, float]:
    """Validation accuracy: macro mean of the counted benchmarks in distribution, at the steps that have them all.

    settings: of the task, as in `tables`. The number of draws may be another than in the evaluation, so any mean@k or
    pass@1 is taken. Empty where a benchmark was never validated.
    """
    logged = sorted({key for record in metrics for key in record})
    found = []
    for name, about in settings["benchmarks"].items():
        if about.get("counted", True) and about["distribution"] == "in":
            keys = [key for key in logged if re.fullmatch(rf"val/{re.escape(name)}/(mean@\d+|pass@1)", key)]
            found.append(series(metrics, keys[0]) if keys else {})
    steps = sorted(set.intersection(*map(set, found))) if found else []
    return {step: float(np.mean([curve[step] for curve in found])) for step in steps}
