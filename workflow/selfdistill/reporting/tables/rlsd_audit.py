"""Computes rlsd_audit.csv: the split on which RLSD's paper can have measured each benchmark.

The paper names benchmarks and no splits. A cell is a count of right answers over the problems of a split, rounded to a
hundredth of a percent; of We-Math it is a count of halves over groups (evaluation/group_scores.py). A split that all
cells of a column fit, where chance would let them miss, was probably the one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Any

import pandas as pd

from selfdistill.reporting.read.published import RLSD, study_rows
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.table import Cell, Row, View

COLUMNS = ("benchmark", "split", "problems", "steps_a_problem", "variant", "percent", "count", "nearest", "fits")
_HALF = Fraction(1, 200)  # of a hundredth of a percent


@dataclass(frozen=True)
class Split:
    """A split that a column may be about: problems (of We-Math groups), and into how many steps each is scored."""

    name: str
    problems: int
    steps: int = 1


#: Benchmark -> splits that have answers, that of config/tasks.yaml first.
SPLITS = {
    "mmmu": (Split("validation", 900), Split("dev", 150), Split("dev and validation", 1050)),
    "mathvista": (Split("testmini", 1000),),
    "mathvision": (Split("test", 3040), Split("testmini", 304)),
    "zerobench": (Split("sub-questions", 334), Split("main", 100)),
    "wemath": (
        Split("testmini, four-dimensional score", 525, 2),
        Split("testmini, accuracy of rows", 1740),
    ),
}


def rlsd_audit_table(rows: Sequence[Mapping[str, str]] | None = None) -> pd.DataFrame:
    """Return a row for each published cell and split: the nearest count, what it would print, whether it does.

    rows: of rlsd_results.csv, to a hundredth of a percent; without them the shipped ones.
    """
    found = []
    for row in study_rows(RLSD) if rows is None else rows:
        percent = Fraction(row["percent"])
        if len(row["percent"].partition(".")[2]) < 2:
            continue  # rounded to tenths: nearly everything fits
        for split in SPLITS.get(row["benchmark"], ()):
            count = nearest_count(percent, split.problems * split.steps)
            value = Fraction(100 * count, split.problems * split.steps)
            about = (row["benchmark"], split.name, split.problems, split.steps, row["variant"], float(percent))
            found.append((*about, count, round(float(value), 3), abs(value - percent) <= _HALF))
    return pd.DataFrame(found, columns=list(COLUMNS))


def nearest_count(percent: Fraction, total: int) -> int:
    """Return the count out of a total whose share is nearest to a percentage."""
    return floor(percent * total / 100 + Fraction(1, 2))


def rlsd_audit_views(table: pd.DataFrame) -> list[View]:
    """A view of splits, with the number of cells that fit each, and one of the cells that do not fit the first."""
    splits, misses = [], []
    for (benchmark, split), cells in table.groupby(["benchmark", "split"], sort=False):
        total = int(cells["problems"].iloc[0]) * int(cells["steps_a_problem"].iloc[0])
        splits.append(
            Row(
                f"{benchmark}, {split}",
                [
                    number_cell(cells["problems"].iloc[0], ".0f"),
                    Cell(f"{int(cells['fits'].sum())} of {len(cells)}"),
                    number_cell(min(100.0, total / 100), ".0f"),
                ],
            )
        )
        if split == SPLITS[benchmark][0].name:
            misses += [_missed(benchmark, cell) for cell in cells[~cells["fits"]].to_dict("records")]
    views = [View("Splits", "Benchmark and split", ["Problems", "Cells that fit", "Fit by chance, %"], splits)]
    if misses:
        columns = ["Published", "Nearest that a count gives", "Count"]
        views.append(View("Cells that no count gives", "Benchmark and variant", columns, misses))
    return views


def rlsd_audit_line(table: pd.DataFrame) -> str:
    """Return the finding in a sentence."""
    first = table[[row.split == SPLITS[row.benchmark][0].name for row in table.itertuples()]]
    return (
        f"{int(first['fits'].sum())} of {len(first)} published cells are counts of the splits that config/tasks.yaml "
        "evaluates on."
    )


def _missed(benchmark: str, cell: Mapping[str, Any]) -> Row:
    return Row(
        f"{benchmark}, {cell['variant']}",
        [number_cell(cell["percent"], ".2f"), number_cell(cell["nearest"], ".3f"), number_cell(cell["count"], ".0f")],
    )
