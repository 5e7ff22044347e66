"""Computes pictures.csv: what base models make of their pictures, from the rule `picture_controls`."""

import os
from collections.abc import Sequence

import pandas as pd

from selfdistill.errors import UserError
from selfdistill.json_files import read_object
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.table import Row, View

COLUMNS = ["task", "model", "hint", "picture", "problems", "accuracy", "low", "high", "delta", "moved"]
_SHARES = ("accuracy", "low", "high")


def pictures_table(files: Sequence[str | os.PathLike]) -> pd.DataFrame:
    """Return a row for each task, model, hint and picture; shares in percent.

    Raises UserError for a file that has none.
    """
    rows = []
    for path in files:
        found = read_object(path, "run these controls again")
        try:
            of = {name: found[name] for name in ("task", "model")}
            rows += [of | row | {name: 100 * row[name] for name in _SHARES} for row in found["rows"]]
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: key {error} is missing; run these controls again") from None
    return pd.DataFrame(rows, columns=COLUMNS)


def pictures_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each task and model."""
    columns = ["Right answers, %", "Low", "High", "Log-ratio to no hint", "Moved by the picture"]
    views = []
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        shown = [
            Row(
                f"{'no hint' if row['hint'] == 'none' else 'the right answer'}, {row['picture']} picture",
                [
                    *(number_cell(row[name], ".1f") for name in _SHARES),
                    number_cell(row["delta"], "+.3f"),
                    number_cell(row["moved"], ".3f"),
                ],
            )
            for row in rows.to_dict("records")
        ]
        views.append(View(f"{task}, {model}", "Shown", columns, shown))
    return views
