"""Draws figures over training steps: dynamics, the teachers' signals, the effect of contrast."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selfdistill.errors import UserError
from selfdistill.reporting.figures.panels import (
    LOOK,
    Curve,
    Panel,
    block_labels,
    by_variant,
    curves_of_cells,
    draw_legend,
    draw_measured,
    draw_smoothed,
    extremes,
    logged,
    rows_of_panels,
)
from selfdistill.reporting.figures.style import Style, styles
from selfdistill.reporting.read.accuracy import Tasks
from selfdistill.reporting.read.curves import validation
from selfdistill.reporting.read.runs import RunFiles, check_unique, read_metrics, series
from selfdistill.study.hint_settings import CONTRASTS

_DYNAMICS = (
    Panel("Actor entropy (nats per token)", ("actor/entropy",), log=True),
    Panel("Response length (tokens)", ("response/length_mean",), log=True),
    Panel("Training reward", ("reward/mean",)),
)
_VALIDATION = "Validation accuracy (%)"

_HINTED = Panel("Rollouts whose teacher was asked (%)", ("hints/hinted_share",), scale=100)
_EVIDENCE = Panel("Size of the evidence (nats)", ("signal/evidence_abs_mean",), log=True)
#: A guard too: a teacher that is misaligned, or hardly better than guessing, is several nats away.
_TEACHER = Panel("Teacher against student (nats)", ("teacher/gap_abs_mean",), log=True)
_SIGNALS = (
    _TEACHER,
    _EVIDENCE,
    Panel("Divergence (nats)", ("signal/divergence_mean", "teacher/kl"), log=True),
    _HINTED,
    Panel(
        "Tokens selected or clipped (%)",
        (
            "signal/selected_share",
            "signal/weight_clipped_share",
            "signal/clipped_share",
            "signal/evidence_clipped_share",
            "signal/advantage_clipped_share",
            "signal/distilled_share",
        ),
        scale=100,
    ),
)
_NULL_CONTRAST = "guard/null_contrast_abs_max"

#: What the paper says of a curve, one dict a point: `landmarks.landmarks`.
Landmarks = Sequence[Mapping[str, Any]]
_LANDMARK = {"marker": "D", "markersize": 5.5, "markerfacecolor": "none", "markeredgewidth": 1.1, "alpha": 0.75}


def dynamics_figure(runs: Sequence[RunFiles], tasks: Tasks, landmarks: Landmarks = ()) -> Figure:
    """Training dynamics: for each task and model a row of four panels against the training step.

    Actor entropy, response length, training reward (smoothed; with one seed and few lines, raw and faint too) and
    validation accuracy (macro mean of the counted in-distribution benchmarks, as measured). One line a variant, the
    mean over its seeds at the steps that all of them have, and from two seeds on a band from the lowest to the highest.
    Runs without metrics (base models) are left out. Where a row has more variants than a panel holds, each family of
    methods gets a row on axes of its own, grpo in each of them.

    landmarks: published points of these tasks and models, drawn hollow and faint; where the paper does not say at which
    step, at the right end.
    Raises UserError: no run with metrics, a metric that no step of a file has, a bad metrics file (`read_metrics`), a
    run listed twice.
    """
    check_unique(runs)
    trained = [run for run in runs if run.metrics is not None]
    if not trained:
        raise UserError("training dynamics need at least one trained run; the selection holds base models only")
    curves = curves_of_cells(trained, {run.name: _dynamics(run, tasks[run.task]) for run in trained})
    with rc_context(LOOK):
        figure, rows, look = rows_of_panels(trained, [*(panel.title for panel in _DYNAMICS), _VALIDATION])
        for row, axes in rows:
            for place, panel in enumerate(_DYNAMICS):
                draw_smoothed(axes[place], panel, by_variant(place, row, curves), look)
            draw_measured(axes[-1], by_variant(-1, row, curves), look)
            shown = {variant: look[variant] for variant in row.variants}
            points = [p for p in landmarks if (p["task"], p["model"]) == (row.task, row.model)]
            drawn = [_draw_landmarks(axis, p, points, shown) for axis, p in zip(axes, _DYNAMICS, strict=False)]
            if any(drawn):
                draw_legend(axes[-1], shown, Line2D([], [], color="#555555", ls="", label="published", **_LANDMARK))
    return figure


def signals_figure(runs: Sequence[RunFiles]) -> Figure:
    """Returns what the teachers say: for each task and model a row of five panels against the training step, smoothed.

    * Teacher against student: mean size of the difference of their log-probs of the sampled tokens, nats.
    * Size of the evidence, nats: mean |correct minus wrong hint| or |teacher minus student|, as the method has it.
      Below, the largest null contrast of any step: the same hint scored twice, so numerical noise. It is also drawn,
      dotted, for a variant where it comes within a hundredth of the evidence.
    * Divergence, nats, of methods that distil.
    * Share of rollouts that have all hints their method asks for; plain teachers read none.
    * Share of tokens that the method selects (rlcsd), that a clip changes (opsd, rlsd and relatives, opd), or that it
      distils (srpo).

    Rows and lines as in `dynamics_figure`; runs without a teacher are left out. Raises UserError: no run with a
    teacher, a bad metrics file (`read_metrics`), a run listed twice.
    """
    check_unique(runs)
    metrics = {run.name: read_metrics(run.metrics) for run in runs if run.metrics is not None}
    there = [run for run in runs if run.name in metrics]
    taught = [run for run in there if any(logged(metrics[run.name], panel) for panel in (_HINTED, _TEACHER))]
    if not taught:
        raise UserError(f"no run logs {_TEACHER.keys[0]!r}; a figure of signals needs at least one with a teacher")
    curves = curves_of_cells(taught, {run.name: _signals(metrics[run.name]) for run in taught})
    with rc_context(LOOK):
        figure, rows, look = rows_of_panels(taught, [panel.title for panel in _SIGNALS])
        for row, axes in rows:
            for place, panel in enumerate(_SIGNALS):
                draw_smoothed(axes[place], panel, by_variant(place, row, curves), look)
            place = _SIGNALS.index(_EVIDENCE)
            _draw_noise(axes[place], by_variant(place, row, curves), by_variant(-1, row, curves), look)
            axes[_SIGNALS.index(_HINTED)].set_ylim(0, 102.5)
    return figure


def contrast_figure(runs: Sequence[RunFiles], landmarks: Landmarks = ()) -> Figure:
    """One-sided against contrastive hints: for each task and model a row, a panel for each metric of `CONTRASTS`.

    Panels whose two sides were not both run are left out. Lines, bands and landmarks as in `dynamics_figure`. Raises
    UserError: no pair of runs to compare, a bad metrics file (`read_metrics`), a run listed twice.
    """
    check_unique(runs)
    trained = [run for run in runs if run.metrics is not None]
    rows = _contrast_rows(trained)
    if not rows:
        raise UserError("no one-sided variant was run beside its contrastive one; a figure of the contrast needs both")
    shown = {variant for row in rows.values() for variants, _ in row for variant in variants}
    trained = [run for run in trained if run.variant in shown]
    look = styles({run.variant: run.method for run in trained})
    metrics = {run.name: read_metrics(run.metrics) for run in trained}
    curves = curves_of_cells(trained, {name: [logged(m, p) for p in _DYNAMICS] for name, m in metrics.items()})
    labels, most = block_labels(list(rows)), max(map(len, rows.values()))
    with rc_context(LOOK):
        figure = Figure(figsize=(3.1 * most + 0.3, 3.5 * len(rows)), layout="constrained")
        grid = figure.subplots(len(rows), most, squeeze=False)
        for axes, ((task, model), row) in zip(grid, rows.items(), strict=True):
            axes[0].set_ylabel(labels[task, model], fontweight="bold")
            points = [p for p in landmarks if (p["task"], p["model"]) == (task, model)]
            for axis in axes[len(row) :]:
                axis.set_axis_off()
            for axis, (variants, panel) in zip(axes, row, strict=False):
                place = _DYNAMICS.index(panel)
                mine = {variant: look[variant] for variant in variants}
                draw_smoothed(axis, panel, {v: curves[task, model, v][place] for v in variants}, look)
                _finish_contrast(axis, panel, points, mine)
    return figure


def _contrast_rows(trained: Sequence[RunFiles]) -> dict[tuple[str, str], list[tuple[Sequence[str], Panel]]]:
    """Task and model -> the variants and the panel of each contrast of which both sides were run."""
    blocks: dict[tuple[str, str], dict[str, str]] = {}
    for run in trained:
        blocks.setdefault((run.task, run.model), {})[run.variant] = run.method
    panels = {panel.keys[0]: panel for panel in _DYNAMICS}
    rows = {
        block: [(contrast.shown(methods), panels[key]) for contrast in CONTRASTS for key in contrast.metrics]
        for block, methods in blocks.items()
    }
    return {block: found for block, row in rows.items() if (found := [each for each in row if each[0]])}


def _finish_contrast(axis: Axes, panel: Panel, points: Landmarks, look: Mapping[str, Style]) -> None:
    """Title, published points and legend of a panel, whose curves are drawn."""
    axis.set_title(panel.title)
    axis.grid(axis="x", visible=False)
    axis.set_xlabel("Training step")
    published = Line2D([], [], color="#555555", ls="", label="published", **_LANDMARK)
    found = _draw_landmarks(axis, panel, points, look)
    draw_legend(axis, look, *([published] if found else []))
    axis.get_legend().set(loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _dynamics(run: RunFiles, settings: Mapping[str, Any]) -> list[dict[int, float]]:
    """Step -> value of each panel of one run; validation in percent."""
    metrics = read_metrics(run.metrics)
    curves = [logged(metrics, panel) for panel in _DYNAMICS]
    for panel, found in zip(_DYNAMICS, curves, strict=True):
        if not found:
            raise UserError(
                f"{run.metrics}: no step has a number for {panel.keys[0]!r}; the figures need it: train this run again"
            )
    return [*curves, {step: 100 * share for step, share in validation(metrics, settings).items()}]


def _signals(metrics: Sequence[Mapping[str, Any]]) -> list[dict[int, float]]:
    """Step -> value of each panel of one run, and of the null contrast where there is evidence."""
    noise = series(metrics, _NULL_CONTRAST) if logged(metrics, _EVIDENCE) else {}
    return [*(logged(metrics, panel) for panel in _SIGNALS), noise]


def _draw_landmarks(axis: Axes, panel: Panel, points: Landmarks, look: Mapping[str, Style]) -> bool:
    """Published points of one panel's metric and of the variants shown; whether there was any."""
    mine = [point for point in points if point["metric"] in panel.keys and point["method"] in look]
    last = axis.dataLim.x1
    for point in mine:
        step = last if point["step"] is None or math.isnan(point["step"]) else point["step"]
        axis.plot([step], [panel.scale * point["value"]], color=look[point["method"]].colour, ls="", **_LANDMARK)
    return bool(mine)


def _draw_noise(
    axis: Axes, signals: Mapping[str, Curve], noises: Mapping[str, Curve], look: Mapping[str, Style]
) -> None:
    """The null contrast beside the evidence: its largest value as text, and dotted where it comes near."""
    found = {variant: noise for variant, noise in noises.items() if len(noise)}
    for variant, noise in found.items():
        signal = signals[variant]
        if len(signal) and noise.mean.max() * 100 >= np.median(signal.mean):
            axis.plot(*extremes(noise.steps, noise.mean), color=look[variant].colour, linestyle=":", linewidth=1)
    if found:
        largest = max(noise.mean.max() for noise in found.values())
        axis.set_xlabel(f"{axis.get_xlabel()}\nnull contrast up to {largest:.1g}".strip())
