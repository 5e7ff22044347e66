"""Shares what all figures have: look, files, curves over seeds, rows of panels."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from selfdistill.files import atomic_path
from selfdistill.reporting.figures.style import Style, family, styles
from selfdistill.reporting.read.runs import RunFiles, series

#: Curves that span more than this factor get a logarithmic axis where their panel allows it.
_WIDE = 5.0
#: Variants that one panel holds; with more, each family of methods gets a row, with _REFERENCE to compare.
_MOST_LINES = 9
_REFERENCE = "grpo"
#: Lines behind which the values as measured are drawn too.
_MOST_RAW = 6
#: Points of a drawn line or band: many beside a moving mean over an eighth of the curve. Each is text in an SVG, and an
#: overview holds tens of thousands.
_MOST_POINTS = 100

LOOK = {
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


@dataclass(frozen=True)
class Panel:
    """Title, and the metric that is drawn: the first of `keys` that a run logs, times `scale`.

    log: on a logarithmic axis where the curves span more than a factor of _WIDE, so that one that explodes does not
    press the others flat.
    """

    title: str
    keys: tuple[str, ...]
    scale: float = 1.0
    log: bool = False


@dataclass(frozen=True)
class Curve:
    """A metric of one variant: steps [N] that all its seeds have, and values [S seeds, N]."""

    steps: np.ndarray
    values: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Over seeds, [N]."""
        return self.values.mean(axis=0)

    @property
    def smoothed(self) -> "Curve":
        """Returns the same curve with each seed's values smoothed over steps, [seeds, N]."""
        return Curve(self.steps, np.array([smooth(values) for values in self.values]))

    @property
    def thinned(self) -> "Curve":
        """At most _MOST_POINTS of its points, evenly spread, both ends among them: for what is smooth."""
        kept = np.linspace(0, len(self) - 1, min(len(self), _MOST_POINTS)).round().astype(int)
        return Curve(self.steps[kept], self.values[:, kept])

    def __len__(self) -> int:
        return len(self.steps)


@dataclass(frozen=True)
class Row:
    """A row of panels: the variants of one task and model, or one family of them."""

    task: str
    model: str
    label: str
    variants: list[str]


def write_figure(figure: Figure, *paths: str | os.PathLike) -> None:
    """Write a figure to each path, as SVG or PNG by its ending; the same figure gives the same bytes."""
    with rc_context(LOOK):
        for path in paths:
            with atomic_path(path) as temporary:
                svg = temporary.suffix == ".svg"
                figure.savefig(temporary, dpi=150, facecolor="white", metadata={"Date": None} if svg else None)


def smooth(values: np.ndarray) -> np.ndarray:
    """Centred moving mean over about an eighth of the curve, [N] -> [N]; at the ends over the part that exists."""
    half = max(1, round(len(values) / 16))
    return np.array([values[max(0, i - half) : i + half + 1].mean() for i in range(len(values))])


def extremes(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most _MOST_POINTS of N points of what is not smooth: each stretch's least and largest value, and both ends."""
    if len(steps) <= _MOST_POINTS:
        return steps, values
    stretches = np.array_split(np.arange(len(steps)), _MOST_POINTS // 2 - 1)
    found = [int(part[pick(values[part])]) for part in stretches for pick in (np.argmin, np.argmax)]
    kept = sorted({0, *found, len(steps) - 1})
    return steps[kept], values[kept]


def logged(metrics: Sequence[Mapping[str, Any]], panel: Panel) -> dict[int, float]:
    """Step -> value of a panel's metric; empty where none of its keys was logged."""
    found = next((curve for key in panel.keys if (curve := series(metrics, key))), {})
    return {step: panel.scale * value for step, value in found.items()}


def curve(seeds: Sequence[Mapping[int, float]]) -> Curve:
    """Return the steps that all seeds have, and each seed's values there; seeds: step -> value."""
    steps = sorted(set.intersection(*(set(seed) for seed in seeds)))
    return Curve(np.array(steps), np.array([[seed[step] for step in steps] for seed in seeds]))


def curves_of_cells(
    runs: Sequence[RunFiles], curves: Mapping[str, Sequence[Mapping[int, float]]]
) -> dict[tuple[str, str, str], list[Curve]]:
    """(task, model, variant) -> its curves over seeds; curves: name of a run -> its curves."""
    seeds: dict[tuple[str, str, str], list[Sequence[Mapping[int, float]]]] = {}
    for run in runs:
        seeds.setdefault((run.task, run.model, run.variant), []).append(curves[run.name])
    return {cell: [curve(same) for same in zip(*found, strict=True)] for cell, found in seeds.items()}


def block_labels(cells: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(task, model) -> what tells it from the others: its model, its task, or both; empty where there is but one."""
    tasks, models = {task for task, _ in cells}, {model for _, model in cells}
    return {
        (task, model): "\n".join([*([task] if len(tasks) > 1 else []), *([model] if len(models) > 1 else [])])
        for task, model in cells
    }


def rows_of_panels(
    runs: Sequence[RunFiles], titles: Sequence[str]
) -> tuple[Figure, list[tuple[Row, Sequence[Axes]]], dict[str, Style]]:
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
        draw_legend(axes[-1], {variant: look[variant] for variant in row.variants})
    for axis in grid[-1]:
        axis.set_xlabel("Training step")
    return figure, list(zip(rows, grid, strict=True)), look


def draw_legend(axis: Axes, look: Mapping[str, Style], *more: Line2D) -> None:
    """Beside the axis: a line for each variant, and any further handles."""
    handles = [_line(style, [], [], linewidth=2, label=variant) for variant, style in look.items()]
    axis.legend(handles=[*handles, *more], loc="center left", bbox_to_anchor=(1.02, 0.5), handlelength=3.2)


def draw_smoothed(axis: Axes, panel: Panel, lines: Mapping[str, Curve], look: Mapping[str, Style]) -> None:
    """Smoothed means over seeds; behind them the span of the seeds or, with one seed and few lines, values as logged.

    The span reaches from the lowest to the highest smoothed seed: a t-interval over two seeds would fill the panel.
    """
    drawn = {variant: found for variant, found in lines.items() if len(found)}
    if not drawn:
        axis.text(0.5, 0.5, "none of these logs it", transform=axis.transAxes, ha="center", color="#777777")
        axis.set(xticks=[], yticks=[])
        return
    smoothed = {variant: found.smoothed.thinned for variant, found in drawn.items()}
    for place, (variant, found) in enumerate(smoothed.items()):
        style = look[variant]
        if len(lines) <= _MOST_RAW and len(found.values) == 1:
            raw = extremes(drawn[variant].steps, drawn[variant].mean)
            axis.plot(*raw, color=style.colour, linewidth=0.8, alpha=0.3)
        _draw_span(axis, found, style)
        if len(found.values) > 1 and len(found):  # where each seed ends
            ends = found.values[:, -1]
            axis.plot([found.steps[-1]] * len(ends), ends, color=style.colour, ls="", marker=".", markersize=4)
        every = max(1, len(found) // 5)
        # Where lines meet, markers of one must not hide those of the next.
        first = place * every // len(drawn)
        axis.add_line(_line(style, found.steps, found.mean, linewidth=1.9, markevery=(first, every)))
    axis.autoscale_view()
    every_value = np.concatenate([found.mean for found in smoothed.values()])
    if panel.log and 0 < every_value.min() * _WIDE < every_value.max():
        axis.set_yscale("log", nonpositive="mask")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_title(panel.title.replace(")", ", log)"))


def draw_measured(axis: Axes, lines: Mapping[str, Curve], look: Mapping[str, Style]) -> None:
    """Means over seeds as logged, each step marked, the span of the seeds, and a dot for each of several."""
    for variant, found in lines.items():
        style = look[variant]
        _draw_span(axis, found, style)
        if len(found.values) > 1:
            axis.plot(found.steps, found.values.T, color=style.colour, ls="", marker=".", markersize=3, alpha=0.6)
        options = {} if style.marker else {"marker": "o", "markersize": 4}
        axis.add_line(_line(style, found.steps, found.mean, linewidth=1.6, **options))
    axis.autoscale_view()


def by_variant(place: int, row: Row, curves: Mapping[tuple[str, str, str], Sequence[Curve]]) -> dict[str, Curve]:
    """Return variant -> its curve of one panel, for the variants of a row."""
    return {variant: curves[row.task, row.model, variant][place] for variant in row.variants}


def _draw_span(axis: Axes, found: Curve, style: Style) -> None:
    if len(found.values) > 1 and len(found):
        low, high = found.values.min(axis=0), found.values.max(axis=0)
        axis.fill_between(found.steps, low, high, color=style.colour, alpha=0.14, linewidth=0)


def _line(style: Style, steps: Sequence[float], values: Sequence[float], **options: Any) -> Line2D:
    look = {"color": style.colour, "linestyle": style.line, "marker": style.marker or "None", "markersize": 5}
    return Line2D(steps, values, markeredgecolor="white", markeredgewidth=0.5, **{**look, **options})


def _rows(runs: Sequence[RunFiles]) -> list[Row]:
    blocks: dict[tuple[str, str], dict[str, str]] = {}
    for run in runs:
        blocks.setdefault((run.task, run.model), {})[run.variant] = run.method
    labels = block_labels(list(blocks))
    rows = []
    for (task, model), methods in blocks.items():
        name = labels[task, model]
        if len(methods) <= _MOST_LINES:
            rows.append(Row(task, model, name, list(methods)))
            continue
        for label, members in _families(methods).items():
            shown = [variant for variant in methods if variant in members or variant == _REFERENCE]
            rows.append(Row(task, model, f"{name}\n{label}".strip(), shown))
    return rows


def _families(methods: Mapping[str, str]) -> dict[str, list[str]]:
    """Family -> its variants; those that are alone in theirs together under "others"."""
    families: dict[str, list[str]] = {}
    for variant, method in methods.items():
        families.setdefault(family(method), []).append(variant)
    alone = [members[0] for members in families.values() if len(members) == 1]
    groups = {label: members for label, members in families.items() if len(members) > 1}
    if set(alone) - {_REFERENCE}:
        groups["others"] = alone
    return groups
