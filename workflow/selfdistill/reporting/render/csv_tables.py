"""Writes tables as CSV with equal bytes for equal tables and no cell that a spreadsheet would run, and reads them."""

import os
from collections.abc import Callable

import pandas as pd

from selfdistill.files import write_text
from selfdistill.texts import from_spreadsheet_cell, spreadsheet_cell, visible

#: Columns of names that a configuration gives.
NAMES = ("task", "model", "variant", "method", "reference", "benchmark", "set", "teacher")
_TOKEN = "token"


def columns(names: str) -> list[str]:
    """Return the names of columns, from a text with spaces between them."""
    return names.split()


def csv_text(table: pd.DataFrame, digits: str = "%.4f") -> str:
    """Return a table as CSV; digits: how numbers are written.

    Texts: see `texts.spreadsheet_cell` and `texts.visible`.
    """
    safe = _changed(table, lambda text: spreadsheet_cell(visible(text)))
    return safe.to_csv(index=False, float_format=digits, lineterminator="\n")


def write_csv(path: str | os.PathLike, table: pd.DataFrame, digits: str = "%.4f") -> None:
    """Write a table as CSV, as a whole."""
    write_text(path, csv_text(table, digits))


def read_csv(path: str | os.PathLike) -> pd.DataFrame:
    """A table that `write_csv` wrote, its texts as they were before: "NaN" is one, and of a name or token "7" too."""
    table = pd.read_csv(path, dtype=dict.fromkeys((*NAMES, _TOKEN), str), keep_default_na=False, na_values=[""])
    table = _changed(table, from_spreadsheet_cell)
    return with_texts(table, _TOKEN) if _TOKEN in table else table


def with_texts(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Return the table with empty texts in these columns as such: from a CSV they come back as missing."""
    return table.assign(**{name: table[name].astype(object).where(table[name].notna(), "") for name in names})


def _changed(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with every text changed, and with the types of its columns as they are."""
    columns = {}
    for name, column in table.items():
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            values = [change(value) if isinstance(value, str) else value for value in column]
            columns[name] = pd.Series(values, index=column.index, dtype=column.dtype)
    return table.assign(**columns)
