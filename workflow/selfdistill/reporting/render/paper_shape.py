"""Cuts long tables into tables of the paper's shape, and says what is missing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from selfdistill.reporting.read.accuracy import AVERAGES, REFERENCES, Tasks, benchmark_rows
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.study.matrix import BASE


@dataclass(frozen=True)
class PaperTable:
    """A table as in the paper: one task and model, a row for each variant, a column for each benchmark.

    Attributes:
        task, model, metric: what it is of.
        reference: what the variants are compared with, in gains.
        columns: benchmark -> title.
        rows: variant -> benchmark -> row of the long table.
        absent: variant of which nothing is there -> "not run", "not finished" or "failed".
        seeds: variant that lacks seeds -> "2 of 3 seeds".
        remarks: a line on the reference where it lacks seeds, and on each missing run whose reason is known.
    """

    task: str
    model: str
    metric: str
    reference: str | None
    columns: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]]
    absent: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()


def paper_tables(
    table: pd.DataFrame,
    missing: Sequence[MissingRun] = (),
    tasks: Tasks | None = None,
    references: Sequence[str] = REFERENCES,
) -> list[PaperTable]:
    """Cut a main or gains table into the paper's shape: one for each task, model and, in gains, reference.

    Args:
        table: rows of main.csv or gains.csv.
        missing: the runs that were asked for and are not in the table. A task and model of which nothing is there has
            a table too, with the columns of `tasks`, and so have those of `references` that gains lack.
        tasks: settings of the tasks.
        references: variants that others are compared with, whether they were run or not.
    """
    records = {cell: part.to_dict("records") for cell, part in table.groupby(["task", "model"], sort=False)}
    made = []
    for cell in dict.fromkeys([*records, *(run.cell for run in missing)]):
        rows, lost = records.get(cell, []), [run for run in missing if run.cell == cell]
        compared_with: list[str | None] = [None]
        if "reference" in table.columns:
            asked = {run.variant for run in lost}
            compared_with = [*(row["reference"] for row in rows), *(name for name in references if name in asked)]
        for reference in dict.fromkeys(compared_with):
            mine = [row for row in rows if row.get("reference") == reference]
            made.append(_paper_table(*cell, reference, mine, lost, tasks))
    return made


def column_title(row: Mapping[str, Any]) -> str:
    """Return a benchmark's heading; says what lies out of distribution and what no average counts."""
    for name, title, _ in AVERAGES:
        if row["benchmark"] == name:
            return title
    if not row["counted"]:
        return f"{row['benchmark']} (not counted)"
    return f"{row['benchmark']} (out)" if row["distribution"] == "out" else row["benchmark"]


def _paper_table(
    task: str,
    model: str,
    reference: str | None,
    records: Sequence[Mapping[str, Any]],
    missing: Sequence[MissingRun],
    tasks: Tasks | None,
) -> PaperTable:
    metric, columns, rows = _cells(task, records, tasks)
    by_variant: dict[str, list[MissingRun]] = {}
    for run in missing:
        by_variant.setdefault(run.variant, []).append(run)
    remarks = [] if reference is None else _without_reference(reference, rows, by_variant)
    count = "n_seeds" if reference is None else "seeds_variant"
    return PaperTable(
        task,
        model,
        metric,
        reference,
        columns,
        rows,
        absent={v: ", ".join(dict.fromkeys(r.status for r in lost)) for v, lost in by_variant.items() if v not in rows},
        seeds={v: _of_seeds(_any_cell(rows[v])[count], lost) for v, lost in by_variant.items() if v in rows},
        remarks=[*remarks, *(reason for lost in by_variant.values() for reason in _reasons(lost))],
    )


def _cells(
    task: str, records: Sequence[Mapping[str, Any]], tasks: Tasks | None
) -> tuple[str, dict[str, str], dict[str, dict[str, Mapping[str, Any]]]]:
    """Metric, columns and rows of a table; where nothing is there, those that the task would have."""
    if not records:
        if tasks is None:
            return "", {}, {}
        headings = {name: column_title({"benchmark": name, **about}) for name, _, about in benchmark_rows(tasks[task])}
        return tasks[task]["metric"], headings, {}
    columns, rows = {}, {}
    for row in records:
        columns[row["benchmark"]] = column_title(row)
        rows.setdefault(row["variant"], {})[row["benchmark"]] = row
    return records[0]["metric"], columns, rows


def _without_reference(
    reference: str, rows: Mapping[str, Mapping[str, Any]], missing: dict[str, list[MissingRun]]
) -> list[str]:
    """Take out of the missing runs those that are no row of a table of gains; returns what is to be said of them.

    Where none of the reference's runs is there, nothing can be compared with it, whatever else was run: only it is
    missing.

    Args:
        reference: what is compared with.
        rows: of the table.
        missing: variant -> its missing runs; changed.
    """
    lost = missing.pop(reference, [])
    if not rows:
        missing.clear()
        missing |= {reference: lost} if lost else {}
        return []
    missing.pop(BASE, None)
    if not lost:
        return []
    there = _any_cell(next(iter(rows.values())))["seeds_reference"]
    return [f"{reference}, with which all are compared: {_of_seeds(there, lost)}", *_reasons(lost)]


def _any_cell(cells: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return next(iter(cells.values()))


def _of_seeds(there: int, lost: Sequence[MissingRun]) -> str:
    return f"{there} of {there + len(lost)} seeds"


def _reasons(lost: Iterable[MissingRun]) -> list[str]:
    return [f"{run.variant}, seed {run.seed}: {run.told}" for run in lost if run.why]
