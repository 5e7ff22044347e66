"""What was run of a block (task x model), and what can be measured on it: the numbers that claims are judged by."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.config import BASE
from selfdistill.evaluation.comparisons import holm
from selfdistill.evaluation.estimators import Estimate, paired_difference
from selfdistill.reporting.curves import Curve, difference, gap_over_seeds, log_ratio, mean_over_seeds, validation
from selfdistill.reporting.runs import RunFiles, read_metrics, series
from selfdistill.reporting.tables import Group, Tasks, by_block, read_groups

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
class Evidence:
    """What was run of one task and model.

    family: the grader of the task, "maths" or "knights" in the paper; settings: of the task, as in `tables`.
    groups: variant -> its draws; metrics: variant -> those of each seed; tokens: rows of tokens.csv.
    missing: the matrix's other runs, each with variant, seed, status and why.
    """

    task: str
    model: str
    family: str
    settings: Mapping[str, Any]
    groups: Mapping[str, Group]
    metrics: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]]
    tokens: pd.DataFrame
    missing: Sequence[Mapping[str, Any]]

    def need(self, *variants: str) -> None:
        """Raise NotRunError that names those of the variants of which nothing was run."""
        if absent := [self._absence(variant) for variant in variants if variant not in self.groups]:
            raise NotRunError(f"needs {', '.join(absent)}")

    def incomplete(self, *variants: str) -> list[str]:
        """For each variant that lacks some of its seeds: how many there are, and what became of the others."""
        found = []
        for variant in variants:
            lost = self._lost(variant)
            if lost and variant in self.groups:
                seeds = seeds_of(self.groups[variant])
                reasons = ", ".join(f"seed {run['seed']} {_status(run)}" for run in lost)
                found.append(f"{variant}: {seeds} of {seeds + len(lost)} seeds ({reasons})")
        return found

    def curves(self, variant: str, key: str) -> list[Curve]:
        """One curve a seed. Raises NotRunError where one has less than two points."""
        self.need(variant)
        if variant not in self.metrics:
            raise NotRunError(f"needs the metrics of {variant}: there are only its draws")
        found = [_curve(metrics, key, self.settings) for metrics in self.metrics[variant]]
        if min(map(len, found)) < 2:
            raise NotRunError(f"needs {key} of {variant} at two steps at least")
        return found

    def _lost(self, variant: str) -> list[Mapping[str, Any]]:
        return [run for run in self.missing if run["variant"] == variant]

    def _absence(self, variant: str) -> str:
        lost = self._lost(variant)
        return f"{variant} ({_status(lost[0])})" if lost else f"{variant} (not in the matrix)"


def gather(
    runs: Sequence[RunFiles],
    tasks: Tasks,
    graders: Mapping[str, str],
    missing: Sequence[Mapping[str, Any]] = (),
    tokens: pd.DataFrame | None = None,
) -> list[Evidence]:
    """The evidence of each block of the runs, and of what is missing beside them, in that order.

    tasks: as in `tables`; graders: task -> grader. missing: runs of the matrix that are not among `runs`, each with
    task, model, variant, seed, status, why. tokens: tokens.csv, where tokens were recorded.
    Raises UserError as `tables.read_groups` and `runs.read_metrics` do.
    """
    groups = by_block(read_groups(runs, tasks))
    cells = dict.fromkeys([*groups, *((run["task"], run["model"]) for run in missing)])
    if tokens is None:
        tokens = pd.DataFrame(columns=["task", "model", "variant", "seed", "token_class"])
    made = []
    for task, model in cells:
        metrics: dict[str, list] = {}
        for run in runs:
            if (run.task, run.model) == (task, model) and run.metrics is not None:
                metrics.setdefault(run.variant, []).append(read_metrics(run.metrics))
        made.append(
            Evidence(
                task,
                model,
                graders[task],
                tasks[task],
                {group.variant: group for group in groups.get((task, model), [])},
                metrics,
                tokens[(tokens["task"] == task) & (tokens["model"] == model)],
                [run for run in missing if (run["task"], run["model"]) == (task, model)],
            )
        )
    return made


def seeds_of(group: Group) -> int:
    """The number of seeds of a variant's draws."""
    return next(iter(group.results.values())).draws.correct.shape[0]


def accuracy_gap(block: Evidence, variant: str, other: str) -> Measured:
    """Average accuracy of a variant minus that of another, paired on the problems, in points."""
    block.need(variant, other)
    ours, theirs = (_scores(block, name, ("in", "out")) for name in (variant, other))
    estimate = _scaled(paired_difference(ours, theirs), 100)
    return Measured(f"average, {variant} - {other}", POINTS, estimate, _fewest(block, variant, other))


def least_gap(block: Evidence, variant: str, others: Sequence[str]) -> Measured:
    """The smallest of a variant's gaps to several others, paired, in points; Holm's p-value of that gap.

    The estimate is that of the rival that comes closest, or is furthest ahead; its interval is its own. p_value: the
    largest of all gaps' adjusted p-values where every gap is positive (all must hold at once), else the smallest of
    those that are negative (one is enough). Raises NotRunError unless all others were run.
    """
    block.need(variant, *others)
    ours = _scores(block, variant, ("in", "out"))
    gaps = [paired_difference(ours, _scores(block, other, ("in", "out"))) for other in others]
    adjusted = holm([gap.p_value for gap in gaps])
    closest = min(range(len(gaps)), key=lambda place: gaps[place].value)
    ahead = [p for p, gap in zip(adjusted, gaps, strict=True) if gap.value <= 0]
    return Measured(
        f"average, {variant} - best of {', '.join(others)}",
        POINTS,
        _scaled(gaps[closest], 100),
        _fewest(block, variant, *others),
        f"the best of them is {others[closest]}",
        float(min(ahead) if ahead else max(adjusted)),
    )


def gain_beyond(block: Evidence, variant: str, other: str) -> Measured:
    """Gain over another variant out of distribution minus the gain in distribution, paired, in points.

    Raises NotRunError where the task has no counted benchmarks of both kinds.
    """
    block.need(variant, other)
    inside, outside = (len(_counted(block, (where,))) for where in ("in", "out"))
    if not inside or not outside:
        raise NotRunError("needs benchmarks in and out of distribution: the task has one kind only")
    sides = []
    for name in (variant, other):
        # A weighted sum as the macro average it is a multiple of; 1 - score turns a gain round and stays a score.
        weighted = [scores / outside for scores in _scores(block, name, ("out",))]
        sides.append(weighted + [(1 - scores) / inside for scores in _scores(block, name, ("in",))])
    estimate = _scaled(paired_difference(*sides), 100 * (inside + outside))
    statistic = f"gain over {other} out of distribution - in distribution"
    return Measured(statistic, POINTS, estimate, _fewest(block, variant, other))


def change(block: Evidence, variant: str, key: str) -> Measured:
    """A metric's mean over the last tenth of the steps over that of the first, a factor; geometric mean over seeds."""
    estimate = mean_over_seeds([log_ratio(curve) for curve in block.curves(variant, key)])
    return _factor(f"{key}, last tenth / first", estimate, len(block.metrics[variant]))


def shift(block: Evidence, variant: str, key: str) -> Measured:
    """A share's mean over the last tenth of the steps minus that of the first, in points; mean over seeds."""
    estimate = mean_over_seeds([difference(curve) for curve in block.curves(variant, key)])
    return Measured(f"{key}, last tenth - first", POINTS, _scaled(estimate, 100), len(block.metrics[variant]))


def change_against(block: Evidence, variant: str, other: str, key: str) -> Measured:
    """`change` of a variant over that of another, a factor."""
    block.need(variant, other)
    ours, theirs = ([log_ratio(curve) for curve in block.curves(name, key)] for name in (variant, other))
    seeds = min(len(ours), len(theirs))
    return _factor(f"change of {key}, {variant} / {other}", gap_over_seeds(ours, theirs), seeds)


def style_over_task(block: Evidence, variant: str, signal: str, other: str | None = None) -> Measured:
    """Mean size of a signal on style tokens over that on task tokens, a factor; or over that factor of another signal.

    signal, other: columns of tokens.csv. Signals are of the same tokens, so seeds are paired.
    """
    block.need(variant)
    rows = block.tokens[block.tokens["variant"] == variant]
    logs = [_style_log(part, signal) - (_style_log(part, other) if other else 0.0) for _, part in rows.groupby("seed")]
    if not logs:
        raise NotRunError(f"needs recorded tokens of {variant}: there are none")
    name = f"{signal}, style / task tokens"
    return _factor(f"({name}) / ({other}, the same)" if other else name, mean_over_seeds(logs), len(logs))


def _style_log(rows: pd.DataFrame, signal: str) -> float:
    sizes = [rows.loc[rows["token_class"] == kind, signal].astype(float) for kind in ("style", "task")]
    style, task = (float(size.iloc[0]) if len(size) else math.nan for size in sizes)
    return math.log(style / task) if style > 0 and task > 0 else math.nan


def _factor(statistic: str, logs: Estimate, seeds: int) -> Measured:
    return Measured(
        statistic, FACTOR, Estimate(*(math.exp(bound) for bound in (logs.value, logs.low, logs.high))), seeds
    )


def _scaled(estimate: Estimate, factor: float) -> Estimate:
    return Estimate(factor * estimate.value, factor * estimate.low, factor * estimate.high)


def _counted(block: Evidence, distributions: Iterable[str]) -> list[str]:
    about = block.settings["benchmarks"]
    return [b for b in about if about[b].get("counted", True) and about[b]["distribution"] in distributions]


def _scores(block: Evidence, variant: str, distributions: Iterable[str]) -> list[np.ndarray]:
    return [block.groups[variant].results[b].scores for b in _counted(block, distributions)]


def _fewest(block: Evidence, *variants: str) -> int:
    return min(seeds_of(block.groups[variant]) for variant in variants if variant != BASE)


def _curve(metrics: Sequence[Mapping[str, Any]], key: str, settings: Mapping[str, Any]) -> Curve:
    return validation(metrics, settings) if key == VALIDATION else series(metrics, key)


def _status(run: Mapping[str, Any]) -> str:
    return f"{run['status']}: {run['why']}" if run["why"] else run["status"]
