"""What belongs beside accuracy: response length, truncated responses, and the actor's entropy when training ended."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.reporting.read.accuracy import Tasks
from selfdistill.reporting.read.curves import ends
from selfdistill.reporting.read.health import health
from selfdistill.reporting.read.runs import RunFiles, read_metrics, series
from selfdistill.reporting.render.cells import DASH, bounds
from selfdistill.reporting.render.paper_shape import blocks
from selfdistill.reporting.render.table import Cell, Row, View

COLUMNS = (
    *("task", "model", "variant", "accuracy", "low", "high", "n_seeds", "response_length", "truncated"),
    *("entropy_first", "entropy_last", "entropy_seeds", "skipped_updates", "nonfinite_updates"),
)
LEAD = (
    "Average accuracy in percent with its 95 % interval; mean response length in tokens and share of truncated "
    "responses in the evaluation; the actor's entropy in nats a token, mean over the first and the last tenth of the "
    "training steps; optimizer steps that were skipped, over all seeds (no token carried a loss, or the gradient was "
    "not finite), and those of them that were not finite."
)
NOTHING = "Nothing was run."


def beside_table(main: pd.DataFrame, runs: Sequence[RunFiles]) -> pd.DataFrame:
    """The long table of beside.csv: a row for each task, model and variant.

    main: of main.csv; accuracy, low, high, response_length and truncated are those of its `average`. entropy_first,
    entropy_last: mean over the first and the last tenth of the steps that logged it, then over seeds, entropy_seeds of
    them. skipped_updates, nonfinite_updates: sums over seeds. Both missing for base models and where there are no
    metrics. Raises UserError for metrics that cannot be read.
    """
    entropies: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    counts: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
    for run in runs:
        if run.metrics is not None:
            metrics, key = read_metrics(run.metrics), (run.task, run.model, run.variant)
            found = ends(series(metrics, "actor/entropy"))
            if not np.isnan(found).any():
                entropies.setdefault(key, []).append(found)
            told = health(metrics)
            counts.setdefault(key, []).append((told.skipped, told.nonfinite))
    rows = []
    for row in main[main["benchmark"] == "average"].to_dict("records"):
        key = (row["task"], row["model"], row["variant"])
        seen, counted = entropies.get(key, []), counts.get(key)
        first, last = np.mean(seen, axis=0).round(4).tolist() if seen else (None, None)
        skipped, nonfinite = np.sum(counted, axis=0).tolist() if counted else (None, None)
        entropy = {"entropy_first": first, "entropy_last": last, "entropy_seeds": len(seen)}
        updates = {"skipped_updates": skipped, "nonfinite_updates": nonfinite}
        rows.append({**row, "accuracy": row["value"], **entropy, **updates})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = table.astype({"entropy_first": float, "entropy_last": float})
    return table.astype({"skipped_updates": "Int64", "nonfinite_updates": "Int64"})


def beside_views(
    table: pd.DataFrame, missing: Sequence[Mapping[str, Any]], main: pd.DataFrame, tasks: Tasks
) -> list[View]:
    """A view for each task and model, those of `missing` too."""
    rows = {(row["task"], row["model"], row["variant"]): row for row in table.to_dict("records")}
    views = []
    for block in blocks(main, missing, tasks):
        found = [(v, rows[block.task, block.model, v]) for v in block.rows if (block.task, block.model, v) in rows]
        shown = [Row(variant, _cells(row), note=block.seeds.get(variant, "")) for variant, row in found]
        shown += [Row(variant, absent=status) for variant, status in block.absent.items()]
        columns = ["Average accuracy", "Response length", "Truncated (%)", "Entropy, first", "Entropy, last"]
        columns += ["Skipped", "Not finite"]
        views.append(View(f"{block.task}, {block.model}", "Variant", columns, shown, block.remarks))
    return views


def _cells(row: Mapping[str, Any]) -> list[Cell]:
    accuracy = Cell(f"{row['accuracy']:.1f}", bounds(row["low"], row["high"], "{:.1f}"), order=row["accuracy"])
    length, truncated = row["response_length"], row["truncated"]
    others = [Cell(f"{length:,.0f}", order=length), Cell(f"{truncated:.1f}", order=truncated)]
    for name in ("entropy_first", "entropy_last"):
        known = not pd.isna(row[name])
        others.append(Cell(f"{row[name]:.3f}" if known else DASH, order=row[name] if known else None))
    for name in ("skipped_updates", "nonfinite_updates"):
        known = not pd.isna(row[name])
        others.append(Cell(f"{row[name]:,}" if known else DASH, order=float(row[name]) if known else None))
    return [accuracy, *others]
