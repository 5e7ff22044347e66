"""The gap between student and self-teacher before training (gaps.csv), from what training.teacher_gap measured."""

import os
from collections.abc import Sequence

import pandas as pd

from selfdistill.errors import UserError
from selfdistill.json_files import read_object
from selfdistill.reporting.render.cells import bounds, number_cell
from selfdistill.reporting.render.table import Cell, Row, View

#: Column -> title.
_SHOWN = {
    "student": "Student",
    "teacher": "Self-teacher",
    "gap": "Gap",
    "hinted_share": "With a context",
    "student_hinted": "Student there",
    "teacher_hinted": "Self-teacher there",
}
_NUMBERS = ["student", "teacher", "gap", "low", "high", "hinted_share", "student_hinted", "teacher_hinted"]
COLUMNS = ["task", "model", "variant", "prompts", "rollouts", *_NUMBERS]


def gaps_table(files: Sequence[str | os.PathLike]) -> pd.DataFrame:
    """A row for each measured gap, in percent and points. Raises UserError for a file that does not hold one."""
    rows = []
    for path in files:
        found = read_object(path, "measure this gap again")
        try:
            rows.append({**found["run"], **{name: found[name] for name in COLUMNS[3:]}})
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: key {error} is missing; measure this gap again") from None
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(_NUMBERS, float))


def gaps_views(table: pd.DataFrame) -> list[View]:
    """A view for each task and model."""
    views = []
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        lines = []
        for row in rows.to_dict("records"):
            cells = {name: number_cell(row[name], ".1f") for name in _SHOWN}
            cells["gap"] = Cell(f"{row['gap']:+.1f}", bounds(row["low"], row["high"], "{:.1f}"), order=row["gap"])
            lines.append(Row(row["variant"], list(cells.values()), note=f"{row['rollouts']:,} rollouts"))
        views.append(View(f"{task}, {model}", "Contexts of", list(_SHOWN.values()), lines))
    return views
