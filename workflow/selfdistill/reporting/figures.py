"""Figures: training dynamics as in the paper, and bars of benchmarks by method. matplotlib without a display."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selfdistill.errors import UserError
from selfdistill.files import atomic_path
from selfdistill.reporting.palette import Style, styles
from selfdistill.reporting.runs import RunFiles, check_unique, read_metrics, series
from selfdistill.reporting.tables import column_title

#: Metric in metrics.jsonl and title of the panels that show it as it is.
_PANELS = (
    ("actor/entropy", "Actor entropy (nats per token)"),
    ("response/length_mean", "Response length (tokens)"),
    ("reward/mean", "Training reward"),
)
_VALIDATION = "Validation accuracy (%)"

_LOOK = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: searchable and small
    "svg.hashsalt": "selfdistill",  # equal figures, equal bytes
}


def dynamics_figure(runs: Sequence[RunFiles], settings: Mapping[str, Any]) -> Figure:
    """Training dynamics of one task: for each model a row of four panels against the training step.

    Actor entropy, response length, training reward (each raw and faint, with a smoothed line on top) and validation
    accuracy (macro mean of the counted in-distribution benchmarks, as measured). One line a variant, its seeds averaged
    over the steps that all of them have. Runs without metrics (base models) are left out.

    settings: of this task, as in `tables`. Raises UserError: no run with metrics, a metric that no step of a file has,
    a bad metrics file (`read_metrics`), a run listed twice.
    """
    check_unique(runs)
    trained = [run for run in runs if run.metrics is not None]
    if not trained:
        raise UserError("training dynamics need at least one trained run; the selection holds base models only")
    look = styles({run.variant: run.method for run in trained})
    curves: dict[str, dict[str, list[list[dict[int, float]]]]] = {}
    for run in trained:
        curves.setdefault(run.model, {}).setdefault(run.variant, []).append(_curves(run, settings))
    with rc_context(_LOOK):
        figure = Figure(figsize=(13, 2.9 * len(curves) + 0.6), layout="constrained")
        grid = figure.subplots(len(curves), len(_PANELS) + 1, squeeze=False)
        for axes, (model, variants) in zip(grid, curves.items(), strict=True):
            for panel, axis in enumerate(axes):
                axis.set_title(_PANELS[panel][1] if panel < len(_PANELS) else _VALIDATION)
                axis.set_xlabel("Training step")
                for variant, seeds in variants.items():
                    steps, values = _mean_curve([curve[panel] for curve in seeds])
                    draw = _draw_smoothed if panel < len(_PANELS) else _draw_measured
                    draw(axis, steps, values, look[variant])
            if len(curves) > 1:
                axes[0].set_ylabel(model, fontweight="bold")
        handles = [Line2D([], [], color=s.colour, linestyle=s.line, linewidth=2, label=v) for v, s in look.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=_columns(len(handles)), handlelength=3)
    return figure


def benchmarks_figure(table: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """Bars of one task: a group for each benchmark and average, a bar for each variant, whiskers for the interval.

    table: rows of `tables.main_table` of one task, a row of bars for each model; methods: variant -> method, for the
    palette.
    """
    look = styles({variant: methods[variant] for variant in table["variant"].unique()})
    models = list(table["model"].unique())
    titles = {row["benchmark"]: column_title(row) for row in table.to_dict("records")}
    with rc_context(_LOOK):
        width = max(6.5, 0.55 * len(titles) + 0.2 * len(titles) * len(look))
        figure = Figure(figsize=(min(width, 14), 3.2 * len(models) + 0.5), layout="constrained")
        grid = figure.subplots(len(models), 1, squeeze=False)[:, 0]
        for axis, model in zip(grid, models, strict=True):
            _draw_bars(axis, table[table["model"] == model], titles, look)
            axis.set_ylabel(f"{table['metric'].iloc[0]} (%)")
            if len(models) > 1:
                axis.set_title(model)
        handles, labels = grid[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=_columns(len(handles)))
    return figure


def write_figure(figure: Figure, *paths: str | os.PathLike) -> None:
    """Write a figure to each path, as SVG or PNG by its ending; the same figure gives the same bytes."""
    with rc_context(_LOOK):
        for path in paths:
            with atomic_path(path) as temporary:
                svg = temporary.suffix == ".svg"
                figure.savefig(temporary, dpi=150, facecolor="white", metadata={"Date": None} if svg else None)


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving mean over about an eighth of the curve, [N] -> [N]; at the ends over the part that exists."""
    half = max(1, round(len(values) / 16))
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def _curves(run: RunFiles, settings: Mapping[str, Any]) -> list[dict[int, float]]:
    """Step -> value of each panel of one run; validation in percent."""
    metrics = read_metrics(run.metrics)
    curves = [series(metrics, key) for key, _ in _PANELS]
    for (key, _), curve in zip(_PANELS, curves, strict=True):
        if not curve:
            raise UserError(
                f"{run.metrics}: no step has a number for {key!r}; the figures need it: train this run again"
            )
    return [*curves, _validation(metrics, settings)]


def _validation(metrics: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[int, float]:
    """Macro mean of the counted in-distribution benchmarks, at the steps that have them all; percent."""
    shown = [
        name
        for name, about in settings["benchmarks"].items()
        if about.get("counted", True) and about["distribution"] == "in"
    ]
    logged = {key for record in metrics for key in record}
    found = []
    for name in shown:
        # Validation may use fewer draws than the evaluation, so k in mean@k is its own.
        keys = sorted(key for key in logged if re.fullmatch(rf"val/{re.escape(name)}/(mean@\d+|pass@1)", key))
        found.append(series(metrics, keys[0]) if keys else {})
    return {step: 100 * value for step, value in zip(*_mean_curve(found), strict=True)} if found else {}


def _mean_curve(curves: Sequence[Mapping[int, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Steps that all curves have, and the mean over the curves there."""
    steps = sorted(set.intersection(*(set(curve) for curve in curves)))
    return np.array(steps), np.array([np.mean([curve[step] for curve in curves]) for step in steps])


def _columns(entries: int) -> int:
    """Columns of a legend whose rows are equally full, ten entries a row at most."""
    return math.ceil(entries / math.ceil(entries / 10))


def _draw_smoothed(axis: Axes, steps: np.ndarray, values: np.ndarray, style: Style) -> None:
    axis.plot(steps, values, color=style.colour, linewidth=0.8, alpha=0.3)
    axis.plot(steps, smooth(values), color=style.colour, linestyle=style.line, linewidth=1.9)


def _draw_measured(axis: Axes, steps: np.ndarray, values: np.ndarray, style: Style) -> None:
    axis.plot(steps, values, color=style.colour, linestyle=style.line, linewidth=1.6, marker="o", markersize=4)


def _draw_bars(axis: Axes, part: pd.DataFrame, titles: Mapping[str, str], look: Mapping[str, Style]) -> None:
    breadth = 0.84 / len(look)
    for place, (variant, style) in enumerate(look.items()):
        rows = part[part["variant"] == variant].set_index("benchmark")
        at = [i for i, name in enumerate(titles) if name in rows.index]
        rows = rows.loc[[name for name in titles if name in rows.index]]
        axis.bar(
            np.array(at) + (place - (len(look) - 1) / 2) * breadth,
            rows["value"],
            breadth * 0.92,
            label=variant,
            color=style.colour,
            hatch=style.hatch,
            edgecolor="white",
            linewidth=0,
            yerr=np.clip([rows["value"] - rows["low"], rows["high"] - rows["value"]], 0, None),
            error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#222222"},
        )
    axis.set_xticks(range(len(titles)), [title.replace(" (", "\n(") for title in titles.values()])
    axis.tick_params(axis="x", length=0)
    axis.set_ylim(0, 102.5)  # room for the cap of a whisker that ends at 100
    averages = sum(name.startswith("average") for name in titles)
    axis.axvline(len(titles) - averages - 0.5, color="#999999", linewidth=0.8, linestyle=(0, (4, 3)))
