"""Draws discovery@k of searches over the number of attempts, on a logarithmic axis."""

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from selfdistill.reporting.figures.panels import LOOK
from selfdistill.reporting.figures.style import METHODS, Style
from selfdistill.reporting.tables.discovery import CLOSED_FORM, TITLES, questions_of

_SAMPLED = METHODS["base"].colour
#: Search -> how it is drawn: the method's own colour, the untrained model's, and one for the dialogue.
LOOKS = {
    "self_distillation": Style(METHODS["sdpo_official"].colour, "solid"),
    "best_of": Style(_SAMPLED, "solid"),
    CLOSED_FORM: Style(_SAMPLED, (0, (1, 1.2))),
    "multi_turn": Style("#CC79A7", (0, (5, 2))),
}


def discovery_figure(table: pd.DataFrame) -> Figure:
    """For each set of questions two panels: passes on the tests that a search sees, and passes that hold on all tests.

    Bands are the intervals over questions and seeds; crosses, where there are any, the paper's values.

    Args:
        table: rows of `tables.discovery.discovery_table`, of one task and model.
    """
    sets = list(dict.fromkeys(table["set"]))
    parts = (("value", "low", "high", "passes"), ("held_value", "held_low", "held_high", "passes that hold"))
    with rc_context(LOOK):
        figure = Figure(figsize=(8.4, 2.7 * len(sets) + 0.6), layout="constrained")
        grid = figure.subplots(len(sets), 2, squeeze=False, sharex=True, sharey=True)
        for axes, name in zip(grid, sets, strict=True):
            rows = table[table["set"] == name]
            for axis, (value, low, high, title) in zip(axes, parts, strict=True):
                for search, line in rows.groupby("search", sort=False):
                    style, x = LOOKS[search], line["attempts"]
                    axis.plot(x, 100 * line[value], color=style.colour, linestyle=style.line, linewidth=1.6)
                    if search != CLOSED_FORM:
                        axis.fill_between(x, 100 * line[low], 100 * line[high], color=style.colour, alpha=0.12, lw=0)
                    seen = line[line["published"].notna()] if value == "value" else line[:0]
                    axis.plot(seen["attempts"], 100 * seen["published"], "x", color=style.colour)
                axis.set_title(f"{name} ({questions_of(rows)}): {title}")
                axis.set(xscale="log", ylim=(-2, 102))
                axis.set_xscale("log", base=2)
            axes[0].set_ylabel("discovery@k (%)")
        for axis in grid[-1]:
            axis.set_xlabel("Attempts k")
        shown = [search for search in LOOKS if (table["search"] == search).any()]
        handles = [
            Line2D([], [], color=LOOKS[s].colour, linestyle=LOOKS[s].line, linewidth=2, label=TITLES[s]) for s in shown
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), handlelength=3)
    return figure
