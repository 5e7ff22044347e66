"""Flat tables of one's own, as spreadsheets and data frames leave them."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from selfdistill.errors import UserError
from selfdistill.tasks.schema import read_problems
from selfdistill.tasks.table import import_table, main

CSV = '\ufeffquestion,answer,solution\r\nWhat is 1+1?,2,Count.\r\n,,\r\n\r\n"Two, or\r\nthree?",3,Three.\r\n'
OBJECTS = [
    {"question": "What is 1+1?", "answer": 2, "solution": "Count."},
    {"question": None, "answer": None, "solution": ""},
    {"question": "Two, or\r\nthree?", "answer": 3.0, "solution": "Three."},
]


def written(folder, name, content):
    """A table of that name, of text, bytes, or objects as the name's ending has them."""
    path = folder / name
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    elif isinstance(content, list):
        path.write_text("\n".join(map(json.dumps, content)) if path.suffix == ".jsonl" else json.dumps(content))
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV),
        ("a.tsv", CSV.replace("Two, or", "Two; or").replace(",", "\t").replace(";", ",")),
        ("a.jsonl", OBJECTS),
        ("a.json", OBJECTS),
        ("a.parquet", [row | {"answer": row["answer"] and float(row["answer"])} for row in OBJECTS]),
    ],
)
def test_a_table_becomes_problems_that_the_workflow_reads(tmp_path, name, content, capsys):
    out = tmp_path / "mine/train.parquet"
    main([str(written(tmp_path, name, content)), str(out)])
    first, second = read_problems(out, need_solution=True)
    assert (first.id, first.answer, first.solution, first.split) == ("mine/0", "2", "Count.", "train")
    assert (second.problem, second.answer) == ("Two, or\nthree?", "3")
    assert capsys.readouterr().out == f"{out}: 2 problems\nrows left out because nothing is in them: 1\n"


def test_columns_may_have_other_names_and_rows_name_their_benchmarks(tmp_path):
    table = written(tmp_path, "a.csv", "q;a;of\nx;1/2;easy\nx;1/3;hard\n")
    out = tmp_path / "easy+hard/val.parquet"
    said = import_table(table, out, question="q", answer="a", source="of", separator=";")
    assert [(each.id, each.answer) for each in read_problems(out)] == [("easy/0", "1/2"), ("hard/1", "1/3")]
    assert said[1] == "warning: 1 rows ask what an earlier row asks: line 3"
    assert said[2].startswith("solutions: the table has no column of them")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xlsx", b"", "ends with .csv, .tsv, .jsonl, .json, .parquet; rename or convert it"),
        ("a.csv", "", "no rows"),
        ("a.csv", "question,answer\n,\n", "all of its 1 rows are empty"),
        ("a.csv", "prompt,answer\nx,1\n", "no column 'question'; it has 'prompt', 'answer': name one with --question"),
        ("a.csv", "question,answer,answer\nx,1,2\n", "column 'answer' is there twice"),
        ("a.csv", "question;answer\nx;1\n", "give --separator ';'"),
        ("a.csv", "question,answer\nx,1\none, two,2\n", "line 3 ends a row of 3 fields, expected 2"),
        ("a.csv", "question,answer\nx,1\ny,\n", "1 of 2 rows have nothing in column 'answer': line 3"),
        ("a.csv", "question,answer\nx,NaN\n", "line 2, column 'answer' holds 'NaN', a lost value"),
        (
            "a.csv",
            "question,answer\nx,1\ncaf\u00e9,2\n".encode("latin-1"),
            "line 3 holds a byte that is no UTF-8 (0xe9)",
        ),
        ("a.jsonl", '{"question": "x", "answer": NaN}', "1 of 1 rows have nothing in column 'answer': line 1"),
        ("a.jsonl", '{"question": "x", "answer": [1]}', "line 1, column 'answer' holds [1], expected text or a number"),
        ("a.jsonl", '{"question": "x", "answer": true}', "holds True, expected text or a number"),
        ("a.jsonl", '{"question": "\\ud800", "answer": 1}', "a lone surrogate"),
        ("a.jsonl", '{"question": "x"\n', "line 1 is no JSON"),
        ("a.jsonl", "[1]\n", "line 1 holds [1], expected an object"),
        ("a.json", '{"question": "x"}', "expected a JSON list of objects"),
        ("missing.csv", None, "no such file"),
    ],
)
def test_what_cannot_be_taken_is_named_and_nothing_is_written(tmp_path, name, content, words):
    table = tmp_path / name if content is None else written(tmp_path, name, content)
    with pytest.raises(UserError) as refused:
        import_table(table, tmp_path / "mine/train.parquet")
    assert words in str(refused.value)
    assert str(refused.value).startswith(str(table))
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("out", "words"), [("mine/all.parquet", "expected <folder>/"), ("a+b/val.parquet", "--source")]
)
def test_a_path_that_the_workflow_would_not_look_for_is_refused(tmp_path, out, words):
    with pytest.raises(UserError, match=words):
        import_table(written(tmp_path, "a.csv", CSV), tmp_path / out)
