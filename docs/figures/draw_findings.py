"""Draws findings.svg, the picture of docs/findings.md, from the archive docs/findings and from nothing else.

    python docs/figures/draw_findings.py [folder]

Each row is a question: the difference of two variants, its 95 % interval, and the band in which none matters.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from from_code.findings import MARGIN, PRIMARY, SECOND, SIDE, Question, answer  # noqa: E402

from selfdistill.reporting.figures.panels import LOOK, write_figure  # noqa: E402

_ROUNDS = ((PRIMARY, "#D55E00"), (SIDE, "#444444"), (SECOND, "#0072B2"))


def draw(folder: Path) -> None:
    """Writes the picture into a folder."""
    with rc_context(LOOK):
        figure = Figure(figsize=(9, 10), layout="constrained")
        heights = [len(questions) for questions, _ in _ROUNDS]
        panels = figure.subplots(len(_ROUNDS), 1, sharex=True, height_ratios=heights)
        for axes, (questions, colour) in zip(panels, _ROUNDS, strict=True):
            _rows(axes, questions, colour)
        panels[-1].set_xlabel("right answers, first minus second, points")
    write_figure(figure, folder / "findings.svg")


def _rows(axes: Axes, questions: Sequence[Question], colour: str) -> None:
    axes.axvspan(-MARGIN, MARGIN, color="#EEEEEE", linewidth=0)
    axes.axvline(0, color="#888888", linewidth=0.8)
    for place, question in enumerate(questions):
        if found := answer(question):
            difference, _ = found
            axes.plot([difference.low, difference.high], [place, place], color=colour, linewidth=1.6)
            axes.plot(difference.value, place, "o", color=colour, markersize=4)
    axes.set_yticks(
        range(len(questions)), [f"{each.name}  {each.first} minus {each.second}" for each in questions], fontsize=8
    )
    axes.set_ylim(len(questions) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
