"""Long tables cut into blocks shaped like the paper's, with what was asked for and is not there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from selfdistill.reporting.read.accuracy import AVERAGES, REFERENCES, Tasks, benchmark_rows


@dataclass(frozen=True)
class Block:
    """A table as in the paper: one task and model, a row for each variant, a column for each benchmark.

    reference: what the variants are compared with, in gains; columns: benchmark -> title; rows: variant -> benchmark ->
    row of the long table. Of what was asked for and is not there: absent: variant -> "not run", "not finished" or
    "failed"; seeds: variant -> "2 of 3 seeds"; remarks: a line on the reference where it lacks seeds, and on each
    missing run whose reason is known.
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


def blocks(
    table: pd.DataFrame,
    missing: Sequence[Mapping[str, Any]] = (),
    tasks: Tasks | None = None,
    references: Sequence[str] = REFERENCES,
) -> list[Block]:
    """A main or gains table, cut into the paper's shape: a block for each task, model and, in gains, reference.

    missing: the runs that were asked for and are not in the table (task, model, variant, seed, status, why); a task and
    model of which nothing is there then has a block too, with the columns of `tasks`, and so have those of `references`
    that gains lack.
    """
    found = {cell: part.to_dict("records") for cell, part in table.groupby(["task", "model"], sort=False)}
    made = []
    for cell in dict.fromkeys([*found, *((run["task"], run["model"]) for run in missing)]):
        records, lost = found.get(cell, []), [run for run in missing if (run["task"], run["model"]) == cell]
        named: list[str | None] = [None]
        if "reference" in table.columns:
            asked = {run["variant"] for run in lost}
            named = [
                *dict.fromkeys(row["reference"] for row in records),
                *(name for name in references if name in asked),
            ]
        for reference in dict.fromkeys(named):
            rows = [row for row in records if row.get("reference") == reference]
            made.append(_block(*cell, reference, rows, lost, tasks))
    return made


def column_title(row: Mapping[str, Any]) -> str:
    """A benchmark's heading; says what lies out of distribution and what no average counts."""
    for name, title, _ in AVERAGES:
        if row["benchmark"] == name:
            return title
    if not row["counted"]:
        return f"{row['benchmark']} (not counted)"
    return f"{row['benchmark']} (out)" if row["distribution"] == "out" else row["benchmark"]


def _block(
    task: str,
    model: str,
    reference: str | None,
    records: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, Any]],
    tasks: Tasks | None,
) -> Block:
    columns, rows = {}, {}
    for row in records:
        columns[row["benchmark"]] = column_title(row)
        rows.setdefault(row["variant"], {})[row["benchmark"]] = row
    if not columns and tasks is not None:
        columns = {name: column_title({"benchmark": name, **about}) for name, _, about in benchmark_rows(tasks[task])}
    absent, seeds, remarks = {}, {}, []
    if reference is None:
        shown = missing
    elif rows:
        shown = [run for run in missing if run["variant"] not in ("base", reference)]
    else:  # nothing can be compared with it, whatever else was run
        shown = [run for run in missing if run["variant"] == reference]
    if reference is not None and rows:
        lost = [run for run in missing if run["variant"] == reference]
        if lost:
            there = next(iter(next(iter(rows.values())).values()))["seeds_reference"]
            remarks.append(f"{reference}, with which all are compared: {there} of {there + len(lost)} seeds")
            remarks += _reasons(lost)
    for variant in dict.fromkeys(run["variant"] for run in shown):
        lost = [run for run in shown if run["variant"] == variant]
        if variant in rows:
            there = next(iter(rows[variant].values()))["n_seeds" if reference is None else "seeds_variant"]
            seeds[variant] = f"{there} of {there + len(lost)} seeds"
        else:
            absent[variant] = ", ".join(dict.fromkeys(run["status"] for run in lost))
        remarks += _reasons(lost)
    metric = records[0]["metric"] if records else tasks[task]["metric"] if tasks is not None else ""
    return Block(task, model, metric, reference, columns, rows, absent, seeds, remarks)


def _reasons(lost: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{run['variant']}, seed {run['seed']}: {run['status']}: {run['why']}" for run in lost if run["why"]]
