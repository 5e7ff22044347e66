"""Computes sdpo_code.csv: LiveCodeBench beside what SDPO's paper (arXiv 2601.20802) prints, measure by measure.

The paper reads its numbers off validations to step 90: the best, the mean, and where a curve ends. So do these, of the
metrics of each run. Neither README of the release has a table of them, and the paper prints some of them twice.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from selfdistill.reporting.read.curves import validation_of
from selfdistill.reporting.read.published_sdpo import CODE_BENCHMARK, CODE_MODEL, CODE_STEPS, sdpo_code
from selfdistill.reporting.read.runs import RunFiles, read_metrics
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.study.matrix import BASE

#: Measure -> title.
MEASURES = {"best": "Best", "mean": "Mean", "end": "End", "step_60": "Step 60", "step_80": "Step 80"}
COLUMNS = ["task", "model", "variant", "measure", "n_seeds", "percent", "published", "place"]

_Curve = Mapping[int, float]


def sdpo_code_table(runs: Sequence[RunFiles]) -> pd.DataFrame:
    """Return a row for each task, model, variant, measure and place in the paper; percent are means over seeds.

    What a run does not reach is missing, as is what the paper does not print. The base is its runs' validation before
    training. Raises UserError for metrics that cannot be read.
    """
    curves: dict[tuple[str, str], dict[str, list[_Curve]]] = {}
    for run in runs:
        curve = {} if run.metrics is None else validation_of(read_metrics(run.metrics), CODE_BENCHMARK)
        if curve := {step: 100 * value for step, value in curve.items()}:
            of_model = curves.setdefault((run.task, run.model), {})
            of_model.setdefault(run.variant, []).append(
                {step: v for step, v in curve.items() if 0 < step <= CODE_STEPS}
            )
            if 0 in curve:
                of_model.setdefault(BASE, []).append({0: curve[0]})
    rows = []
    for (task, model), variants in curves.items():
        published = _published() if model == CODE_MODEL else {}
        for variant in dict.fromkeys([*(variant for variant, _ in published), *variants]):
            for measure in MEASURES:
                curves_of = variants.get(variant, []) if variant != BASE or measure == "best" else []
                found = [v for curve in curves_of if (v := _measured(measure, curve)) is not None]
                ours = {"n_seeds": len(found), "percent": float(np.mean(found)) if found else float("nan")}
                for percent, place in published.get((variant, measure), [(float("nan"), "")] if found else []):
                    names = {"task": task, "model": model, "variant": variant, "measure": measure}
                    rows.append({**names, **ours, "published": percent, "place": place})
    return pd.DataFrame(rows, columns=COLUMNS).astype({"percent": float, "published": float})


def sdpo_code_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each task and model: a column a measure, the paper's numbers beside ours."""
    views = []
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        lines = []
        for variant, of_variant in rows.groupby("variant", sort=False):
            cells = [_cell(of_variant[of_variant["measure"] == measure]) for measure in MEASURES]
            seeds = int(of_variant["n_seeds"].max())
            note = "not run" if not seeds else "" if variant == BASE or seeds == 1 else f"{seeds} seeds"
            lines.append(Row(str(variant), cells, note=note))
        views.append(View(f"{task}, {model}: to step {CODE_STEPS}", "Variant", list(MEASURES.values()), lines))
    return views


def _cell(rows: pd.DataFrame) -> Cell:
    if rows.empty:
        return number_cell(None, ".1f")
    printed = [
        f"{row['published']:.1f} ({row['place']})" for row in rows.to_dict("records") if not pd.isna(row["published"])
    ]
    ours = number_cell(rows["percent"].iloc[0], ".1f")
    return Cell(ours.text, beside=f"paper {', '.join(printed)}" if printed else "", order=ours.order)


def _published() -> dict[tuple[str, str], list[tuple[float, str]]]:
    found: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for row in sdpo_code():
        found.setdefault((row["variant"], row["measure"]), []).append((float(row["percent"]), row["place"]))
    return found


def _measured(measure: str, curve: _Curve) -> float | None:
    """Returns what a curve gives, step -> percent; None where it does not get there."""
    if not curve:
        return None
    read: dict[str, Callable[[], float | None]] = {
        "best": lambda: max(curve.values()),
        "mean": lambda: float(np.mean(list(curve.values()))),
        "end": lambda: curve[max(curve)],
    }
    if measure in read:
        return read[measure]()
    return curve.get(int(measure.removeprefix("step_")))
