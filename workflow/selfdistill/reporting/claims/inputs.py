"""Collects what was run of a block (task x model), on which claims are judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.reporting.claims.predicates import CONTROLS, VALIDATION
from selfdistill.reporting.read.accuracy import Tasks, VariantScores, by_block
from selfdistill.reporting.read.curves import validation
from selfdistill.reporting.read.runs import MissingRun, RunFiles, number, read_metrics, series
from selfdistill.study.matrix import BASE

#: Status of a missing run whose training broke.
FAILED = "failed"


class NotRunError(Exception):
    """Holds what a claim needs is not there; the message says what, and why where that is known."""


@dataclass(frozen=True)
class Trace:
    """One metric of one run.

    Attributes:
        curve: step -> value, where it is a finite number.
        blank: steps at which it should be there and is not; NaN is logged as null.
        steps: the last step of the run; of what is logged now and then, the last with a value or a blank.
    """

    curve: Mapping[int, float]
    blank: tuple[int, ...]
    steps: int

    @property
    def blank_share(self) -> float:
        """Returns the share of blanks among the steps at which a value should be there."""
        return len(self.blank) / (len(self.blank) + len(self.curve))

    @property
    def values(self) -> np.ndarray:
        """Returns the values in the order of their steps."""
        return np.array([self.curve[step] for step in sorted(self.curve)])


@dataclass(frozen=True)
class ClaimInputs:
    """Holds what was run of one task and model.

    Attributes:
        task, model: the block.
        family: the grader of the task, "maths" or "knights" in the paper.
        settings: of the task, as in `tables`.
        variants: variant -> its draws.
        metrics: variant -> seed -> its steps.
        tokens: rows of tokens.csv.
        missing: the matrix's other runs.
        steps: training steps that the matrix plans for the task; 0: not known.
        untrained: model -> its draws without any training, of all models on this task.
        diagnosis: rows of diagnosis.csv.
    """

    task: str
    model: str
    family: str
    settings: Mapping[str, Any]
    variants: Mapping[str, VariantScores]
    metrics: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]]
    tokens: pd.DataFrame
    missing: Sequence[MissingRun]
    steps: int = 0
    untrained: Mapping[str, VariantScores] = field(default_factory=dict)
    diagnosis: pd.DataFrame | None = None

    @property
    def planned(self) -> set[str]:
        """Returns the variants of the block's matrix, run or not."""
        return {*self.variants, *self.metrics, *(run.variant for run in self.missing)}

    @property
    def control(self) -> str:
        """Returns the method that tells what happens without a teacher too; empty where none was run."""
        return next((name for name in CONTROLS if name in self.variants and name in self.metrics), "")

    def need(self, *variants: str) -> None:
        """Raise NotRunError that names those of the variants of which nothing was run."""
        absent: dict[str, list[str]] = {}
        for variant in variants:
            if variant not in self.variants:
                lost = self._lost(variant)
                absent.setdefault(lost[0].told if lost else "not in the matrix", []).append(variant)
        if absent:
            raise NotRunError("needs " + ", ".join(f"{', '.join(who)} ({why})" for why, who in absent.items()))

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

    def failed(self, variant: str) -> list[int]:
        """Seeds of a variant whose run failed."""
        return sorted(run.seed for run in self._lost(variant) if run.status == FAILED)

    def traces(self, variant: str, metric: str) -> dict[int, Trace]:
        """Seed -> its trace, of the seeds that have two points at least. Raises NotRunError where none has."""
        self.need(variant)
        if variant not in self.metrics:
            raise NotRunError(f"needs the metrics of {variant}: there are only its draws")
        traces = {seed: _trace(records, metric, self.settings) for seed, records in self.metrics[variant].items()}
        traces = {seed: trace for seed, trace in traces.items() if len(trace.curve) > 1}
        if not traces:
            raise NotRunError(f"needs {metric} of {variant} at two steps at least")
        return traces

    def _lost(self, variant: str) -> list[MissingRun]:
        return [run for run in self.missing if run.variant == variant]


def gather(
    scores: Sequence[VariantScores],
    runs: Sequence[RunFiles],
    tasks: Tasks,
    graders: Mapping[str, str],
    missing: Sequence[MissingRun] = (),
    tokens: pd.DataFrame | None = None,
    steps: Mapping[str, int] | None = None,
    diagnosis: pd.DataFrame | None = None,
) -> list[ClaimInputs]:
    """Return the inputs of each block of the runs, and of what is missing beside them, in that order.

    Args:
        scores: of the runs.
        runs: those whose metrics are read.
        tasks: settings of the tasks.
        graders: task -> grader.
        missing: runs of the matrix that are not among `runs`.
        tokens: tokens.csv, where tokens were recorded.
        steps: task -> training steps that the matrix plans.
        diagnosis: diagnosis.csv, where teachers were diagnosed.

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
    alone: dict[str, dict[str, VariantScores]] = {}
    for (task, model), members in variants.items():
        for each in members:
            if each.variant == BASE:
                alone.setdefault(task, {})[model] = each

    def of_cell(table: pd.DataFrame, cell: tuple[str, str]) -> pd.DataFrame:
        return table[(table["task"] == cell[0]) & (table["model"] == cell[1])]

    return [
        ClaimInputs(
            *cell,
            family=graders[cell[0]],
            settings=tasks[cell[0]],
            variants={variant.variant: variant for variant in variants.get(cell, [])},
            metrics=metrics.get(cell, {}),
            tokens=of_cell(tokens, cell),
            missing=[run for run in missing if run.cell == cell],
            steps=(steps or {}).get(cell[0], 0),
            untrained=alone.get(cell[0], {}),
            diagnosis=None if diagnosis is None else of_cell(diagnosis, cell),
        )
        for cell in dict.fromkeys([*variants, *(run.cell for run in missing)])
    ]


def _trace(records: Sequence[Mapping[str, Any]], metric: str, settings: Mapping[str, Any]) -> Trace:
    steps = records[-1]["step"] if records else 0
    if metric == VALIDATION:
        curve = validation(records, settings)
        # Validated now and then: a step is blank where one of its values is no number.
        blank = [r["step"] for r in records if any(k.startswith("val/") and number(v) is None for k, v in r.items())]
        steps = max([0, *curve, *blank])
    else:
        curve = series(records, metric)
        blank = [r["step"] for r in records if r["step"] > 0 and r["step"] not in curve]
    return Trace(curve, tuple(step for step in blank if step not in curve), steps)
