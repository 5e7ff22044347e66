"""Computes critiques_audit.csv: what the TC-RLSD note's numbers can resolve."""

import math

import pandas as pd

from selfdistill.reporting.read.published_critiques import CONTROL, PROBLEMS, published_critiques
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.table import Cell, Row, View

_LEVEL, _POWER = 1.959964, 0.841621  # of a two-sided test at 5 %, at a power of 80 %
COLUMNS = [
    "task",
    "variant",
    "measure",
    "problems",
    "percent",
    "control_percent",
    "difference",
    "error",
    "error_of_difference",
    "least_resolved",
    "resolved",
    "problems_needed",
]


def critiques_audit_table() -> pd.DataFrame:
    """Return a row for each published accuracy, peak and final, beside grpo's.

    Columns: percent, control_percent (grpo's), difference (points); error, error_of_difference (standard errors over
    problems, points, of one value and of a difference of two that are drawn by themselves); least_resolved (points:
    1.96 of the latter); resolved; problems_needed (for this difference at 5 % and a power of 80 %). Errors over seeds
    are not in them: there is one seed. A peak is the highest of several validations, which is above what it would
    repeat.
    """
    rows, found = [], published_critiques()
    controls = {row.task: row for row in found if row.variant == CONTROL}
    for row in found:
        for measure in ("peak", "final"):
            ours, theirs = getattr(row, measure), getattr(controls[row.task], measure)
            count = PROBLEMS[row.task]
            variances = [each / 100 * (1 - each / 100) for each in (ours, theirs)]
            made = dict.fromkeys(COLUMNS)
            made |= {"task": row.task, "variant": row.variant, "measure": measure, "problems": count, "percent": ours}
            made["error"] = 100 * math.sqrt(variances[0] / count)
            if row.variant != CONTROL:
                spread = 100 * math.sqrt(sum(variances) / count)
                apart = ours - theirs
                needed = sum(variances) * ((_LEVEL + _POWER) * 100 / apart) ** 2 if apart else None
                made |= {
                    "control_percent": theirs,
                    "difference": round(apart, 1),
                    "error_of_difference": spread,
                    "least_resolved": _LEVEL * spread,
                    "resolved": abs(apart) > _LEVEL * spread,
                    "problems_needed": None if needed is None else math.ceil(needed),
                }
            rows.append(made)
    return pd.DataFrame(rows, columns=COLUMNS)


def critiques_audit_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each task."""
    views = []
    for task, rows in table.groupby("task", sort=False):
        lines = [_line(row) for row in rows.to_dict("records")]
        title = f"{task}, as one draw on {rows['problems'].iloc[0]:,.0f} problems"
        views.append(View(title, "Row of the note", list(_TITLES), lines))
    return views


def critiques_audit_line(table: pd.DataFrame) -> str:
    """Return how many of the differences are resolved, in a sentence."""
    compared = table[table["difference"].notna()]
    resolved = int((compared["resolved"].astype(str) == "True").sum())
    return f"{resolved} of {len(compared)} differences to grpo are more than chance over problems."


_TITLES = {
    "Percent": ("percent", ".1f"),
    "Its error": ("error", ".2f"),
    "To grpo": ("difference", "+.1f"),
    "Error of that": ("error_of_difference", ".2f"),
    "Least resolved": ("least_resolved", ".1f"),
    "Problems needed": ("problems_needed", ",.0f"),
}


def _line(row: dict) -> Row:
    cells: list[Cell] = [number_cell(row[name], form) for name, form in _TITLES.values()]
    return Row(f"{row['variant']}, {row['measure']}", cells)
