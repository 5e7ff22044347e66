"""Draws bars of benchmarks by variant, with intervals and published values."""

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selfdistill.reporting.figures.panels import LOOK, block_labels
from selfdistill.reporting.figures.style import Style, styles
from selfdistill.reporting.read.accuracy import AVERAGES
from selfdistill.reporting.render.paper_shape import column_title

#: Panels side by side.
_MOST_COLUMNS = 7
_SEED = {"marker": "o", "markersize": 3, "markerfacecolor": "white", "markeredgecolor": "#222222", "ls": ""}
_SEED |= {"markeredgewidth": 0.7}
_PUBLISHED = {"marker": "D", "markersize": 4, "markerfacecolor": "white", "markeredgecolor": "#222222", "ls": ""}


def benchmarks_figure(table: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """For each task and model a panel for each benchmark and average: a bar a variant, whiskers for the interval.

    Beside each bar its value, and where there are several seeds a dot for each of them (column `by_seed`); a hollow
    diamond where the paper has one (column `published` of the table, if there).
    table: rows of `tables.main_table`; methods: variant -> method, for the palette.
    """
    look = styles({variant: methods[variant] for variant in table["variant"].unique()})
    blocks = dict(list(table.groupby(["task", "model"], sort=False)))
    titles = {
        block: {row["benchmark"]: column_title(row) for row in part.to_dict("records")}
        for block, part in blocks.items()
    }
    labels = block_labels(list(blocks))
    lines = {block: math.ceil(len(shown) / _MOST_COLUMNS) for block, shown in titles.items()}  # of panels
    columns = max(math.ceil(len(shown) / lines[block]) for block, shown in titles.items())
    names = {block: [v for v in look if v in set(part["variant"])] for block, part in blocks.items()}
    heights = [max(1.2, 0.19 * len(names[block])) + 0.8 for block in blocks for _ in range(lines[block])]
    with rc_context({**LOOK, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(1.65 * columns + 1.6, sum(heights) + 0.35), layout="constrained")
        grid = figure.subplots(len(heights), columns, squeeze=False, sharey="row", height_ratios=heights)
        figure.get_layout_engine().set(w_pad=0.08)  # a number must not seem to belong to the next panel
        first = 0
        for block, part in blocks.items():
            axes = grid[first : first + lines[block]].ravel()
            mine = {variant: look[variant] for variant in names[block]}
            for axis, (name, title) in zip(axes, titles[block].items(), strict=False):
                _draw_bars(axis, part[part["benchmark"] == name].set_index("variant"), mine)
                axis.set_title(title, fontweight="bold" if name in {name for name, *_ in AVERAGES} else "normal")
            for axis in axes[len(titles[block]) :]:
                axis.set_axis_off()
            grid[first, 0].set_ylabel(labels[block], fontweight="bold")
            first += lines[block]
        figure.supxlabel(f"{', '.join(table['metric'].unique())} (%)", fontsize=9)
        shown = [("published", _PUBLISHED, _has_published(table)), ("one seed", _SEED, bool(_seeds(table)))]
        if handles := [Line2D([], [], label=label, **kind) for label, kind, there in shown if there]:
            figure.legend(handles=handles, loc="lower right", ncols=len(handles))
    return figure


def _has_published(rows: pd.DataFrame) -> bool:
    return "published" in rows and bool(rows["published"].notna().any())


def _seeds(rows: pd.DataFrame) -> dict[str, list[float]]:
    """Row -> its value with each seed, of the rows that have several."""
    texts = dict(rows.get("by_seed", ()))
    # An empty field of a CSV is read back as nan.
    return {row: [float(v) for v in text.split()] for row, text in texts.items() if isinstance(text, str) and text}


def _draw_bars(axis: Axes, rows: pd.DataFrame, look: Mapping[str, Style]) -> None:
    """One panel; rows: of one block and benchmark, by variant. Variants that it has no row for leave a gap."""
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
    for variant, values in _seeds(rows).items():
        axis.plot(values, [at[rows.index.get_loc(variant)]] * len(values), **_SEED)
    if _has_published(rows):
        axis.plot(rows["published"], at, **_PUBLISHED)
    axis.set_yticks(range(len(look)), look)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(len(look) - 0.5, -0.5)
    axis.set_xlim(0, 102.5)  # room for the cap of a whisker that ends at 100
    axis.set_xticks([0, 50, 100])
