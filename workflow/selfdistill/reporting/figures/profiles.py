"""Draws performance profiles: how many of a benchmark's problems are solved how often."""

from collections.abc import Mapping

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selfdistill.reporting.figures.panels import LOOK, block_labels
from selfdistill.reporting.figures.style import styles
from selfdistill.reporting.tables.problems import REACHED


def profiles_figure(table: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """For each task and model a row, for each benchmark a panel, for each variant a line.

    A point at (k, y): k % of the answers or more are right to y % of the problems; at 0 these are all. The higher line
    solves more; one that falls late solves the same problems in every answer. Where the curves lie flat at 0 or at 100
    most problems are never or always solved.
    table: rows of `problems.problems_table`; methods: variant -> method, for the palette.
    """
    look = styles({variant: methods[variant] for variant in table["variant"].unique()})
    blocks = dict(list(table.groupby(["task", "model"], sort=False)))
    labels = block_labels(list(blocks))
    columns = max(part["benchmark"].nunique() for part in blocks.values())
    names = [f"at_least_{percent}" for percent in REACHED]
    with rc_context(LOOK):
        figure = Figure(figsize=(2.1 * columns + 1.8, 2.3 * len(blocks) + 0.4), layout="constrained")
        grid = figure.subplots(len(blocks), columns, squeeze=False, sharey=True)
        for axes, (block, part) in zip(grid, blocks.items(), strict=True):
            axes[0].set_ylabel("\n".join(filter(None, [labels[block], "Problems (%)"])))
            for axis, (benchmark, rows) in zip(axes, part.groupby("benchmark", sort=False), strict=False):
                axis.set_title(benchmark)
                for row in rows.to_dict("records"):
                    style = look[row["variant"]]
                    steps = [100.0, *(row[name] for name in names)]
                    axis.plot([0, *REACHED], steps, color=style.colour, linestyle=style.line, linewidth=1.4)
                axis.set(xlim=(0, 100), ylim=(-2, 102), xticks=[0, 50, 100])
            for axis in axes[part["benchmark"].nunique() :]:
                axis.set_axis_off()
        figure.supxlabel("Right answers to a problem, at least (%)", fontsize=9)
        handles = [Line2D([], [], color=s.colour, linestyle=s.line, linewidth=2, label=v) for v, s in look.items()]
        figure.legend(handles=handles, loc="outside right upper", handlelength=3.2)
    return figure
