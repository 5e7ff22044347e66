import csv

import numpy as np
import pandas as pd

from selfdistill.reporting.render.csv_tables import NAMES, csv_text, read_csv, write_csv

TABLE = pd.DataFrame(
    {
        "token": ["=1+1", "-", "'=x", 'a,"b"', "-0.5", "line\nbreak", "\u202ertl"],
        "mixed": [True, None, "@x", 1.5, "null", "", "+"],
        "number": [-0.5, np.nan, 1e-7, 2, 3, 4, 5],
        "count": pd.array([1, None, 3, 4, 5, 6, -7], dtype="Int64"),
    }
)


def test_no_cell_is_run_and_all_are_read_back(tmp_path):
    write_csv(tmp_path / "t.csv", TABLE)
    rows = list(csv.DictReader((tmp_path / "t.csv").open(newline="", encoding="utf-8")))
    assert [row["token"] for row in rows[:3]] == ["'=1+1", "'-", "''=x"]
    assert [row["number"] for row in rows[:3]] == ["-0.5000", "", "0.0000"]
    assert [row["count"] for row in rows] == ["1", "", "3", "4", "5", "6", "-7"]
    assert [row["mixed"] for row in rows] == ["True", "", "'@x", "1.5", "null", "", "'+"]
    back = read_csv(tmp_path / "t.csv")
    assert list(back["token"]) == [*TABLE["token"][:6], "\\u202ertl"]
    assert list(back["mixed"].fillna("")) == ["True", "", "@x", "1.5", "null", "", "+"]


def test_names_and_tokens_are_texts_whatever_they_look_like(tmp_path):
    """A word-level tokenizer may have digits alone among its top tokens, and a set of questions may be called 2024."""
    for values in (["7", "0"], ["null", "NaN"], ["1e5", "True"]):
        table = pd.DataFrame(dict.fromkeys(("token", *NAMES), values))
        write_csv(tmp_path / "t.csv", table)
        pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), table, check_dtype=False)
    write_csv(tmp_path / "t.csv", pd.DataFrame({"token": ["", "a"], "variant": [None, "b"]}))
    assert list(read_csv(tmp_path / "t.csv").fillna("missing").loc[0]) == ["", "missing"]


def test_a_table_of_plain_texts_is_written_as_pandas_does():
    plain = pd.DataFrame({"a": ["x", None, "y z"], "b": [1.23456, np.nan, 3], "c": [True, False, True]})
    for table in (plain, plain.head(0)):
        assert csv_text(table) == table.to_csv(index=False, float_format="%.4f", lineterminator="\n")
