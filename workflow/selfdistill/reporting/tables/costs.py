"""Computes costs.csv: time, GPU-hours, tokens and memory as measured in training and evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from selfdistill.reporting.read.provenance import machine, read_facts
from selfdistill.reporting.read.runs import RunFiles, check_unique, read_metrics
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.render.texts import DASH

TRAINING, EVALUATION = "training", "evaluation"
#: Columns that are added up, and those of which the largest counts.
_ADDED = ("wall_seconds", "gpu_hours", "steps", "tokens_generated", "tokens_teacher")
_LARGEST = ("peak_host_gib", "peak_device_gib")
#: Column -> title.
COLUMNS = {
    "wall_seconds": "wall time",
    "gpu_hours": "GPU-hours",
    "steps": "steps",
    "tokens_generated": "tokens drawn",
    "tokens_teacher": "tokens through the teacher",
    "tokens_per_second": "drawn a second",
    "peak_host_gib": "peak GiB, host",
    "peak_device_gib": "peak GiB, GPU",
    "hardware": "on",
}


def costs_table(runs: Sequence[RunFiles]) -> pd.DataFrame:
    """Return one row for each training run and each evaluation, in the order given, trainings first.

    Columns: job ("training" or "evaluation"), task, model, variant, seed, wall_seconds, gpu_hours, steps,
    tokens_generated, tokens_teacher (both over all steps of the metrics), tokens_per_second (drawn, over wall time),
    peak_host_gib (largest process), peak_device_gib (one GPU), hardware. What a file does not say, older ones less than
    newer ones, is missing.

    Raises UserError for a run listed twice and for a file that cannot be read.
    """
    check_unique(runs)
    trained = [_row(TRAINING, run, run.provenance, run.metrics) for run in runs if run.provenance is not None]
    evaluated = [_row(EVALUATION, run, run.account, None) for run in runs if run.account is not None]
    columns = ["job", "task", "model", "variant", "seed", *COLUMNS]
    table = pd.DataFrame([*trained, *evaluated], columns=columns)
    return table.astype(dict.fromkeys((*_ADDED, *_LARGEST, "tokens_per_second"), float))


def totals(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each job, task and model: times, GPU-hours, steps and tokens added up, the largest peaks."""
    groups = table.groupby(["job", "task", "model"], sort=False)
    return pd.concat([groups[list(_ADDED)].sum(min_count=1), groups[list(_LARGEST)].max()], axis=1).reset_index()


def total_line(table: pd.DataFrame) -> str:
    """Return all of it in a sentence."""
    lines = []
    for job, rows in table.groupby("job", sort=False):
        wall, hours = rows["wall_seconds"].sum(), rows["gpu_hours"].sum()
        lines.append(f"{len(rows)} x {job}: {duration(wall)} of wall time, {hours:,.1f} GPU-hours")
    return "; ".join(lines) + "." if lines else "Nothing was measured."


def cost_views(table: pd.DataFrame) -> list[View]:
    """Return a table for each job, task and model with a row a run, and last its total where there are several.

    Columns that it has nothing in are left out. A dash is what a run's files do not say.
    """
    views = []
    summed = totals(table).set_index(["job", "task", "model"])
    for key, rows in table.groupby(["job", "task", "model"], sort=False):
        columns = [column for column in COLUMNS if rows[column].notna().any()]
        if not columns:
            continue
        lines = [
            Row(f"{row['variant']}, seed {row['seed']}", [cost_cell(column, row[column]) for column in columns])
            for row in rows.to_dict("records")
        ]
        if len(rows) > 1:
            total = summed.loc[key]
            cells = [cost_cell(column, total[column]) if column in total else Cell("") for column in columns]
            lines.append(Row("all", cells, total=True))
        job, task, model = key
        views.append(View(f"{task}, {model}: {job}", "Run", [COLUMNS[column] for column in columns], lines))
    return views


def cost_cell(column: str, value: Any) -> Cell:
    """Return a value of one of COLUMNS."""
    return Cell(cost_text(column, value), order=None if pd.isna(value) or isinstance(value, str) else float(value))


def duration(seconds: float) -> str:
    """Return the seconds as people say them: "48 s", "12 min 5 s", "31.2 h"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{seconds / 3600:,.1f} h"


def cost_text(column: str, value: Any) -> str:
    """Return a value of one of COLUMNS as text; a dash where it is missing."""
    if pd.isna(value):
        return DASH
    if column == "hardware":
        return str(value)
    if column == "wall_seconds":
        return duration(value)
    if column == "gpu_hours":
        return f"{value:,.2f}"
    return f"{value:.2f}" if column in _LARGEST else f"{value:,.0f}"


def _row(job: str, run: RunFiles, account: Path, metrics: Path | None) -> dict[str, Any]:
    facts = read_facts(account)
    wall, memory = facts.get("wall_seconds"), facts["peak_memory_gib"]
    steps = read_metrics(metrics) if metrics is not None else []
    drawn = facts.get("tokens") if job == EVALUATION else _added(steps, "tokens/generated")
    return {
        "job": job,
        "task": run.task,
        "model": run.model,
        "variant": run.variant,
        "seed": run.seed,
        "wall_seconds": wall,
        "gpu_hours": facts.get("gpu_hours"),
        "steps": facts.get("steps", steps[-1]["step"] if steps else None),
        "tokens_generated": drawn,
        "tokens_teacher": _added(steps, "tokens/teacher_forwarded"),
        "tokens_per_second": drawn / wall if drawn is not None and wall else None,
        "peak_host_gib": memory.get("host"),
        "peak_device_gib": memory.get("device"),
        "hardware": machine(facts),
    }


def _added(steps: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [value for step in steps if (value := step.get(key)) is not None]
    return sum(values) if values else None
