"""Draws the tokens with a teacher's largest signal, one-sided and contrastive, and how much of it is style."""

from collections.abc import Mapping

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from selfdistill.reporting.figures.panels import LOOK
from selfdistill.reporting.figures.style import METHODS
from selfdistill.reporting.tokens.summaries import CONTRAST, ONE_SIDED, SIGNALS
from selfdistill.reporting.tokens.tables import TOP

#: Of classes of tokens: from the methods' palette, hatched so that they differ in print too.
LOOKS = {
    "style": (METHODS["rlcsd"].colour, "////"),
    "task": (METHODS["grpo"].colour, ""),
    "other": ("#B3B3B3", ""),
    "neutral": ("#B3B3B3", ""),
}
SYMBOLS = {ONE_SIDED: r"$|e_c|$", CONTRAST: r"$|e_{ctr}|$"}
_TITLES = {ONE_SIDED: "one-sided: mean", CONTRAST: "contrast: mean"}
#: Whose tokens are shown of a model: the first of these methods that is there, else what comes first.
_PREFERRED = ("rlcsd", "opsd_ectr", "rlsd_ectr")
_LONGEST = 22  # characters of a token


def tokens_figure(top: pd.DataFrame, tokens: pd.DataFrame, methods: Mapping[str, str]) -> Figure:
    """A row for each model of one task: the tokens of top_tokens.csv as bars, one-sided and contrastive, and what share
    of the signal's whole size each class of tokens has.

    Shown is rlcsd, or where it was not run another variant with a contrast, or any with a teacher. top: rows of
    `tokens.top_tokens_table`, tokens: of `tokens.tokens_table`, both of this task; methods: variant -> method.
    """
    shown = {model: shown_variant(part, methods) for model, part in top.groupby("model", sort=False)}
    with rc_context({**LOOK, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(9.2, 3.4 * max(1, len(shown))), layout="constrained")
        if not shown:
            figure.text(0.5, 0.5, "no token was recorded often enough", ha="center", color="#777777")
            return figure
        grid = figure.subplots(len(shown), 3, squeeze=False, width_ratios=(3, 3, 2))
        for axes, (model, variant) in zip(grid, shown.items(), strict=True):
            bars = top[(top["model"] == model) & (top["variant"] == variant)]
            for axis, signal in zip(axes, SIGNALS, strict=False):
                _draw_top(axis, bars[bars["signal"] == signal])
                axis.set_title(f"{_TITLES[signal]} {SYMBOLS[signal]} (nats)")
            _draw_shares(axes[-1], tokens[(tokens["model"] == model) & (tokens["variant"] == variant)])
            axes[0].set_ylabel(f"{model}\n{variant}" if len(shown) > 1 else variant, fontweight="bold")
        names = _classes(tokens)
        handles = [Patch(facecolor=colour, hatch=hatch, edgecolor="white") for colour, hatch in map(LOOKS.get, names)]
        figure.legend(handles, [f"{name} tokens" for name in names], loc="outside lower center", ncols=3)
    return figure


def teachers_figure(top: pd.DataFrame, partition: str = "paper") -> Figure:
    """A row for each student of one task, a panel for each of its teachers: the tokens on which they differ most.

    Args:
        top: rows of `diagnosis.diagnosis_tokens` of this task.
        partition: whose classes colour the bars.
    """
    models = top.groupby("model", sort=False)
    students = {model: dict(list(part.groupby("teacher", sort=False))) for model, part in models}
    width = max((len(teachers) for teachers in students.values()), default=1)
    with rc_context({**LOOK, "axes.grid.axis": "x"}):
        figure = Figure(figsize=(1 + 3.6 * width, 4.4 * max(1, len(students))), layout="constrained")
        if not students:
            figure.text(0.5, 0.5, "no token occurred often enough", ha="center", color="#777777")
            return figure
        grid = figure.subplots(len(students), width, squeeze=False)
        for axes, (model, teachers) in zip(grid, students.items(), strict=True):
            for axis in axes[len(teachers) :]:
                axis.set_axis_off()
            for axis, (teacher, rows) in zip(axes, teachers.items(), strict=False):
                rows = rows.rename(columns={f"class_{partition}": "token_class", "kl_mean": "abs_mean"})
                _draw_top(axis, rows, listed=len(rows))
                axis.set_title(teacher)
                axis.set_xlabel("KL(student, teacher), nats")
            axes[0].set_ylabel(model, fontweight="bold")
        names = {"style": "style", "task": "task", "other": "neutral" if partition == "paper" else "other"}
        handles = [Patch(facecolor=c, hatch=h, edgecolor="white") for c, h in (LOOKS[name] for name in names)]
        figure.legend(handles, [f"{name} tokens" for name in names.values()], loc="outside lower center", ncols=3)
    return figure


def _classes(tokens: pd.DataFrame) -> list[str]:
    """Those that a table has, in the order of the drawing."""
    return [name for name in LOOKS if name in set(tokens["token_class"])]


def shown_variant(part: pd.DataFrame, methods: Mapping[str, str]) -> str:
    """Whose tokens are shown of a model: rows with the columns variant and signal; methods: variant -> method."""
    variants = list(part["variant"].unique())
    contrasted = set(part.loc[part["signal"] == CONTRAST, "variant"])

    def order(variant: str) -> tuple[bool, int, bool]:
        method = methods[variant]
        place = _PREFERRED.index(method) if method in _PREFERRED else len(_PREFERRED)
        return variant not in contrasted, place, variant != method

    return min(variants, key=order)


def _draw_top(axis: Axes, rows: pd.DataFrame, listed: int = TOP) -> None:
    if rows.empty:
        axis.text(0.5, 0.5, "no wrong hints", transform=axis.transAxes, ha="center", color="#777777")
        axis.set(xticks=[], yticks=[])
        return
    rows = rows.sort_values("rank")
    looks = [LOOKS.get(name, LOOKS["other"]) for name in rows["token_class"]]
    colours, hatches = ([look[part] for look in looks] for part in (0, 1))
    axis.barh(range(len(rows)), rows["abs_mean"], 0.75, color=colours, hatch=hatches, edgecolor="white", linewidth=0)
    axis.set_yticks(range(len(rows)), [_label(token) for token in rows["token"]], family="monospace")
    axis.set_ylim(listed - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)


def _draw_shares(axis: Axes, rows: pd.DataFrame) -> None:
    """Stacked bars: shares of the tokens, and of the two signals' whole size; the mean over the seeds."""
    classes = _classes(rows)
    counts = rows.assign(tokens=rows["tokens"] / rows.groupby("seed")["tokens"].transform("sum"))
    kinds = {"tokens": "tokens", **{f"{signal}_share": SYMBOLS[signal] for signal in SIGNALS}}
    means = counts.groupby("token_class")[list(kinds)].mean()
    for place, kind in enumerate(kinds):
        left = 0.0
        for name in classes:
            share = 100 * float(means[kind].get(name, 0.0))
            if not share > 0:  # nor NaN: no contrast
                continue
            colour, hatch = LOOKS[name]
            axis.barh(place, share, 0.6, left=left, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
            if share >= 12:
                box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
                axis.text(left + share / 2, place, f"{share:.0f}", ha="center", va="center", fontsize=8, bbox=box)
            left += share
    axis.set_yticks(range(len(kinds)), list(kinds.values()))
    axis.set_ylim(len(kinds) - 0.5, -0.5)
    axis.set_xlim(0, 100)
    axis.tick_params(axis="y", length=0)
    axis.set_title("share of each class (%)")


def _label(token: str) -> str:
    """A token of the table, in quotes where it has spaces at its ends; a dollar sign begins no formula."""
    token = token.replace("\\\\", "\\").replace('\\"', '"')  # shown as they are; line breaks stay spelt out
    short = token if len(token) <= _LONGEST else f"{token[: _LONGEST - 3]}..."
    quoted = f"'{short}'" if short != short.strip() or not short else short
    return quoted.replace("$", r"\$")
