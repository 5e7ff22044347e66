import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.errors import UserError
from selfdistill.evaluation import draws as module
from selfdistill.evaluation.draws import (
    SCHEMA,
    Draw,
    check_paired,
    read_draws,
    read_matrix,
    stack_seeds,
    to_matrix,
    write_draws,
)


def make_draws(problems=3, draws=2):
    return [
        Draw(
            problem_id=f"chain-3/{p}",
            draw=d,
            response=f"é \\boxed{{{d}}}",
            n_tokens=10 * p + d,
            finish_reason="length" if d else "stop",
            answer=None if d else str(p),
            correct=(p + d) % 2 == 0,
        )
        for p in range(problems)
        for d in range(draws)
    ]


def as_table(draws=None):
    return pa.Table.from_pylist([dataclasses.asdict(d) for d in draws or make_draws()], schema=SCHEMA)


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "chain-3.parquet"
    write_draws(path, make_draws())
    frame = read_draws(path)
    assert list(frame.columns) == SCHEMA.names
    back = [Draw(**{k: None if v is None or v != v else v for k, v in row.items()}) for row in frame.to_dict("records")]
    assert back == make_draws()
    assert [p.name for p in path.parent.iterdir()] == ["chain-3.parquet"]


def test_scores_and_feedback_are_kept_where_the_grader_has_them(tmp_path):
    told = [
        dataclasses.replace(draw, score=draw.n_tokens / 100, feedback="" if draw.correct else "too short\n")
        for draw in make_draws()
    ]
    path = tmp_path / "chain-3.parquet"
    write_draws(path, told)
    frame = read_draws(path)
    assert list(frame.columns) == [*SCHEMA.names, "score", "feedback"]
    assert frame["feedback"].tolist() == [draw.feedback for draw in told]
    np.testing.assert_allclose(frame["score"], [draw.score for draw in told], rtol=1e-6)
    assert list(read_draws(path, texts=False).columns) == [
        name for name in SCHEMA.names if name not in ("response", "answer")
    ]
    write_draws(path, make_draws())
    assert pq.read_schema(path).names == SCHEMA.names
    np.testing.assert_array_equal(read_matrix(path).correct, to_matrix(frame).correct)


def test_equal_draws_give_equal_bytes(tmp_path):
    write_draws(tmp_path / "a.parquet", make_draws())
    write_draws(tmp_path / "b.parquet", make_draws())
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_numbers_are_read_without_the_texts(tmp_path):
    path = tmp_path / "draws.parquet"
    write_draws(path, make_draws())
    frame, whole = read_draws(path, texts=False), read_draws(path)
    assert frame.equals(whole.drop(columns=["response", "answer"]))
    assert to_matrix(frame).problems == to_matrix(whole).problems
    pq.write_table(as_table().drop_columns(["response"]), path)
    for read in (lambda path: read_draws(path, texts=False), read_matrix):
        with pytest.raises(UserError, match=r"draws.parquet: column 'response' is missing"):
            read(path)


def same(one, other):
    """Whether two matrices are the same to the type."""
    pairs = [(getattr(one, name), getattr(other, name)) for name in ("correct", "n_tokens", "truncated")]
    return one.problems == other.problems and all(
        np.array_equal(a, b) and a.dtype == b.dtype and a.shape == b.shape for a, b in pairs
    )


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(12)), st.permutations(SCHEMA.names), st.integers(1, 12))
def test_a_matrix_is_read_as_from_the_frame_in_any_order_of_rows_and_columns(tmp_path_factory, rows, columns, group):
    path = tmp_path_factory.mktemp("draws") / "draws.parquet"
    draws = [dataclasses.replace(draw, problem_id=f"é{draw.problem_id}") for draw in make_draws(4, 3)]
    pq.write_table(as_table(draws).take(list(rows)).select(columns), path, row_group_size=group)
    assert same(read_matrix(path), to_matrix(read_draws(path)))


def test_a_plain_file_is_not_read_twice(tmp_path, monkeypatch):
    write_draws(tmp_path / "draws.parquet", make_draws())
    monkeypatch.setattr(module, "read_draws", None)
    read_matrix(tmp_path / "draws.parquet")


def test_other_types_are_converted_for_the_matrix_too(tmp_path):
    table = as_table()
    wide = [
        f.with_type(pa.int64() if f.type == pa.int32() else pa.large_string() if f.type == pa.string() else f.type)
        for f in SCHEMA
    ]
    pq.write_table(table.cast(pa.schema(wide)), tmp_path / "draws.parquet", store_schema=True)
    assert same(read_matrix(tmp_path / "draws.parquet"), to_matrix(table.to_pandas()))


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(order):
    table = as_table()
    straight, shuffled = to_matrix(table.to_pandas()), to_matrix(table.take(list(order)).to_pandas())
    assert straight.problems == shuffled.problems == ("chain-3/0", "chain-3/1", "chain-3/2")
    for name in ("correct", "n_tokens", "truncated"):
        np.testing.assert_array_equal(getattr(straight, name), getattr(shuffled, name))


def test_matrix_places_every_draw():
    matrix = to_matrix(as_table().to_pandas())
    for draw in make_draws():
        row = matrix.problems.index(draw.problem_id)
        assert matrix.correct[row, draw.draw] == draw.correct
        assert matrix.n_tokens[row, draw.draw] == draw.n_tokens
        assert matrix.truncated[row, draw.draw] == (draw.finish_reason == "length")


@pytest.mark.parametrize("column", SCHEMA.names)
def test_a_missing_column_is_named(tmp_path, column):
    path = tmp_path / "draws.parquet"
    pq.write_table(as_table().drop_columns([column]), path)
    for read in (read_draws, read_matrix):
        with pytest.raises(UserError, match=f"draws.parquet: column '{column}' is missing"):
            read(path)


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [
        ("correct", [1, 0, 1, 0, 1, 2], "column 'correct' is of type int64, expected bool"),
        ("n_tokens", [1.5] * 6, "column 'n_tokens' is of type double, expected int32"),
        ("draw", ["a"] * 6, "column 'draw' is of type string"),
        ("response", [b"\xff"] * 6, "column 'response' is of type binary"),
    ],
)
def test_a_wrong_type_is_named(tmp_path, column, values, complaint):
    path = tmp_path / "draws.parquet"
    table = as_table()
    pq.write_table(table.set_column(table.column_names.index(column), column, pa.array(values)), path)
    for read in (read_draws,) if column == "response" else (read_draws, read_matrix):
        with pytest.raises(UserError, match=complaint):
            read(path)


def test_other_integer_widths_and_columns_are_taken(tmp_path):
    path = tmp_path / "draws.parquet"
    table = as_table()
    wide = table.set_column(1, "draw", table["draw"].cast(pa.int64())).append_column("note", pa.array(["x"] * 6))
    pq.write_table(wide, path)
    assert read_draws(path).equals(as_table().to_pandas())


def test_a_file_that_is_no_parquet(tmp_path):
    (tmp_path / "draws.parquet").write_text("no")
    for read in (read_draws, read_matrix):
        with pytest.raises(UserError, match=r"draws\.parquet: cannot be read"):
            read(tmp_path / "draws.parquet")
        with pytest.raises(UserError, match=r"missing\.parquet: cannot be read"):
            read(tmp_path / "missing.parquet")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"finish_reason": "eos"},
            r"column 'finish_reason' is none of stop, length in row 3 \(problem 'chain-3/1', draw 1\)",
        ),
        ({"n_tokens": -1}, "column 'n_tokens' is negative in row 3"),
        ({"response": None}, "column 'response' has no value in row 3"),
        ({"draw": 0}, "column 'draw' is there twice in row 3"),
        ({"draw": 2}, "problem 'chain-3/1' has 2 draws numbered 0 to 2; every problem needs the same draws, 0 to 1"),
        ({"problem_id": "chain-3/9"}, "problem 'chain-3/1' has 1 draws"),
    ],
)
def test_a_bad_row_is_named_when_written_and_when_read(tmp_path, change, complaint):
    draws = make_draws()
    draws[3] = dataclasses.replace(draws[3], **change)
    path = tmp_path / "draws.parquet"
    with pytest.raises(UserError, match=complaint):
        write_draws(path, draws)
    assert not list(tmp_path.iterdir())
    pq.write_table(as_table(draws), path)
    for read in (read_draws,) if "response" in change else (read_draws, read_matrix):
        with pytest.raises(UserError, match=complaint):
            read(path)


def test_no_draws(tmp_path):
    with pytest.raises(UserError, match="no draws"):
        write_draws(tmp_path / "draws.parquet", [])
    pq.write_table(SCHEMA.empty_table(), tmp_path / "draws.parquet")
    with pytest.raises(UserError, match="no draws"):
        read_matrix(tmp_path / "draws.parquet")


def test_seeds_are_stacked_in_order():
    first = to_matrix(as_table().to_pandas())
    second = dataclasses.replace(first, correct=~first.correct, n_tokens=first.n_tokens + 1)
    stacked = stack_seeds({"seed0": first, "seed1": second})
    assert stacked.correct.shape == (2, 3, 2)
    np.testing.assert_array_equal(stacked.correct[1], ~stacked.correct[0])
    np.testing.assert_array_equal(stacked.n_tokens[1], stacked.n_tokens[0] + 1)
    assert stacked.problems == first.problems


def test_what_cannot_be_compared_is_refused():
    matrix = to_matrix(as_table().to_pandas())
    more = to_matrix(as_table(make_draws(problems=4)).to_pandas())
    longer = to_matrix(as_table(make_draws(draws=3)).to_pandas())
    check_paired({"a": matrix, "b": longer})
    with pytest.raises(UserError, match=r"b and a: column 'problem_id' differs in 1 problems, for example 'chain-3/3'"):
        check_paired({"a": matrix, "b": more})
    with pytest.raises(UserError, match="b: 3 draws a problem, but 2 in a"):
        stack_seeds({"a": matrix, "b": longer})


def test_variants_of_a_problem_are_named_once_each(tmp_path):
    """Problems without a name are their own; draws of one problem must agree."""
    path, names = tmp_path / "draws.parquet", {0: "a", 1: "a", 2: None}
    draws = [Draw(f"b/{p}", d, "", 1, "stop", None, True, cluster=names[p]) for p in names for d in range(2)]
    write_draws(path, draws)
    assert read_matrix(path).clusters == ("a", "a", "b/2")
    assert stack_seeds({"x": read_matrix(path), "y": read_matrix(path)}).clusters == ("a", "a", "b/2")
    write_draws(path, [dataclasses.replace(draw, cluster=None) for draw in draws])
    assert read_matrix(path).clusters is None
    with pytest.raises(UserError, match="column 'cluster' is not the same in all draws of a problem"):
        write_draws(path, [*draws[:-1], dataclasses.replace(draws[-1], cluster="c")])
