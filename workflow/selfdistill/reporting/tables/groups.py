"""Computes groups.csv: what kind of group how often, by both rules, where benchmarks are judged in groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.evaluation.draws import read_matrix
from selfdistill.evaluation.group_scores import CATEGORIES, RULES, group_categories
from selfdistill.reporting.read.runs import RunFiles
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.table import Row, View

COLUMNS = ["task", "model", "variant", "benchmark", "rule", "n_seeds", "groups", *CATEGORIES, "score"]


def groups_table(runs: Sequence[RunFiles], tasks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each task, model, variant, benchmark with groups, and rule; percent over groups, draws and seeds.

    Args:
        runs: with their draws.
        tasks: settings of the tasks, as tables have them.

    Raises:
        UserError: for draws that cannot be read or belong to no groups.
    """
    found: dict[tuple[str, ...], list[list[np.ndarray]]] = {}
    for run in runs:
        for benchmark, about in tasks[run.task]["benchmarks"].items():
            if "groups" not in about:
                continue
            draws = read_matrix(run.draws[benchmark])
            for rule in RULES:
                cell = (run.task, run.model, run.variant, benchmark, rule)
                found.setdefault(cell, []).append(list(group_categories(draws, rule).values()))
    rows = []
    for cell, seeds in found.items():
        each = np.concatenate([np.concatenate(groups) for groups in seeds])
        shares = [100 * float(np.mean(each == number)) for number in range(len(CATEGORIES))]
        by_name = dict(zip(CATEGORIES, shares, strict=True))
        rows.append((*cell, len(seeds), len(seeds[0]), *shares, by_name["CM"] + by_name["IG"] / 2))
    return pd.DataFrame(rows, columns=COLUMNS)


def groups_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each task, model, benchmark and rule."""
    views = []
    for (task, model, benchmark, rule), rows in table.groupby(["task", "model", "benchmark", "rule"], sort=False):
        shown = [
            Row(row["variant"], [number_cell(row[name], ".1f") for name in (*CATEGORIES, "score")])
            for row in rows.to_dict("records")
        ]
        views.append(View(f"{task}, {model}, {benchmark}, {rule}", "Variant", [*CATEGORIES, "Score"], shown))
    return views
