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


def test_what_a_problem_is_a_variant_of_is_read_where_it_is_said(file):
    rows = [row(0, extra_info__cluster="a"), row(1, extra_info__cluster=None), row(2, extra_info__cluster="a")]
    assert [p.cluster for p in read_problems(file(rows))] == ["a", "", "a"]
    assert [p.cluster for p in read_problems(file([row(0)]))] == [""]
    with pytest.raises(UserError, match=r"extra_info\.cluster holds int64, expected text"):
        read_problems(file([row(0, extra_info__cluster=3)]))


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
    "prompt",
    [
        [],
        None,
        [None],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": INSTRUCTION}],
        [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because."}],
    ],
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


@pytest.mark.parametrize("index", [[None, 4], ["a", "b"], [0.5, 1.5], [[1], [1]], [{"a": 1}, {"a": 2}]])
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


LISTS = {
    "list": pa.list_(pa.string()),
    "large list": pa.large_list(pa.string()),
    "list of one": pa.list_(pa.string(), 1),
    "list of large text": pa.list_(pa.large_string()),
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_one_reference_answer_is_that_answer(kind, tmp_path):
    table = pa.Table.from_pylist([row(0), row(1)])
    answers = pa.StructArray.from_arrays([pa.array([["72"], ["x"]], type=LISTS[kind])], names=["ground_truth"])
    pq.write_table(table.set_column(3, "reward_model", answers), tmp_path / "t.parquet")
    assert [p.answer for p in read_problems(tmp_path / "t.parquet")] == ["72", "x"]


def test_several_reference_answers_and_none_are_refused_by_row(file):
    several = [row(i, reward_model__ground_truth=["1", "2"][: 1 + i % 2]) for i in range(4)]
    with pytest.raises(UserError, match=r"2 of 4 rows have several texts in reward_model\.ground_truth, at rows 1, 3 "):
        read_problems(file(several))
    for none in ([], [""], [None], None):
        rows = [row(0, reward_model__ground_truth=["1"]), row(1, reward_model__ground_truth=none)]
        with pytest.raises(UserError, match=r"1 of 2 rows have an empty reward_model\.ground_truth, at row 1 "):
            read_problems(file(rows))


def flattened(rows: list[dict], *columns: str) -> list[dict]:
    """Rows as pandas' json_normalize has them: fields of a struct as columns with a dot in their names."""
    for made in rows:
        for column in columns:
            made.update({f"{column}.{field}": value for field, value in made.pop(column).items()})
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(0, data_source=["toy"])], r"column data_source holds list<.*>, expected text; write it as strings"),
        ([row(0, extra_info__solution=["s"])], r"column extra_info\.solution holds list<.*>, expected text"),
        ([row(0, extra_info__problem={"a": 1})], r"column extra_info\.problem holds struct<.*>, expected text"),
        ([row(0, ability=1)], r"column ability holds int64, expected text"),
        (
            [row(0, reward_model__ground_truth=[1])],
            r"ground_truth holds list<.*int64>, expected text, or a list of one",
        ),
        ([row(0, reward_model__ground_truth=[["1"]])], r"ground_truth holds list<.*list<.*>, expected text, or a list"),
        ([row(0, reward_model=[{"ground_truth": "1"}])], r"column reward_model holds list<.*>, expected a struct"),
        ([row(0, reward_model='{"ground_truth": "1"}')], r"column reward_model holds string, expected .*parse it"),
        (
            [row(0, extra_info='{"problem": "q"}')],
            r"column extra_info holds string, expected .*if it is JSON, parse it",
        ),
        ([row(0, prompt={"role": "user", "content": "q"})], r"column prompt holds struct<.*>, expected a list of mess"),
        ([row(0, prompt="[]")], r"column prompt holds string, expected a list of messages.*parse it"),
        ([row(0, prompt=["q"])], r"column prompt holds list<.*string>, expected a list of messages"),
        ([row(0, prompt=[{"role": "user", "content": [{"text": "q"}]}])], r"column prompt\.content holds list<"),
        (flattened([row(0)], "reward_model", "extra_info"), r"column reward_model\.ground_truth is flat, .*nest it"),
        (
            flattened([row(0)], "extra_info"),
            r"column extra_info\.index is flat.*expected field index of column extra_in",
        ),
        (flattened([row(0, prompt={"content": "q"})], "prompt"), r"column prompt\.content is flat"),
    ],
)
def test_another_layout_is_refused_by_column_and_type(rows, message, file):
    path = file(rows)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}: .*{message}") as error:
        read_problems(path)
    assert "\n" not in str(error.value)


def test_a_flat_column_beside_the_nested_one_disturbs_nothing(file):
    assert (
        read_problems(file([{**row(0), "extra_info.problem": "other", "reward_model.ground_truth": ["a", "b"]}]))[0]
        == read_problems(file([row(0)]))[0]
    )


def test_a_column_that_is_there_twice_is_named(tmp_path):
    table = pa.Table.from_pylist([row(0)])
    pq.write_table(table.append_column("ability", table["ability"]), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"column ability is there twice, expected once; drop or rename"):
        read_problems(tmp_path / "t.parquet")
    text = pa.array(["1"])
    twice = pa.StructArray.from_arrays([text, text], names=["ground_truth", "ground_truth"])
    pq.write_table(table.set_column(3, "reward_model", twice), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"column reward_model\.ground_truth is there twice"):
        read_problems(tmp_path / "t.parquet")


@pytest.mark.parametrize("raw", [b"\xe9t\xe9", b"\xed\xa0\x80", b"a\xff"])
@pytest.mark.parametrize("name", ["data_source", "reward_model.ground_truth", "extra_info.solution", "prompt"])
def test_bytes_that_are_no_text_are_refused_by_column_and_row(raw, name, tmp_path):
    """Latin-1, a lone surrogate, and what no encoding has; the row lies behind the first batch."""
    rows = [row(i) for i in range(700)]
    table = pa.Table.from_pylist(rows)
    texts = pa.array([raw if i == 600 else b"%d" % i for i in range(700)], type=pa.binary()).view(pa.string())
    column, _, field = name.partition(".")
    if field:
        struct = table[column].combine_chunks()
        texts = pa.StructArray.from_arrays(
            [texts if f.name == field else struct.field(f.name) for f in struct.type],
            names=[f.name for f in struct.type],
        )
    elif name == "prompt":
        struct = pa.StructArray.from_arrays([texts, texts], names=["role", "content"])
        texts = pa.ListArray.from_arrays(pa.array(range(701), type=pa.int32()), struct)
    table = table.set_column(table.schema.get_field_index(column), column, texts)
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(UserError, match=rf"t\.parquet: column {re.escape(name)} holds bytes .* at row 600 \(counted"):
        read_problems(tmp_path / "t.parquet")


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
