"""Computes within.csv: the best validation within hours of training beside the last one.

SDPO's paper (arXiv 2601.20802) reports the best of all validations within 1 h and 5 h of step time. A maximum over
noisy evaluations lies above what any of them would repeat, and says nothing of what comes after: users report
collapses. So the last value stands beside it, with what tells of one: entropy, length, truncated responses.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.reporting.read.curves import ends, validation_of
from selfdistill.reporting.read.published_sdpo import HOURS, VERSIONS, published_best
from selfdistill.reporting.read.runs import RunFiles, read_metrics, series
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.table import Cell, Row, View

#: Metric -> column, of which the first and the last tenth of the steps are shown.
_WATCHED = {"actor/entropy": "entropy", "response/length_mean": "length", "response/truncated": "truncated"}
_OURS = ["hours", "first", "last", *(f"best_{hours}h" for hours in HOURS), "best", "fall"]
_ENDS = [f"{name}_{end}" for name in _WATCHED.values() for end in ("first", "last")]
_PUBLISHED = [f"published_{hours}h_{version}" for version in VERSIONS for hours in HOURS]
COLUMNS = ["task", "model", "variant", "benchmark", "n_seeds", *_OURS, *_ENDS, *_PUBLISHED]

Metrics = Sequence[Mapping[str, Any]]


def within_table(runs: Sequence[RunFiles]) -> pd.DataFrame:
    """Return a row for each trained task, model, variant and validated benchmark: means over seeds.

    Columns: hours (of step time, the whole run), first (before training), last, best_1h, best_5h and best (accuracies,
    percent), fall (best minus last, points); entropy, length and truncated share at both ends of training;
    published_1h_<version>, ... of the paper's table, where it has the cell.

    Raises UserError for metrics that cannot be read.
    """
    cells: dict[tuple[str, str, str], list[Metrics]] = {}
    for run in runs:
        if run.metrics is not None:
            cells.setdefault((run.task, run.model, run.variant), []).append(read_metrics(run.metrics))
    rows = []
    for (task, model, variant), members in cells.items():
        watched = _means([_watched(metrics) for metrics in members])
        for benchmark in dict.fromkeys(name for metrics in members for name in _validated(metrics)):
            found = [summary for metrics in members if (summary := best_within(metrics, benchmark))]
            row = {"task": task, "model": model, "variant": variant, "benchmark": benchmark, "n_seeds": len(found)}
            for hours in HOURS:
                for version, percent in published_best(model, variant, benchmark, hours).items():
                    row[f"published_{hours}h_{version}"] = percent
            rows.append({**row, **_means(found), **watched})
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys([*_OURS, *_ENDS, *_PUBLISHED], float))


def best_within(metrics: Metrics, benchmark: str) -> dict[str, float]:
    """Returns the columns from `hours` to `fall` of one run and benchmark; empty where it was never validated.

    Step time is the sum of timing_s/step, which excludes validation, as in the paper. The validation before training is
    at time 0 and counts, so a run that only falls has its beginning as its best.
    """
    curve = {step: 100 * value for step, value in validation_of(metrics, benchmark).items()}
    if not curve:
        return {}
    spent = series(metrics, "timing_s/step")
    seconds, clock = {}, 0.0
    for record in metrics:
        clock += spent.get(record["step"], math.nan if record["step"] else 0.0)
        seconds[record["step"]] = clock
    last = curve[max(curve)]
    found = {"hours": clock / 3600, "first": curve.get(0, math.nan), "last": last}
    for hours in HOURS:
        reached = [value for step, value in curve.items() if seconds[step] <= hours * 3600]
        found[f"best_{hours}h"] = max(reached) if reached else math.nan
    best = max(curve.values())
    return {**found, "best": best, "fall": best - last}


def within_views(table: pd.DataFrame) -> list[View]:
    """Two views of each task, model and benchmark: what was best when, beside the paper's; and whether it held."""
    views = []
    for (task, model, benchmark), rows in table.groupby(["task", "model", "benchmark"], sort=False):
        of_block = rows.to_dict("records")
        place = f"{task}, {model}" if benchmark == task else f"{task}, {model}: {benchmark}"
        titles = ["Before", *(f"Best in {hours} h" for hours in HOURS), "Last", "Hours"]
        titles += [f"Paper, {hours} h ({version})" for version in VERSIONS for hours in HOURS]
        names = ["first", *(f"best_{hours}h" for hours in HOURS), "last", "hours", *_PUBLISHED]
        views.append(View(f"{place}: best and last", "Variant", titles, _rows(of_block, names)))
        names = ["best", "last", "fall", *_ENDS]
        titles = [name.replace("_", ", ").capitalize() for name in names]
        views.append(View(f"{place}: does it hold?", "Variant", titles, _rows(of_block, names)))
    return views


_STYLES = {"entropy": ".3f", "length": ",.0f", "truncated": ".1f", "hours": ".2f"}


def _rows(records: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[Row]:
    def cell(record: Mapping[str, Any], name: str) -> Cell:
        return number_cell(record[name], _STYLES.get(name.partition("_")[0], ".1f"))

    def seeds(record: Mapping[str, Any]) -> str:
        return "" if record["n_seeds"] == 1 else f"{record['n_seeds']} seeds"

    return [Row(each["variant"], [cell(each, name) for name in names], note=seeds(each)) for each in records]


def _validated(metrics: Metrics) -> list[str]:
    keys = dict.fromkeys(key for record in metrics for key in record)
    return [found[1] for key in keys if (found := re.fullmatch(r"val/(.+)/(?:mean@\d+|pass@1)", key))]


def _watched(metrics: Metrics) -> dict[str, float]:
    found = {}
    for metric, name in _WATCHED.items():
        scale = 100 if name == "truncated" else 1
        first, last = ends(series(metrics, metric))
        found |= {f"{name}_first": scale * first, f"{name}_last": scale * last}
    return found


def _means(of_seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([seed[name] for seed in of_seeds])) for name in of_seeds[0]} if of_seeds else {}
