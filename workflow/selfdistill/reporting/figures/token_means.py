"""Draws how far a rollout's mean signal on style tokens lies from that on task tokens, as histograms."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from selfdistill.reporting.figures.panels import LOOK
from selfdistill.reporting.figures.tokens import LOOKS, SYMBOLS, shown_variant
from selfdistill.reporting.tokens.summaries import SIGNALS

#: Published means of the one-sided signal, nats (arXiv 2606.11709; model and task not said).
PUBLISHED = {"style": 0.263, "task": 0.083}
_TITLES = {"one_sided": "one-sided", "contrast": "contrast"}
_BINS = 30
_CLASSES = ("style", "task")


def token_means_figure(signals: pd.DataFrame, methods: Mapping[str, str], *, published: bool = False) -> Figure:
    """A row for each model of one task, a panel for each signal: histograms of the rollouts' mean sizes by class.

    Shown is the variant that `tokens_figure` shows, over all its seeds and recorded steps; a line marks each mean.

    Args:
        signals: rows of `rollout_tables.signals_table`, of this task.
        methods: variant -> method.
        published: whether the paper's means are marked, with the classes that it counted by.
    """
    contrasted = signals.assign(signal=np.where(signals["contrast"].notna(), "contrast", "one_sided"))
    shown = {model: shown_variant(part, methods) for model, part in contrasted.groupby("model", sort=False)}
    with rc_context(LOOK):
        figure = Figure(figsize=(7.2, 2.8 * max(1, len(shown))), layout="constrained")
        if not shown:
            figure.text(0.5, 0.5, "no rollout was recorded", ha="center", color="#777777")
            return figure
        grid = figure.subplots(len(shown), len(SIGNALS), squeeze=False)
        for axes, (model, variant) in zip(grid, shown.items(), strict=True):
            rows = signals[(signals["model"] == model) & (signals["variant"] == variant)]
            for axis, signal in zip(axes, SIGNALS, strict=True):
                _draw(axis, rows, signal)
                axis.set_title(f"{_TITLES[signal]}: mean {SYMBOLS[signal]} of a rollout (nats)")
            if published:
                for name, value in PUBLISHED.items():
                    axes[0].axvline(value, color=LOOKS[name][0], ls=(0, (1, 1)), lw=1.2)
            axes[0].set_ylabel(f"{model}\n{variant}" if len(shown) > 1 else variant, fontweight="bold")
        handles = [Patch(facecolor=LOOKS[name][0], hatch=LOOKS[name][1], edgecolor="white") for name in _CLASSES]
        handles.append(Line2D([], [], color="#555555", lw=1.2))
        labels = [*(f"{name} tokens" for name in _CLASSES), "mean"]
        if published:
            handles.append(Line2D([], [], color="#555555", lw=1.2, ls=(0, (1, 1))))
            labels.append("published mean")
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _draw(axis: Axes, rows: pd.DataFrame, signal: str) -> None:
    values = {name: rows.loc[rows["token_class"] == name, signal].dropna().to_numpy() for name in _CLASSES}
    every = np.concatenate(list(values.values()))
    if not len(every):
        axis.text(0.5, 0.5, "no wrong hints", transform=axis.transAxes, ha="center", color="#777777")
        axis.set(xticks=[], yticks=[])
        return
    edges = np.linspace(0, max(float(np.quantile(every, 0.995)), 1e-6) * 1.02, _BINS + 1)
    for name, found in values.items():
        colour, hatch = LOOKS[name]
        axis.hist(np.minimum(found, edges[-1]), edges, color=colour, hatch=hatch, edgecolor="white", alpha=0.65, lw=0)
        if len(found):
            axis.axvline(float(found.mean()), color=colour, lw=1.2)
    axis.set_xlim(0, edges[-1])
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
