"""What was run of a block (task x model), and what can be measured on it: the numbers that claims are judged by."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.evaluation.comparisons import holm
from selfdistill.evaluation.estimators import Estimate, paired_difference
from selfdistill.reporting.read.accuracy import Tasks, VariantScores, by_block, counted_benchmarks
from selfdistill.reporting.read.curves import (
    Curve,
    alike,
    falls,
    gap_over_seeds,
    log_ratio,
    mean_over_seeds,
    validation,
)
from selfdistill.reporting.read.runs import MissingRun, RunFiles, read_metrics, series
from selfdistill.study.matrix import BASE

#: Key of the validation accuracy, which is worked out from several metrics.
VALIDATION = "validation accuracy"

POINTS, FACTOR = "points", "factor"


class NotRunError(Exception):
    """What a claim needs is not there; the message says what, and why where that is known."""


@dataclass(frozen=True)
class Measured:
    """A statistic in its unit, the seeds that it rests on, and `note`: what its number alone does not tell.

    seeds: of the trained variant with the fewest; at one, no interval speaks of other training runs. p_value: adjusted,
    where the statistic was picked out of several.
    """

    statistic: str
    unit: str
    estimate: Estimate
    seeds: int
    note: str = ""
    p_value: float | None = None


@dataclass(frozen=True)
class ClaimInputs:
    """What was run of one task and model.

    family: the grader of the task, "maths" or "knights" in the paper; settings: of the task, as in `tables`.
    variants: variant -> its draws; metrics: variant -> seed -> its steps; tokens: rows of tokens.csv.
    missing: the matrix's other runs.
    """

    task: str
    model: str
    family: str
    settings: Mapping[str, Any]
    variants: Mapping[str, VariantScores]
    metrics: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]]
    tokens: pd.DataFrame
    missing: Sequence[MissingRun]

    def need(self, *variants: str) -> None:
        """Raise NotRunError that names those of the variants of which nothing was run."""
        if absent := [self._absence(variant) for variant in variants if variant not in self.variants]:
            raise NotRunError(f"needs {', '.join(absent)}")

    def incomplete(self, *variants: str) -> list[str]:
        """For each variant that lacks some of its seeds: how many there are, and what became of the others."""
        lines = []
        for variant in variants:
            lost = self._lost(variant)
            if lost and variant in self.variants:
                seeds = self.variants[variant].seeds
                reasons = ", ".join(f"seed {run.seed} {run.told}" for run in lost)
                lines.append(f"{variant}: {seeds} of {seeds + len(lost)} seeds ({reasons})")
        return lines

    def curves(self, variant: str, key: str) -> dict[int, Curve]:
        """Seed -> its curve, of the seeds that have two points at least. Raises NotRunError where none has."""
        self.need(variant)
        if variant not in self.metrics:
            raise NotRunError(f"needs the metrics of {variant}: there are only its draws")
        curves = {seed: _curve(metrics, key, self.settings) for seed, metrics in self.metrics[variant].items()}
        curves = {seed: curve for seed, curve in curves.items() if len(curve) > 1}
        if not curves:
            raise NotRunError(f"needs {key} of {variant} at two steps at least")
        return curves

    def _lost(self, variant: str) -> list[MissingRun]:
        return [run for run in self.missing if run.variant == variant]

    def _absence(self, variant: str) -> str:
        lost = self._lost(variant)
        return f"{variant} ({lost[0].told})" if lost else f"{variant} (not in the matrix)"


def gather(
    scores: Sequence[VariantScores],
    runs: Sequence[RunFiles],
    tasks: Tasks,
    graders: Mapping[str, str],
    missing: Sequence[MissingRun] = (),
    tokens: pd.DataFrame | None = None,
) -> list[ClaimInputs]:
    """The inputs of each block of the runs, and of what is missing beside them, in that order.

    Args:
        scores: of the runs.
        runs: those whose metrics are read.
        tasks: settings of the tasks.
        graders: task -> grader.
        missing: runs of the matrix that are not among `runs`.
        tokens: tokens.csv, where tokens were recorded.

    Raises:
        UserError: metrics that cannot be read.
    """
    variants = by_block(scores)
    if tokens is None:
        tokens = pd.DataFrame(columns=["task", "model", "variant", "seed", "token_class"])
    metrics: dict[tuple[str, str], dict[str, dict[int, list]]] = {}
    for run in runs:
        if run.metrics is not None:
            of_variant = metrics.setdefault((run.task, run.model), {}).setdefault(run.variant, {})
            of_variant[run.seed] = read_metrics(run.metrics)
    return [
        ClaimInputs(
            *cell,
            family=graders[cell[0]],
            settings=tasks[cell[0]],
            variants={variant.variant: variant for variant in variants.get(cell, [])},
            metrics=metrics.get(cell, {}),
            tokens=tokens[(tokens["task"] == cell[0]) & (tokens["model"] == cell[1])],
            missing=[run for run in missing if run.cell == cell],
        )
        for cell in dict.fromkeys([*variants, *(run.cell for run in missing)])
    ]


def accuracy_gap(block: ClaimInputs, variant: str, other: str) -> Measured:
    """Average accuracy of a variant minus that of another, paired on the problems, in points."""
    block.need(variant, other)
    ours, theirs = (_scores(block, name, ("in", "out")) for name in (variant, other))
    estimate = _scaled(paired_difference(ours, theirs, trained=_trained(variant, other)), 100)
    return Measured(f"average, {variant} - {other}", POINTS, estimate, _fewest(block, variant, other))


def least_gap(block: ClaimInputs, variant: str, others: Sequence[str]) -> Measured:
    """A variant's gap to the rival among several that decides, paired, in points; its interval is its own.

    Where every rival is behind, all must be: the gap is the smallest one, p_value the largest of all adjusted ones
    (Holm). Where some are ahead, one is enough: gap and p_value are of that with the smallest adjusted p-value, which
    need not be the one ahead by most. Raises NotRunError unless all others were run.
    """
    block.need(variant, *others)
    ours = _scores(block, variant, ("in", "out"))
    gaps = {
        other: paired_difference(ours, _scores(block, other, ("in", "out")), trained=_trained(variant, other))
        for other in others
    }
    adjusted = dict(zip(others, holm([gap.p_value for gap in gaps.values()]), strict=True))
    decisive = best = min(others, key=lambda other: gaps[other].value)
    note, p_value = f"the best of them is {best}", float(np.max(list(adjusted.values())))  # nan if one is
    ahead = [other for other in others if gaps[other].value <= 0]
    if ahead:
        # Holm's values tie: among those the smaller raw one, then the rival ahead by more; nan comes last.
        decisive = min(ahead, key=lambda o: (*map(_nan_last, (adjusted[o], gaps[o].p_value)), gaps[o].value))
        p_value = float(adjusted[decisive])
    if decisive != best:
        note += f" ({100 * gaps[best].value:+.1f}); shown is the gap to {decisive}, which is the most certainly ahead"
    return Measured(
        f"average, {variant} - best of {', '.join(others)}",
        POINTS,
        _scaled(gaps[decisive], 100),
        _fewest(block, variant, *others),
        note,
        p_value,
    )


def gain_beyond(block: ClaimInputs, variant: str, other: str) -> Measured:
    """Gain over another variant out of distribution minus the gain in distribution, paired, in points.

    Raises NotRunError where the task has no counted benchmarks of both kinds.
    """
    block.need(variant, other)
    inside, outside = (len(counted_benchmarks(block.settings, (where,))) for where in ("in", "out"))
    if not inside or not outside:
        raise NotRunError("needs benchmarks in and out of distribution: the task has one kind only")
    sides = []
    for name in (variant, other):
        # A weighted sum as the macro average it is a multiple of; 1 - score turns a gain round and stays a score.
        weighted = [scores / outside for scores in _scores(block, name, ("out",))]
        sides.append(weighted + [(1 - scores) / inside for scores in _scores(block, name, ("in",))])
    estimate = _scaled(paired_difference(*sides, trained=_trained(variant, other)), 100 * (inside + outside))
    statistic = f"gain over {other} out of distribution - in distribution"
    return Measured(statistic, POINTS, estimate, _fewest(block, variant, other))


def _trained(*variants: str) -> tuple[bool, ...]:
    return tuple(variant != BASE for variant in variants)


def change(block: ClaimInputs, variant: str, key: str) -> Measured:
    """A metric's mean over the last tenth of the steps over that of the first, a factor; geometric mean over seeds."""
    curves = block.curves(variant, key)
    logs = [log_ratio(curve) for curve in curves.values()]
    note = _note(_lacking(block, variant, key, curves), _alike(logs))
    return _factor(f"{key}, last tenth / first", mean_over_seeds(logs), len(logs), note)


def fall(block: ClaimInputs, variant: str, key: str) -> Measured:
    """A share's mean over the last tenth of the steps minus that over its best tenth, in points; `curves.falls`."""
    curves = block.curves(variant, key)
    ends = falls(list(curves.values()))
    alone = "the best tenth of one seed is its own, which exaggerates a fall" if len(ends) == 1 else ""
    note = _note(alone, _lacking(block, variant, key, curves), _alike(ends))
    statistic = f"{key}, last tenth - best tenth before"
    return Measured(statistic, POINTS, _scaled(mean_over_seeds(ends), 100), len(ends), note)


def change_against(block: ClaimInputs, variant: str, other: str, key: str) -> Measured:
    """`change` of a variant over that of another, a factor."""
    block.need(variant, other)
    curves = {name: block.curves(name, key) for name in (variant, other)}
    ours, theirs = logs = [[log_ratio(curve) for curve in of_seeds.values()] for of_seeds in curves.values()]
    lacking = [_lacking(block, name, key, of_seeds) for name, of_seeds in curves.items()]
    note = _note(*lacking, *(_alike(side, name) for name, side in zip(curves, logs, strict=True)))
    statistic = f"change of {key}, {variant} / {other}"
    return _factor(statistic, gap_over_seeds(ours, theirs), min(len(ours), len(theirs)), note)


def style_over_task(block: ClaimInputs, variant: str, signal: str, other: str | None = None) -> Measured:
    """Mean size of a signal on style tokens over that on task tokens, a factor; or over that factor of another signal.

    signal, other: columns of tokens.csv. Signals are of the same tokens, so seeds are paired. Raises NotRunError where
    no seed has recorded them on tokens of both classes.
    """
    block.need(variant)
    rows = block.tokens[block.tokens["variant"] == variant]
    if not len(rows):
        raise NotRunError(f"needs recorded tokens of {variant}: there are none")
    signals = [signal, other] if other else [signal]
    sizes = {seed: [_sizes(part, name) for name in signals] for seed, part in rows.groupby("seed")}
    there = {seed: pair for seed, pair in sizes.items() if not np.isnan(pair).any()}
    needed = f"{' and '.join(signals)} on style and task tokens"
    if not there:
        raise NotRunError(f"needs {needed} of {variant}: not recorded")
    logs = [_style_log(*pair[0]) - (_style_log(*pair[1]) if other else 0.0) for pair in there.values()]
    note = _note(_without(variant, needed, sizes, there), _alike(logs))
    name = f"{signal}, style / task tokens"
    return _factor(f"({name}) / ({other}, the same)" if other else name, mean_over_seeds(logs), len(logs), note)


def _sizes(rows: pd.DataFrame, signal: str) -> tuple[float, float]:
    """Mean size on style and on task tokens; nan where it was not recorded."""
    sizes = [rows.loc[rows["token_class"] == kind, signal].astype(float) for kind in ("style", "task")]
    style, task = (float(size.iloc[0]) if len(size) else math.nan for size in sizes)
    return style, task


def _style_log(style: float, task: float) -> float:
    return math.log(style / task) if style > 0 and task > 0 else math.nan


def _lacking(block: ClaimInputs, variant: str, key: str, curves: Collection[int]) -> str:
    return _without(variant, f"{key} at two steps", block.metrics[variant], curves)


def _without(variant: str, what: str, seeds: Iterable[int], there: Collection[int]) -> str:
    """Which seeds of a variant are not among those that are there, in a phrase; empty where all are."""
    lost = [str(seed) for seed in seeds if seed not in there]
    return f"{variant} without seed {', '.join(lost)}, which has not {what}" if lost else ""


def _alike(values: Sequence[float], variant: str = "") -> str:
    of = f" of {variant}" if variant else ""
    return f"all seeds{of} are alike, which tells nothing of their spread" if alike(values) else ""


def _note(*phrases: str) -> str:
    return "; ".join(phrase for phrase in phrases if phrase)


def _nan_last(value: float) -> float:
    return math.inf if math.isnan(value) else float(value)


def _factor(statistic: str, logs: Estimate, seeds: int, note: str) -> Measured:
    estimate = Estimate(*(math.exp(bound) for bound in (logs.value, logs.low, logs.high)))
    return Measured(statistic, FACTOR, estimate, seeds, note)


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(factor * estimate.value, factor * estimate.low, factor * estimate.high)


def _scores(block: ClaimInputs, variant: str, distributions: Iterable[str]) -> list[np.ndarray]:
    return [block.variants[variant].results[b].scores for b in counted_benchmarks(block.settings, distributions)]


def _fewest(block: ClaimInputs, *variants: str) -> int:
    return min(block.variants[variant].seeds for variant in variants if variant != BASE)


def _curve(metrics: Sequence[Mapping[str, Any]], key: str, settings: Mapping[str, Any]) -> Curve:
    return validation(metrics, settings) if key == VALIDATION else series(metrics, key)
