"""Computes drift.csv: how the paper's own numbers moved between its two versions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from selfdistill.reporting.read.published import BENCHMARKS, MODELS, dated, main_results, version_of
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.table import Cell, Row, View

COLUMNS = columns("task model method benchmark v1 v2 difference v1_source v1_hints v2_hints")


def drift_table(rows: Sequence[Mapping[str, str]] | None = None) -> pd.DataFrame:
    """Return the long table of drift.csv: a row for each cell of the main results that both versions have, in percent.

    v1: from the latest tables of the first version, v1_source; difference: v2 minus v1; v1_hints, v2_hints: the source
    of the hints as the tables name it. What counts as rlcsd is what each version calls so: with hints from siblings in
    the first, from the dataset in the second.

    rows: of main_results.csv; without them the shipped ones.
    """
    cells: dict[str, dict[tuple[str, str, str], Mapping[str, str]]] = {"v1": {}, "v2": {}}
    for row in sorted(rows if rows is not None else main_results(), key=lambda row: dated(row["source"])):
        version = version_of(row["source"])
        if (version, row["method"], row["hint_source"]) != ("v1", "rlcsd", "gt_cot"):  # came later, and is no headline
            cells[version][row["model"], row["method"], row["benchmark"]] = row
    table = []
    for (model, method, name), second in cells["v2"].items():
        if first := cells["v1"].get((model, method, name)):
            task, benchmark = BENCHMARKS[name]
            before, after = float(first["percent"]), float(second["percent"])
            place = {"task": task, "model": _ours(model), "method": method, "benchmark": benchmark}
            values = {"v1": before, "v2": after, "difference": round(after - before, 1)}
            hints = {"v1_hints": first["hint_source"], "v2_hints": second["hint_source"]}
            table.append({**place, **values, "v1_source": first["source"], **hints})
    return pd.DataFrame(table, columns=COLUMNS)


def drift_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each task: the averages of both versions, and their difference in points."""
    averages = table[table["benchmark"] == "average"]
    return [
        View(
            task,
            "Model and method",
            ["First version", "Second version", "Difference"],
            [Row(f"{row['model']}, {row['method']}", _cells(row)) for row in part.to_dict("records")],
        )
        for task, part in averages.groupby("task", sort=False)
    ]


def drift_line(table: pd.DataFrame) -> str:
    """Returns how far the averages of trained methods moved, in a sentence a task."""
    trained = table[(table["benchmark"] == "average") & (table["method"] != "base")]
    said = []
    for task, part in trained.groupby("task", sort=False):
        gaps = part["difference"]
        size = math.sqrt((gaps**2).mean())
        largest = part.loc[gaps.abs().idxmax()]
        said.append(
            f"{task}: {(gaps != 0).sum()} of {len(gaps)} averages moved, by {size:.1f} points (root mean square), most "
            f"{largest['method']} on {largest['model']}, {largest['v1']:.1f} to {largest['v2']:.1f}"
        )
    if not said:
        return "No number is in both versions."
    same = [
        f"{method} on {model}"
        for (model, method), part in table[table["method"] != "base"].groupby(["model", "method"], sort=False)
        if not part["difference"].any()
    ]
    return f"{'; '.join(said)}. All cells are the same: {', '.join(same) or 'of no row'}."


def _cells(row: Mapping[str, Any]) -> list[Cell]:
    return [number_cell(row[name], style) for name, style in (("v1", ".1f"), ("v2", ".1f"), ("difference", "+.1f"))]


def _ours(model: str) -> str:
    return next((ours for ours, theirs in MODELS.items() if theirs == model), model)
