import re
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfdistill.errors import UserError
from selfdistill.tasks.prompts import INSTRUCTION
from selfdistill.tasks.schema import SCHEMA, Problem, read_problems, write_problems

PROBLEMS = [
    Problem(f"toy/{i}", "toy", f"What is {i}+{i}?", str(2 * i), f"{i}+{i}={2 * i}.", "math", i, "train")
    for i in range(12)
]


def row(index: int = 0, **changes):
    """A complete row; a dotted name such as extra_info__problem changes a nested field, None for a field drops it."""
    made = {
        "data_source": "toy",
        "prompt": [{"role": "user", "content": f"Problem: q{index}\n\n{INSTRUCTION}"}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "1"},
        "extra_info": {"index": index, "split": "train", "problem": f"q{index}", "solution": "s"},
    }
    for name, value in changes.items():
        column, _, field = name.partition("__")
        if field:
            made[column][field] = value
        else:
            made[column] = value
    return made


def without(rows: list[dict], name: str) -> list[dict]:
    """Rows without a column, or without a nested field."""
    column, _, field = name.partition(".")
    for made in rows:
        for holder in made[column] if isinstance(made[column], list) else [made[column]]:
            if field:
                holder.pop(field)
        if not field:
            made.pop(column)
    return rows


@pytest.fixture
def file(tmp_path):
    def write(rows: list[dict], schema: pa.Schema | None = None):
        path = tmp_path / "data.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
        return path

    return write


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "toy" / "train.parquet"
    write_problems(path, PROBLEMS)
    assert read_problems(path) == PROBLEMS
    assert [p.name for p in path.parent.iterdir()] == ["train.parquet"]


texts = st.text(min_size=1, max_size=20).filter(lambda t: t.strip() and max(t) < "\ud800")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.lists(st.tuples(texts, texts, st.text(alphabet="ab\n é", max_size=9)), min_size=1, max_size=5))
def test_any_text_survives(tmp_path, rows):
    problems = [Problem(f"t/{i}", "t", p, a, s, "", i, "val") for i, (p, a, s) in enumerate(rows)]
    write_problems(tmp_path / "any.parquet", problems)
    assert read_problems(tmp_path / "any.parquet") == problems


def test_columns_are_those_of_the_hub_dataset(tmp_path):
    write_problems(tmp_path / "t.parquet", [PROBLEMS[1], replace(PROBLEMS[2], split="val")])
    table = pq.read_table(tmp_path / "t.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.to_pylist() == [
        {
            "data_source": "toy",
            "prompt": [{"role": "user", "content": f"{prefix}What is {i}+{i}?\n\n{INSTRUCTION}"}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": str(2 * i)},
            "extra_info": {"index": i, "split": split, "problem": f"What is {i}+{i}?", "solution": f"{i}+{i}={2 * i}."},
        }
        for i, split, prefix in ((1, "train", "Problem: "), (2, "val", ""))
    ]


def test_the_same_problems_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_problems(tmp_path / name, PROBLEMS)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "t.parquet"
    write_problems(path, PROBLEMS)

    def break_off(_, target):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", break_off)
    with pytest.raises(OSError, match="disk full"):
        write_problems(path, PROBLEMS[:2])
    monkeypatch.undo()
    assert read_problems(path) == PROBLEMS
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(("name", "count"), [("maths", 100), ("knights", 500), ("knights-train", 3600)])
def test_the_real_files_are_read(name, count, real):
    problems = read_problems(real(name))
    raw = pq.ParquetFile(real(name)).read().to_pylist()
    assert len(problems) == count
    assert len({p.id for p in problems}) == count
    for problem, row in zip(problems, raw, strict=True):
        assert problem.problem == row["extra_info"]["problem"]
        assert problem.answer == row["reward_model"]["ground_truth"]
        assert problem.solution == row["extra_info"]["solution"]
        assert (problem.data_source, problem.ability) == (row["data_source"], row["ability"])
        assert problem.id == f"{problem.data_source}/{problem.index}"


def test_indices_of_the_real_files(real):
    """Kept where they are unique; kk_4to7 counts each number of people from 0, so its rows are numbered through."""
    for name in ("maths", "knights"):
        raw = pq.ParquetFile(real(name)).read().to_pylist()
        assert [p.index for p in read_problems(real(name))] == [row["extra_info"]["index"] for row in raw]
    assert [p.index for p in read_problems(real("knights-train"))] == list(range(3600))


def test_missing_solutions_of_the_real_files_are_named_on_request(real):
    assert len(read_problems(real("knights-train"), need_solution=True)) == 3600
    with pytest.raises(UserError, match=r"70 of 100 rows.*extra_info\.solution.*rows 0, 1, 2, 3, 4, 5, 6, 7 and more"):
        read_problems(real("maths"), need_solution=True)


REQUIRED = ["data_source", "prompt", "prompt.content", "reward_model", "reward_model.ground_truth"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_column_is_named(name, file):
    path = file(without([row(0), row(1)], name))
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: missing column .*{re.escape(name)}"):
        read_problems(path)


@pytest.mark.parametrize("name", ["extra_info", "extra_info.solution"])
def test_solutions_are_a_column_only_where_they_are_needed(name, file):
    path = file(without([row(0), row(1)], name))
    assert [p.solution for p in read_problems(path)] == ["", ""]
    with pytest.raises(UserError, match=r"missing column extra_info\.solution"):
        read_problems(path, need_solution=True)


@pytest.mark.parametrize(
    "name", ["ability", "extra_info.index", "extra_info.split", "extra_info.problem", "extra_info"]
)
def test_everything_else_has_a_stand_in(name, file):
    problems = read_problems(file(without([row(0), row(1)], name)))
    assert [(p.id, p.problem, p.answer) for p in problems] == [("toy/0", "q0", "1"), ("toy/1", "q1", "1")]


@pytest.mark.parametrize("blank", ["", "  \n", None])
@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("data_source", "data_source"),
        ("reward_model__ground_truth", r"reward_model\.ground_truth"),
        ("extra_info__solution", r"extra_info\.solution"),
    ],
)
def test_rows_with_an_empty_field_are_named(field, message, blank, file):
    path = file([row(i, **({field: blank} if i in (1, 3) else {})) for i in range(5)], SCHEMA)
    with pytest.raises(
        UserError, match=rf"^{re.escape(str(path))}: 2 of 5 rows.*{message}.*rows 1, 3 \(counted from 0\)"
    ):
        read_problems(path, need_solution=True)


def test_eight_rows_are_listed_at_most(file):
    path = file([row(i, reward_model__ground_truth="") for i in range(20)])
    with pytest.raises(UserError, match=r"20 of 20 rows.*rows 0, 1, 2, 3, 4, 5, 6, 7 and more"):
        read_problems(path)


@pytest.mark.parametrize("blank", ["", " ", None])
def test_a_blank_problem_falls_back_to_the_prompt_without_its_trimmings(blank, file):
    path = file([row(0, extra_info__problem=blank), row(1)], SCHEMA)
    assert [p.problem for p in read_problems(path)] == ["q0", "q1"]


def test_the_last_message_is_the_prompt(file):
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why?"}]
    assert read_problems(file([row(0, extra_info__problem=None, prompt=messages)], SCHEMA))[0].problem == "Why?"


@pytest.mark.parametrize(
    "prompt", [[], None, [{"role": "user", "content": None}], [{"role": "user", "content": INSTRUCTION}]]
)
def test_rows_without_any_problem_are_named(prompt, file):
    path = file([row(0), row(1, extra_info__problem="", prompt=prompt)], SCHEMA)
    with pytest.raises(UserError, match=r"1 of 2 rows have no problem.*row 1 \(counted"):
        read_problems(path)


def test_a_row_that_is_there_twice_is_refused(file):
    path = file([row(0), row(1), row(2), row(1), row(0)])
    with pytest.raises(UserError, match=r"2 rows repeat.*rows 3, 4"):
        read_problems(path)


def test_an_index_used_for_two_problems_gives_way_to_row_numbers_in_its_source(file):
    rows = [row(5), row(7, data_source="other"), row(5, extra_info__problem="another"), row(9, data_source="other")]
    assert [p.id for p in read_problems(file(rows))] == ["toy/0", "other/7", "toy/1", "other/9"]


@pytest.mark.parametrize("index", [[None, 4], ["a", "b"], [0.5, 1.5]])
def test_indices_that_are_no_whole_numbers_give_way_to_row_numbers(index, file):
    rows = [row(i, extra_info__index=value) for i, value in enumerate(index)]
    assert [p.index for p in read_problems(file(rows))] == [0, 1]


def test_a_column_of_another_type_is_named(file):
    path = file([row(0, reward_model__ground_truth=5)])
    with pytest.raises(UserError, match=r"column reward_model\.ground_truth holds int64, expected text"):
        read_problems(path)


def test_other_encodings_of_text_are_read(file):
    table = pa.Table.from_pylist([row(0), row(1)])
    large = table.set_column(0, "data_source", table["data_source"].cast(pa.large_string()))
    categories = table.set_column(0, "data_source", table["data_source"].dictionary_encode())
    path = file([row(0)])
    for variant in (large, categories):
        pq.write_table(variant, path)
        assert [p.id for p in read_problems(path)] == ["toy/0", "toy/1"]


def test_other_columns_and_folder_names_do_not_disturb(tmp_path):
    path = tmp_path / "lr=1" / "a+b" / "val.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist([row(0, extra_info__people=3, difficulty=[1, 2])]), path)
    assert read_problems(path)[0].problem == "q0"


@pytest.mark.parametrize("content", [b"", b"data_source,prompt\n", b"PAR1 and then nothing PAR1"])
def test_a_file_that_is_no_parquet_is_refused(content, tmp_path):
    path = tmp_path / "val.parquet"
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"val\.parquet: not a readable parquet file \([^\n]*\); make or fetch it again$"
    ):
        read_problems(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nothing\.parquet: no such file"):
        read_problems(tmp_path / "nothing.parquet")


def test_a_file_without_rows_is_refused(tmp_path):
    pq.write_table(SCHEMA.empty_table(), tmp_path / "empty.parquet")
    with pytest.raises(UserError, match="no rows"):
        read_problems(tmp_path / "empty.parquet")
