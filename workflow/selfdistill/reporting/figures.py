"""Figures: training dynamics as in the paper, what the teachers say, benchmarks by variant. matplotlib, no display."""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from selfdistill.errors import UserError
from selfdistill.files import atomic_path
from selfdistill.reporting.palette import Style, family, styles
from selfdistill.reporting.runs import RunFiles, check_unique, read_metrics, series
from selfdistill.reporting.tables import AVERAGES, column_title

#: Steps and values of a curve, both [N].
_Curve = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Panel:
    """Title, and the metric that is drawn: the first of `keys` that a run logs, times `scale`.

    log: on a logarithmic axis where the curves span more than a factor of _WIDE, so that one that explodes does not
    press the others flat.
    """

    title: str
    keys: tuple[str, ...]
    scale: float = 1.0
    log: bool = False


_DYNAMICS = (
    _Panel("Actor entropy (nats per token)", ("actor/entropy",), log=True),
    _Panel("Response length (tokens)", ("response/length_mean",), log=True),
    _Panel("Training reward", ("reward/mean",)),
)
_VALIDATION = "Validation accuracy (%)"

_HINTED = _Panel("Rollouts with their hints (%)", ("hints/hinted_share",), scale=100)
_EVIDENCE = _Panel("Size of the evidence (nats)", ("signal/evidence_abs_mean",), log=True)
_SIGNALS = (
    # A guard too: a teacher that is misaligned, or hardly better than guessing, is several nats away.
    _Panel("Teacher against student (nats)", ("teacher/gap_abs_mean",), log=True),
    _EVIDENCE,
    _Panel("Divergence (nats)", ("signal/divergence_mean",), log=True),
    _HINTED,
    _Panel(
        "Tokens selected or clipped (%)",
        (
            "signal/selected_share",
            "signal/weight_clipped_share",
            "signal/clipped_share",
            "signal/evidence_clipped_share",
            "signal/distilled_share",
        ),
        scale=100,
    ),
)
_NULL_CONTRAST = "guard/null_contrast_abs_max"

_WIDE = 5.0
#: Variants that one panel holds; with more, each family of methods gets a row, with _REFERENCE to compare.
_MOST_LINES = 9
_REFERENCE = "grpo"
#: Lines behind which the values as measured are drawn too.
_MOST_RAW = 6
#: Panels of benchmarks side by side.
_MOST_COLUMNS = 7

_LOOK = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
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

    Actor entropy, response length, training reward (smoothed; where lines are few, raw and faint too) and validation
    accuracy (macro mean of the counted in-distribution benchmarks, as measured). One line a variant, its seeds averaged
    over the steps that all of them have. Runs without metrics (base models) are left out. Where a model has more
    variants than a panel holds, each family of methods gets a row on axes of its own, grpo in each of them.

    settings: of this task, as in `tables`. Raises UserError: no run with metrics, a metric that no step of a file has,
    a bad metrics file (`read_metrics`), a run listed twice.
    """
    check_unique(runs)
    trained = [run for run in runs if run.metrics is not None]
    if not trained:
        raise UserError("training dynamics need at least one trained run; the selection holds base models only")
    curves = _mean_curves(trained, {run.name: _dynamics(run, settings) for run in trained})
    with rc_context(_LOOK):
        figure, rows, look = _rows_of_panels(trained, [*(panel.title for panel in _DYNAMICS), _VALIDATION])
        for row, axes in rows:
            lines = {variant: curves[row.model, variant] for variant in row.variants}
            for place, panel in enumerate(_DYNAMICS):
                _draw_smoothed(axes[place], panel, {v: mine[place] for v, mine in lines.items()}, look)
            for variant, mine in lines.items():
                _draw_measured(axes[-1], *mine[-1], look[variant])
    return figure


def signals_figure(runs: Sequence[RunFiles]) -> Figure:
    """What the teachers of one task say: for each model a row of five panels against the training step, smoothed.

    * Teacher against student: mean size of the difference of their log-probs of the sampled tokens, nats.
    * Size of the evidence, nats: mean |correct minus wrong hint| or |teacher minus student|, as the method has it.
      Below, the largest null contrast of any step: the same hint scored twice, so numerical noise. It is also drawn,
      dotted, for a variant where it comes within a hundredth of the evidence.
    * Divergence, nats, of methods that distil.
    * Share of rollouts that have all hints their method asks for.
    * Share of tokens that the method selects (rlcsd), that a clip changes (opsd, rlsd and relatives), or that it
      distils (srpo).

    Rows and lines as in `dynamics_figure`; runs without a teacher are left out. Raises UserError: no run with a
    teacher, a bad metrics file (`read_metrics`), a run listed twice.
    """
    check_unique(runs)
    logged = {run.name: read_metrics(run.metrics) for run in runs if run.metrics is not None}
    taught = [run for run in runs if run.name in logged and _first(logged[run.name], _HINTED)]
    if not taught:
        raise UserError(f"no run logs {_HINTED.keys[0]!r}; a figure of signals needs at least one with a teacher")
    curves = _mean_curves(taught, {run.name: _signals(logged[run.name]) for run in taught})
    with rc_context(_LOOK):
        figure, rows, look = _rows_of_panels(taught, [panel.title for panel in _SIGNALS])
        for row, axes in rows:
            lines = {variant: curves[row.model, variant] for variant in row.variants}
            for place, panel in enumerate(_SIGNALS):
                _draw_smoothed(axes[place], panel, {v: mine[place] for v, mine in lines.items()}, look)
            place = _SIGNALS.index(_EVIDENCE)
            _draw_noise(axes[place], {v: (mine[place], mine[-1]) for v, mine in lines.items()}, look)
            axes[_SIGNALS.index(_HINTED)].set_ylim(0, 102.5)
    return figure


def benchmarks_figure(table: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """Bars of one task: a panel for each benchmark and average, a bar for each variant, whiskers for the interval.

    Beside each bar its value. table: rows of `tables.main_table` of one task, panels for each model in turn; methods:
    variant -> method, for the palette.
    """
    look = styles({variant: methods[variant] for variant in table["variant"].unique()})
    models = list(table["model"].unique())
    titles = {row["benchmark"]: column_title(row) for row in table.to_dict("records")}
    lines = math.ceil(len(titles) / _MOST_COLUMNS)  # of panels, for each model
    columns = math.ceil(len(titles) / lines)
    height = max(1.2, 0.19 * len(look)) + 0.8
    with rc_context({**_LOOK, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(1.65 * columns + 1.6, lines * len(models) * height + 0.2), layout="constrained")
        grid = figure.subplots(lines * len(models), columns, squeeze=False, sharey=True)
        figure.get_layout_engine().set(w_pad=0.08)  # a number must not seem to belong to the next panel
        for number, model in enumerate(models):
            axes = grid[number * lines : (number + 1) * lines].ravel()
            part = table[table["model"] == model]
            for axis, (name, title) in zip(axes, titles.items(), strict=False):
                _draw_bars(axis, part[part["benchmark"] == name].set_index("variant"), look)
                axis.set_title(title, fontweight="bold" if name in {name for name, *_ in AVERAGES} else "normal")
            for axis in axes[len(titles) :]:
                axis.set_axis_off()
            if len(models) > 1:
                grid[number * lines, 0].set_ylabel(model, fontweight="bold")
        figure.supxlabel(f"{table['metric'].iloc[0]} (%)", fontsize=9)
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


def _dynamics(run: RunFiles, settings: Mapping[str, Any]) -> list[dict[int, float]]:
    """Step -> value of each panel of one run; validation in percent."""
    metrics = read_metrics(run.metrics)
    curves = [_first(metrics, panel) for panel in _DYNAMICS]
    for panel, curve in zip(_DYNAMICS, curves, strict=True):
        if not curve:
            raise UserError(
                f"{run.metrics}: no step has a number for {panel.keys[0]!r}; the figures need it: train this run again"
            )
    return [*curves, _validation(metrics, settings)]


def _signals(metrics: Sequence[Mapping[str, Any]]) -> list[dict[int, float]]:
    """Step -> value of each panel of one run, and of the null contrast where there is evidence."""
    noise = series(metrics, _NULL_CONTRAST) if _first(metrics, _EVIDENCE) else {}
    return [*(_first(metrics, panel) for panel in _SIGNALS), noise]


def _first(metrics: Sequence[Mapping[str, Any]], panel: _Panel) -> dict[int, float]:
    """Step -> value of a panel's metric; empty where none of its keys was logged."""
    found = next((curve for key in panel.keys if (curve := series(metrics, key))), {})
    return {step: panel.scale * value for step, value in found.items()}


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


def _mean_curves(
    runs: Sequence[RunFiles], curves: Mapping[str, Sequence[Mapping[int, float]]]
) -> dict[tuple[str, str], list[_Curve]]:
    """(model, variant) -> the mean over its seeds of each curve; curves: name of a run -> its curves."""
    seeds: dict[tuple[str, str], list[Sequence[Mapping[int, float]]]] = {}
    for run in runs:
        seeds.setdefault((run.model, run.variant), []).append(curves[run.name])
    return {cell: [_mean_curve(same) for same in zip(*found, strict=True)] for cell, found in seeds.items()}


@dataclass(frozen=True)
class _Row:
    """A row of panels: one model's variants, or one family of them."""

    model: str
    label: str
    variants: list[str]


def _rows(runs: Sequence[RunFiles]) -> list[_Row]:
    models: dict[str, dict[str, str]] = {}
    for run in runs:
        models.setdefault(run.model, {})[run.variant] = run.method
    rows = []
    for model, methods in models.items():
        name = model if len(models) > 1 else ""
        if len(methods) <= _MOST_LINES:
            rows.append(_Row(model, name, list(methods)))
            continue
        families: dict[str, list[str]] = {}
        for variant, method in methods.items():
            families.setdefault(family(method), []).append(variant)
        alone = [members[0] for members in families.values() if len(members) == 1]
        groups = {label: members for label, members in families.items() if len(members) > 1}
        if set(alone) - {_REFERENCE}:
            groups["others"] = alone
        for label, members in groups.items():
            shown = [variant for variant in methods if variant in members or variant == _REFERENCE]
            rows.append(_Row(model, f"{name}\n{label}".strip(), shown))
    return rows


def _rows_of_panels(
    runs: Sequence[RunFiles], titles: Sequence[str]
) -> tuple[Figure, list[tuple[_Row, Sequence[Axes]]], dict[str, Style]]:
    """A figure of empty panels, titled, a legend beside each row; the rows with their axes; the variants' looks."""
    rows = _rows(runs)
    look = styles({run.variant: run.method for run in runs})
    figure = Figure(
        figsize=(2.75 * len(titles) + 2, sum(max(2.9, 0.19 * len(row.variants) + 0.7) for row in rows)),
        layout="constrained",
    )
    grid = figure.subplots(len(rows), len(titles), squeeze=False)
    for axes, row in zip(grid, rows, strict=True):
        for axis, title in zip(axes, titles, strict=True):
            axis.set_title(title)
            axis.grid(axis="x", visible=False)
        axes[0].set_ylabel(row.label, fontweight="bold")
        handles = [_line(look[variant], [], [], linewidth=2, label=variant) for variant in row.variants]
        axes[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=3.2)
    for axis in grid[-1]:
        axis.set_xlabel("Training step")
    return figure, list(zip(rows, grid, strict=True)), look


def _line(style: Style, steps: Sequence[float], values: Sequence[float], **options: Any) -> Line2D:
    look = {"color": style.colour, "linestyle": style.line, "marker": style.marker or "None", "markersize": 5}
    return Line2D(steps, values, markeredgecolor="white", markeredgewidth=0.5, **{**look, **options})


def _draw_smoothed(axis: Axes, panel: _Panel, lines: Mapping[str, _Curve], look: Mapping[str, Style]) -> None:
    drawn = {variant: (steps, values) for variant, (steps, values) in lines.items() if len(steps)}
    if not drawn:
        axis.text(0.5, 0.5, "none of these logs it", transform=axis.transAxes, ha="center", color="#777777")
        axis.set(xticks=[], yticks=[])
        return
    smoothed = {variant: smooth(values) for variant, (_, values) in drawn.items()}
    for place, (variant, (steps, values)) in enumerate(drawn.items()):
        style = look[variant]
        if len(lines) <= _MOST_RAW:
            axis.plot(steps, values, color=style.colour, linewidth=0.8, alpha=0.3)
        every = max(1, len(steps) // 5)
        # Where lines meet, markers of one must not hide those of the next.
        first = place * every // len(drawn)
        axis.add_line(_line(style, steps, smoothed[variant], linewidth=1.9, markevery=(first, every)))
    axis.autoscale_view()
    every_value = np.concatenate(list(smoothed.values()))
    if panel.log and 0 < every_value.min() * _WIDE < every_value.max():
        axis.set_yscale("log", nonpositive="mask")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(panel.title.replace(")", ", log)"))


def _draw_measured(axis: Axes, steps: np.ndarray, values: np.ndarray, style: Style) -> None:
    options = {} if style.marker else {"marker": "o", "markersize": 4}
    axis.add_line(_line(style, steps, values, linewidth=1.6, **options))
    axis.autoscale_view()


def _draw_noise(axis: Axes, lines: Mapping[str, tuple[_Curve, _Curve]], look: Mapping[str, Style]) -> None:
    """The null contrast beside the evidence: its largest value as text, and dotted where it comes near."""
    noises = [noise for _, (_, noise) in lines.values() if len(noise)]
    if not noises:
        return
    for variant, ((_, signal), (steps, noise)) in lines.items():
        if len(signal) and len(noise) and noise.max() * 100 >= np.median(signal):
            axis.plot(steps, noise, color=look[variant].colour, linestyle=":", linewidth=1)
    largest = max(noise.max() for noise in noises)
    axis.set_xlabel(f"{axis.get_xlabel()}\nnull contrast up to {largest:.1g}".strip())


def _draw_bars(axis: Axes, rows: pd.DataFrame, look: Mapping[str, Style]) -> None:
    """One panel; rows: of one model and benchmark, by variant. Variants that it has no row for leave a gap."""
    at = [place for place, variant in enumerate(look) if variant in rows.index]
    rows = rows.loc[[variant for variant in look if variant in rows.index]]
    axis.barh(
        at,
        rows["value"],
        0.78,
        color=[look[variant].colour for variant in rows.index],
        hatch=[look[variant].hatch for variant in rows.index],
        edgecolor="white",
        linewidth=0,
        xerr=np.clip([rows["value"] - rows["low"], rows["high"] - rows["value"]], 0, None),
        error_kw={"elinewidth": 1, "capsize": 2, "ecolor": "#222222"},
    )
    for place, value in zip(at, rows["value"], strict=True):
        place_of = {"xy": (1, place), "xycoords": ("axes fraction", "data"), "textcoords": "offset points"}
        axis.annotate(f"{value:.1f}", xytext=(3, 0), ha="left", va="center", fontsize=7.5, **place_of)
    axis.set_yticks(range(len(look)), look)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(look) - 0.5, -0.5)
    axis.set_xlim(0, 102.5)  # room for the cap of a whisker that ends at 100
    axis.set_xticks([0, 50, 100])
