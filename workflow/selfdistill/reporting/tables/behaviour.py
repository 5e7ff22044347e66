"""Computes beside.csv: response length, truncation, the actor's entropy and skipped updates next to accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.reporting.read.accuracy import Tasks
from selfdistill.reporting.read.curves import ends
from selfdistill.reporting.read.health import health
from selfdistill.reporting.read.runs import MissingRun, RunFiles, read_metrics, series
from selfdistill.reporting.render.cells import absent_rows, bounds, number_cell
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.paper_shape import paper_tables
from selfdistill.reporting.render.table import Cell, Row, View

COLUMNS = columns(
    "task model variant accuracy low high n_seeds response_length truncated entropy_first entropy_last "
    "entropy_seeds skipped_updates nonfinite_updates"
)
#: Column -> its title and how its numbers are written.
_SHOWN = {
    "response_length": ("Response length", ",.0f"),
    "truncated": ("Truncated (%)", ".1f"),
    "entropy_first": ("Entropy, first", ".3f"),
    "entropy_last": ("Entropy, last", ".3f"),
    "skipped_updates": ("Skipped", ",.0f"),
    "nonfinite_updates": ("Not finite", ",.0f"),
}


def behaviour_table(main: pd.DataFrame, runs: Sequence[RunFiles]) -> pd.DataFrame:
    """Return the long table of beside.csv: a row for each task, model and variant.

    entropy_first, entropy_last: mean over the first and the last tenth of the steps that logged it, then over seeds,
    entropy_seeds of them. skipped_updates, nonfinite_updates: sums over seeds. Both missing for base models and where
    there are no metrics.

    Args:
        main: of main.csv; accuracy, low, high, response_length and truncated are those of its `average`.
        runs: the runs whose metrics are read.

    Raises:
        UserError: metrics that cannot be read.
    """
    entropies: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    updates: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for run in runs:
        if run.metrics is not None:
            metrics, cell = read_metrics(run.metrics), (run.task, run.model, run.variant)
            entropy, counts = ends(series(metrics, "actor/entropy")), health(metrics)
            if not np.isnan(entropy).any():
                entropies.setdefault(cell, []).append(entropy)
            updates.setdefault(cell, []).append((counts.skipped, counts.nonfinite))
    rows = []
    for row in main[main["benchmark"] == "average"].to_dict("records"):
        cell = (row["task"], row["model"], row["variant"])
        of_seeds = entropies.get(cell, [])
        first, last = np.mean(of_seeds, axis=0).round(4).tolist() if of_seeds else (None, None)
        skipped, nonfinite = np.sum(updates[cell], axis=0).tolist() if cell in updates else (None, None)
        entropy = {"entropy_first": first, "entropy_last": last, "entropy_seeds": len(of_seeds)}
        counts = {"skipped_updates": skipped, "nonfinite_updates": nonfinite}
        rows.append({**row, "accuracy": row["value"], **entropy, **counts})
    types = {"entropy_first": float, "entropy_last": float, "skipped_updates": "Int64", "nonfinite_updates": "Int64"}
    return pd.DataFrame(rows, columns=COLUMNS).astype(types)


def behaviour_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """Return a view for each task and model, those of `missing` too."""
    columns = ["Average accuracy", *(title for title, _ in _SHOWN.values())]
    average = {"benchmark": "average", "metric": ""}
    return [
        View(
            f"{block.task}, {block.model}",
            "Variant",
            columns,
            [
                *(Row(v, _cells(row["average"]), note=block.seeds.get(v, "")) for v, row in block.rows.items()),
                *absent_rows(block),
            ],
            block.remarks,
        )
        for block in paper_tables(table.assign(**average), missing, tasks)
    ]


def _cells(row: Mapping[str, Any]) -> list[Cell]:
    accuracy = Cell(f"{row['accuracy']:.1f}", bounds(row["low"], row["high"], "{:.1f}"), order=row["accuracy"])
    return [accuracy, *(number_cell(row[name], style) for name, (_, style) in _SHOWN.items())]
