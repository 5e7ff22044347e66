"""Computes windows.csv: share of selected tokens, length, reward and entropy over stretches of training.

The paper's second version tells its dynamics and its sensitivity to single values so: means over 50 training steps.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.reporting.read.accuracy import Tasks
from selfdistill.reporting.read.curves import Curve, validation
from selfdistill.reporting.read.published import FIRST, MODELS, version_of, windows
from selfdistill.reporting.read.runs import RunFiles, check_unique, read_metrics, series
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.render.texts import DASH

#: Training steps of a window; of a run that has fewer than two of these, a fifth of its steps.
WIDTH = 50
#: Column -> metric and the factor that brings it into the column's unit.
MEASURES = {
    "selected_percent": ("signal/selected_share", 100.0),
    "response_length": ("response/length_mean", 1.0),
    "reward": ("reward/mean", 1.0),
    "entropy": ("actor/entropy", 1.0),
}
#: Column -> its title and how its numbers are written.
_SHOWN = {
    "selected_percent": ("Selected (%)", ",.1f"),
    "response_length": ("Response length", ",.0f"),
    "reward": ("Reward", ".3f"),
    "entropy": ("Entropy", ".3f"),
    "validation_percent": ("Validation (%)", ".1f"),
    "aime25_percent": ("AIME25 (%)", ".1f"),
}
_COMPARED = (*MEASURES, "aime25_percent")
_PUBLISHED = [f"published_{name}" for name in _COMPARED]
COLUMNS = [*columns("task model variant window first_step last_step n_seeds"), *_SHOWN, *_PUBLISHED]
_AIME25 = "val/aime25/mean@12"


def windows_table(runs: Sequence[RunFiles], tasks: Tasks, version: str = FIRST) -> pd.DataFrame:
    """Return the long table of windows.csv: a row for each task, model, variant and window of training steps.

    Each measure is the mean over the steps of the window that logged it, then over the seeds that have any, n_seeds of
    them at most; selected_percent is missing for methods that select nothing. validation_percent: accuracy on the
    counted benchmarks in distribution, at the window's last validation; aime25_percent: on that benchmark, likewise.
    published_*: the paper's value for this variant and window.

    Args:
        runs: those without metrics are left out.
        tasks: settings of the tasks.
        version: of the paper.

    Raises:
        UserError: a run listed twice, metrics that cannot be read.
    """
    check_unique(runs)
    cells: dict[tuple[str, str, str], list[dict[str, Curve]]] = {}
    for run in runs:
        if run.metrics is not None:
            cells.setdefault((run.task, run.model, run.variant), []).append(_curves(run, tasks))
    rows = []
    for cell, seeds in cells.items():
        published = _published(*cell, version)
        for first, last in _windows(
            max((max(curve, default=0) for each in seeds for curve in each.values()), default=0)
        ):
            row = dict(zip(("task", "model", "variant"), cell, strict=True))
            row |= {"window": f"{first}-{last}", "first_step": first, "last_step": last, "n_seeds": len(seeds)}
            for name in _SHOWN:
                values = [value for each in seeds if (value := _value(each[name], name, first, last)) is not None]
                row[name] = float(np.mean(values)) if values else np.nan
            rows.append({**row, **published.get(row["window"], {})})
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys([*_SHOWN, *_PUBLISHED], float))


def windows_views(table: pd.DataFrame) -> list[View]:
    """A view for each task and model: of each variant the first and last window, and those published or the middle."""
    views = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        shown = {name: about for name, about in _SHOWN.items() if part[name].notna().any()}
        rows = []
        for variant, of_variant in part.groupby("variant", sort=False):
            records = of_variant.to_dict("records")
            compared = {i for i, row in enumerate(records) if not all(pd.isna(row[name]) for name in _PUBLISHED)}
            kept = {0, len(records) - 1} | (compared or {len(records) // 2})
            for number in sorted(kept):
                row = records[number]
                cells = [_cell(row, name, style) for name, (_, style) in shown.items()]
                rows.append(Row(variant, cells, note=f"steps {row['window']}"))
        views.append(View(f"{task}, {model}", "Variant", [title for title, _ in shown.values()], rows))
    return views


def _curves(run: RunFiles, tasks: Tasks) -> dict[str, Curve]:
    metrics = read_metrics(run.metrics)
    found: dict[str, Curve] = {
        name: {step: factor * value for step, value in series(metrics, key).items() if step > 0}
        for name, (key, factor) in MEASURES.items()
    }
    found["validation_percent"] = {step: 100 * value for step, value in validation(metrics, tasks[run.task]).items()}
    found["aime25_percent"] = {step: 100 * value for step, value in series(metrics, _AIME25).items()}
    return found


def _windows(steps: int) -> list[tuple[int, int]]:
    """First and last step of each window of a run of so many steps; the last one may be shorter."""
    width = WIDTH if steps >= 2 * WIDTH else max(1, -(-steps // 5))
    return [(first, min(first + width - 1, steps)) for first in range(1, steps + 1, width)]


def _value(curve: Curve, name: str, first: int, last: int) -> float | None:
    inside = [step for step in curve if first <= step <= last]
    if not inside:
        return None
    return float(np.mean([curve[step] for step in inside])) if name in MEASURES else curve[max(inside)]


def _published(task: str, model: str, variant: str, version: str) -> dict[str, dict[str, float]]:
    """Window -> what the paper has of it, by column."""
    found: dict[str, dict[str, float]] = {}
    for row in windows():
        place = (row["task"], row["model"], row["variant"], version_of(row["source"]))
        if place == (task, MODELS.get(model), variant, version):
            known = {f"published_{name}": float(row[name]) for name in _COMPARED if row[name]}
            found[row["window"]] = found.get(row["window"], {}) | known
    return found


def _cell(row: Mapping[str, Any], name: str, style: str) -> Cell:
    published = row.get(f"published_{name}")
    note = "" if published is None or pd.isna(published) else f"paper {published:{style}}"
    return Cell(DASH if pd.isna(row[name]) else f"{row[name]:{style}}", beside=note, order=row[name])
