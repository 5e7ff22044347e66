"""The data report: each finding counts what it says it does, and nothing else."""

from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_vision import picture, pictured_problem

from selfdistill.reporting.pages.data import write_report
from selfdistill.tasks.data_report import DataFile, data_report, digest, near_digest, origin
from selfdistill.tasks.schema import Problem, write_problems

RECIPE = {"sha256": "a" * 64}


def problem(i: int, split: str = "train", **changes) -> Problem:
    plain = Problem(f"s/{i}", "s", f"What is {i} + {i}?", str(2 * i), "Add.", "math", i, split)
    return replace(plain, **changes)


def written(folder, split: str, problems: list[Problem], grader: str = "maths") -> DataFile:
    path = folder / split / f"{split}.parquet"
    write_problems(path, problems)
    return DataFile(f"{split}_set", split, str(path), grader, RECIPE)


def values(findings, split: str) -> dict:
    return {(f.finding, f.data_source): f.value for f in findings if f.split == split}


@pytest.fixture
def train(tmp_path):
    rows = [problem(i) for i in range(10)]
    rows[1] = replace(rows[1], solution=" ")
    rows[2] = replace(rows[2], data_source="other")
    rows[3] = replace(rows[3], problem=" What is 0 +\n 0?")  # of row 0, up to white space
    rows[4] = replace(rows[4], answer="\\frac{")
    rows[5] = replace(rows[5], answer="\\frac{1}{2}", solution="x" * 50)
    return written(tmp_path, "train", rows)


def test_rows_are_counted_as_a_whole_and_by_data_source(train):
    found = values(data_report([train], []), "train")
    assert found["rows", ""] == 10
    assert found["rows", "s"] == 9
    assert found["rows", "other"] == 1


def test_each_flaw_is_counted_and_named(train):
    found = {f.finding: f for f in data_report([train], [])}
    assert found["empty solutions"].value == 1
    assert found["problems that repeat an earlier one"].value == 1
    assert found["problems that repeat an earlier one"].note == "s/3 (= s/0)"
    assert found["answers that the grader cannot read"].value == 1
    assert found["answers that the grader cannot read"].note == "s/4 (\\frac{)"
    assert found["empty prompts"].value == 0
    assert found["characters per solution, longest"].value == 50
    assert found["characters per solution, median"].value == 4


def test_knights_read_other_answers_than_maths(tmp_path):
    rows = [problem(i, answer=a) for i, a in enumerate(("Ava is a knight", "5", "Ava is a knight, Ava is a knave"))]
    found = values(data_report([written(tmp_path, "train", rows, "knights")], []), "train")
    assert found["answers that the grader cannot read", ""] == 2


def test_references_that_the_maths_grader_takes_for_a_number_are_listed(tmp_path):
    answers = ("5", "x+y+z=2", "10 cm", "x=3", r"\gcd(a, p-1)", "Yes", "}{", "x^2")
    rows = [problem(i, answer=answer) for i, answer in enumerate(answers)]
    found = {f.finding: f for f in data_report([written(tmp_path, "train", rows)], [])}
    taken = found["answers that the grader takes for a plain number"]
    assert taken.value == 3
    assert taken.note == r"s/1 (x+y+z=2 for 2), s/2 (10 cm for 10), s/4 (\gcd(a, p-1) for 1)"
    knights = data_report([written(tmp_path, "train", rows, "knights")], [])
    assert {f.value for f in knights if f.finding == taken.finding} == {0}


def test_columns_and_blank_prompts_are_those_of_the_file(tmp_path):
    rows = [
        {
            "data_source": "s",
            "prompt": prompt,
            "reward_model": {"ground_truth": "1"},
            "extra_info": {"problem": f"q{i}"},
            "r1_solution": "a",
        }
        for i, prompt in enumerate(([], [{"role": "user", "content": " "}], [{"role": "user", "content": "q"}]))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    file = DataFile("d", "train", str(tmp_path / "train.parquet"), "maths", RECIPE)
    found = {f.finding: f for f in data_report([file], [])}
    assert found["empty prompts"].value == 2
    assert found["columns beside"].note == "r1_solution"
    lacking = ["ability", "reward_model.style", "extra_info.index", "extra_info.split", "extra_info.solution"]
    assert found["columns missing"].note == ", ".join(lacking)
    assert found["empty solutions"].value == 3


def test_overlap_is_found_exactly_and_nearly_and_between_pairs_only(train, tmp_path):
    texts = ["What is  0 + 0?", "what is 7 + 7", "What is 7 - 7?", "new"]
    val = written(tmp_path, "val", [problem(i, "val", problem=text) for i, text in enumerate(texts)])
    findings = data_report([train, val], [("train_set", "val_set")])
    found = {f.finding: f for f in findings if f.split == "val"}
    assert found["problems also in train_set, exactly"].value == 1
    assert found["problems also in train_set, exactly"].note == "s/0 (= s/0)"
    nearly = found["problems also in train_set, but for case and punctuation"]
    assert nearly.value == 2
    assert "s/1 (= s/7)" in nearly.note
    assert not [f for f in data_report([train, val], []) if "also in" in f.finding]


def test_of_problems_with_pictures_a_question_alone_is_no_overlap(tmp_path):
    """Questions of a toy, or of a benchmark, are few; what they are asked of is in the picture."""

    def asked(i, split, question, shown):
        return pictured_problem(i, picture(shown), split=split, question=question)

    rows = [asked(0, "train", "Which is red?", 1), asked(1, "train", "Which is blue?", 2)]
    val = [
        asked(0, "val", "Which is red?", 3),  # the question alone
        asked(1, "val", "which is blue", 2),  # the same problem, nearly
        asked(2, "val", "How many?", 1),  # the picture alone
    ]
    files = [written(tmp_path, "train", rows), written(tmp_path, "val", val)]
    found = {f.finding: f for f in data_report(files, [("train_set", "val_set")]) if "also in" in f.finding}
    assert {name: each.value for name, each in found.items()} == {
        "problems also in train_set, exactly": 0,
        "problems also in train_set, but for case and punctuation": 1,
        "pictures also in train_set, byte for byte": 2,
        "questions also in train_set, whatever their pictures": 2,
    }


def test_near_is_less_than_exact_but_operators_count():
    assert digest("a  b") == digest(" a b\n") != digest("A b")
    assert near_digest("Is it: $x$, or y?") == near_digest("is it x or Y")
    assert near_digest("x + y") != near_digest("x - y")


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (RECIPE, f"a folder's file, sha256 {'a' * 64}"),
        ({"exercise": "knights", "seed": 3, "problems": 9}, "generated: knights, seed 3"),
        (
            {"hub": {"id": "o/n", "revision": "main", "commit": "c"}, "file": "f", "size": 1, "sha256": "b"},
            "hub: f of o/n@main, commit c, sha256 b",
        ),
    ],
)
def test_the_origin_says_where_a_file_is_from(recipe, said):
    assert origin(recipe) == said


def test_the_report_is_one_row_a_finding_and_a_page_that_runs_nothing(tmp_path):
    rows = [problem(0), problem(1, answer="<script>alert(1)</script>\\frac{")]
    findings = data_report([written(tmp_path, "train", rows)], [])
    write_report(findings, tmp_path / "report.csv", tmp_path / "report.html")
    table = pd.read_csv(tmp_path / "report.csv")
    assert list(table.columns) == ["dataset", "split", "data_source", "finding", "value", "note"]
    assert len(table) == len(findings)
    page = (tmp_path / "report.html").read_text()
    assert "<h2>train_set/train</h2>" in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
