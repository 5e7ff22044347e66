"""Tables as CSV: equal tables give equal bytes, no cell is one that a spreadsheet would run, and they are read back."""

import os
from collections.abc import Callable

import pandas as pd

from selfdistill.files import write_text
from selfdistill.texts import from_spreadsheet_cell, spreadsheet_cell, visible


def columns(names: str) -> list[str]:
    """Names of columns, from a text with spaces between them."""
    return names.split()


def csv_text(table: pd.DataFrame, digits: str = "%.4f") -> str:
    """A table as CSV; digits: how numbers are written. Texts: see `texts.spreadsheet_cell` and `texts.visible`."""
    safe = _changed(table, lambda text: spreadsheet_cell(visible(text)))
    return safe.to_csv(index=False, float_format=digits, lineterminator="\n")


def write_csv(path: str | os.PathLike, table: pd.DataFrame, digits: str = "%.4f") -> None:
    """Write a table as CSV, as a whole."""
    write_text(path, csv_text(table, digits))


def read_csv(path: str | os.PathLike, *, keep_words: bool = False) -> pd.DataFrame:
    """A table that `write_csv` wrote, its texts as they were before; keep_words: "null" and "NaN" are texts too."""
    return _changed(pd.read_csv(path, keep_default_na=not keep_words), from_spreadsheet_cell)


def with_texts(table: pd.DataFrame, *names: str) -> pd.DataFrame:
    """The table with empty texts in these columns as such: from a CSV they come back as missing."""
    return table.assign(**{name: table[name].astype(object).where(table[name].notna(), "") for name in names})


def _changed(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The table with every text changed, and with the types of its columns as they are."""
    columns = {}
    for name, column in table.items():
        if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            values = [change(value) if isinstance(value, str) else value for value in column]
            columns[name] = pd.Series(values, index=column.index, dtype=column.dtype)
    return table.assign(**columns)
