"""How power.csv looks to readers: the least difference that is seen, and what seeing smaller ones would take."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from selfdistill.reporting.read.accuracy import Tasks, benchmark_rows
from selfdistill.reporting.render.cells import DASH
from selfdistill.reporting.render.paper_shape import column_title
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.tables.power import POINTS

LEAD = (
    "Differences in percentage points that the 95 % interval would see in four of five studies with as many problems, "
    "draws and seeds as here; below, the same for just these problems. Then the seeds, or else the draws a problem, "
    f"that differences of averages would need; {DASH}: no number of them is enough, or there is no interval."
)
NOTHING = "Neither base nor grpo was run beside another variant, so there is no difference to see."

_SAMPLED, _FIXED = "sampled", "fixed"
_KINDS = {_SAMPLED: "other problems too", _FIXED: "these problems"}
#: Of which something smaller is asked; of the benchmarks, power.csv has it.
_AVERAGE = "average"


def power_views(table: pd.DataFrame, tasks: Tasks) -> list[View]:
    """Two views for each task, model and reference of power.csv: by benchmark, and what averages would need."""
    views = []
    for (task, model, reference), part in table.groupby(["task", "model", "reference"], sort=False):
        rows = {(row["variant"], row["benchmark"], row["problems"]): row for row in part.to_dict("records")}
        variants = list(dict.fromkeys(part["variant"]))
        columns = {name: {"benchmark": name, **about} for name, _, about in benchmark_rows(tasks[task])}
        seen = [
            Row(v, [_seen(rows[v, name, _SAMPLED], rows[v, name, _FIXED], c["counted"]) for name, c in columns.items()])
            for v in variants
        ]
        title, heads = f"{task}, {model}: least difference to {reference}", list(map(column_title, columns.values()))
        views.append(View(title, "Variant", heads, seen, _spread(part)))
        if _AVERAGE in columns:
            cases = [(kind, points) for kind in _KINDS for points in POINTS]
            heads = [f"{points} {'point' if points == 1 else 'points'} ({_KINDS[kind]})" for kind, points in cases]
            asked = [Row(v, [_needed(rows[v, _AVERAGE, kind], points) for kind, points in cases]) for v in variants]
            title = f"{task}, {model}: what a difference of averages to {reference} needs"
            views.append(View(title, "Variant", heads, asked))
    return views


def _seen(sampled: Mapping[str, Any], fixed: Mapping[str, Any], counted: bool) -> Cell:
    least = sampled["detectable"]
    order = None if pd.isna(least) else float(least)
    return Cell(_points(least), f"({_points(fixed['detectable'])})", quiet=not counted, order=order)


def _points(number: float) -> str:
    return DASH if pd.isna(number) else f"{number:.1f}"


def _needed(row: Mapping[str, Any], points: int) -> Cell:
    seeds, draws = row[f"seeds_for_{points}"], row[f"draws_for_{points}"]
    if pd.isna(seeds):
        return Cell(DASH, "" if pd.isna(draws) else _counted(draws, "draw"))
    return Cell(_counted(seeds, "seed"), "" if pd.isna(draws) else f"or {_counted(draws, 'draw')}", order=float(seeds))


def _counted(number: float, name: str) -> str:
    return f"{number:,.0f} {name if number == 1 else name + 's'}"


def _spread(part: pd.DataFrame) -> list[str]:
    """On which columns the spread between training runs is assumed, in a line."""
    assumed = part[part["seed_sd_from"] == "assumed"]
    if assumed.empty:
        return []
    names = dict.fromkeys(assumed["benchmark"])
    of = "all columns" if set(names) == set(part["benchmark"]) else ", ".join(names)
    return [f"the spread between training runs is assumed, {assumed['seed_sd'].iloc[0]:.1f} points, in {of}"]
