"""Reads and writes draws, one row a response, as parquet. Every number of every table is derived from them."""

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.files import atomic_path

FINISH_REASONS = ("stop", "length")

SCHEMA = pa.schema(
    {
        "problem_id": pa.string(),
        "draw": pa.int32(),
        "response": pa.string(),
        "n_tokens": pa.int32(),
        "finish_reason": pa.string(),
        "answer": pa.string(),
        "correct": pa.bool_(),
    }
)
#: Names what a problem is a variant of, where that is known: intervals then draw variants together.
CLUSTER = pa.field("cluster", pa.string())
#: Columns of graders that know more than right and wrong, and of a second one; other files lack them.
OPTIONAL = (
    pa.field("score", pa.float32()),
    pa.field("feedback", pa.string()),
    pa.field("second_correct", pa.bool_()),
    CLUSTER,
)
_NULLABLE = {"answer"}
#: Columns that no number is made of, and nearly all of a file.
_TEXTS = ("response", "answer")
_NUMBERS = [field for field in SCHEMA if field.name not in _TEXTS]


@dataclass(frozen=True)
class Draw:
    """One response to one problem.

    problem_id: "<benchmark>/<index>"; draw: 0 to D - 1; response: decoded text without the end-of-text token;
    n_tokens: generated tokens, the end-of-text token included; finish_reason: "stop", or "length" when truncated;
    answer: what was extracted and graded (None: no boxed answer); correct: the grader's verdict; score, feedback: of
    graders that have any (see `tasks.graded.Graded`), else None; second_correct: the verdict of the task's second
    grader, None where it has none or did not judge; cluster: what the problem is a variant of, None where that is not
    known.
    """

    problem_id: str
    draw: int
    response: str
    n_tokens: int
    finish_reason: str
    answer: str | None
    correct: bool
    score: float | None = None
    feedback: str | None = None
    second_correct: bool | None = None
    cluster: str | None = None


@dataclass(frozen=True)
class DrawMatrix:
    """Draws of one benchmark as arrays of P problems x D draws, or of S seeds x P x D once stacked.

    problems: ids in sorted order, the rows' names; correct: bool; n_tokens: int; truncated: bool; clusters: of each
    problem, what it is a variant of (its own id where the file does not say), or None where no problem has any.
    """

    problems: tuple[str, ...]
    correct: np.ndarray
    n_tokens: np.ndarray
    truncated: np.ndarray
    clusters: tuple[str, ...] | None = None


def write_draws(path: str | os.PathLike, draws: Iterable[Draw]) -> None:
    """Write the draws of one benchmark, whole or not at all. Raises UserError where `read_draws` would."""
    rows = [vars(draw) for draw in draws]
    known = [field for field in OPTIONAL if any(row[field.name] is not None for row in rows)]
    table = pa.Table.from_pylist(rows, schema=pa.schema([*SCHEMA, *known]))
    _check(table.to_pandas(), path)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_draws(path: str | os.PathLike, *, texts: bool = True) -> pd.DataFrame:
    """Read the draws of one benchmark: the columns of SCHEMA and, where it has them, of OPTIONAL; rows as in the file.

    Other columns are left out. texts: with the responses, answers and the columns of OPTIONAL; without them a file of
    long responses is read in milliseconds.
    Raises UserError naming the file and the column: unreadable file, missing or doubled column, wrong type, empty
    value, unknown finish reason, a draw that is there twice, problems with unlike numbers of draws.
    """
    fields = list(SCHEMA) if texts else _NUMBERS
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        if twice := [field.name for field in (*SCHEMA, *OPTIONAL) if names.count(field.name) > 1]:
            raise UserError(f"{path}: column {twice[0]!r} is there twice, expected once; drop or rename one of the two")
        known = [field for field in OPTIONAL if (texts or field is CLUSTER) and field.name in names]
        table = file.read([field.name for field in (*fields, *known)])
        table.validate(full=True)  # texts that are not UTF-8
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{path}: cannot be read as a parquet file of draws ({error}); evaluate this run again"
        ) from None
    columns = {}
    for field in SCHEMA:
        if field.name not in names:
            raise UserError(
                f"{path}: column {field.name!r} is missing; a file of draws has the columns {', '.join(SCHEMA.names)}"
            )
        if field in fields:
            columns[field.name] = _cast(table[field.name], field, path)
    for field in known:
        columns[field.name] = _cast(table[field.name], field, path)
    frame = pa.table(columns).to_pandas()
    _check(frame, path)
    return frame


def read_second(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray] | None:
    """The verdicts of a file by its grader and by the second one, of the draws that both judged; None where none is.

    Raises UserError for a file that cannot be read.
    """
    try:
        file = pq.ParquetFile(path)
        if "second_correct" not in file.schema_arrow.names:
            return None
        table = file.read(["correct", "second_correct"])
        table = table.filter(table["second_correct"].is_valid())
        found = [table[name].cast(pa.bool_()).to_numpy() for name in ("correct", "second_correct")]
        return (found[0].astype(bool), found[1].astype(bool)) if len(table) else None
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError(
            f"{path}: cannot be read as a parquet file of draws ({error}); evaluate this run again"
        ) from None


def read_matrix(path: str | os.PathLike) -> DrawMatrix:
    """Return the matrix of a file of draws: `to_matrix(read_draws(path))`, with its errors, in a tenth of the time.

    Every table reads the draws of all runs. A file is read here as it is; one with anything unusual in it, `read_draws`
    converts or refuses.
    """
    names, matrix = [field.name for field in _NUMBERS], None
    with contextlib.suppress(OSError, pa.ArrowException):
        file = pq.ParquetFile(path)
        there = file.schema_arrow.names
        if all(there.count(name) == 1 for name in SCHEMA.names) and CLUSTER.name not in there:
            table = file.read(names, use_threads=False).select(names).combine_chunks()
            table.validate(full=True)
            matrix = _plain_matrix(table)
    return matrix if matrix is not None else to_matrix(read_draws(path, texts=False))


def to_matrix(draws: pd.DataFrame) -> DrawMatrix:
    """Arrays of P problems x D draws from checked draws; the order of the rows does not matter."""
    ordered = draws.sort_values(["problem_id", "draw"])
    problems = tuple(ordered["problem_id"].unique())
    shape = (len(problems), -1)
    clusters = None
    if CLUSTER.name in ordered:
        named = ordered.drop_duplicates("problem_id")
        clusters = tuple(named[CLUSTER.name].fillna(named["problem_id"]))
    return DrawMatrix(
        problems=problems,
        correct=ordered["correct"].to_numpy(dtype=bool).reshape(shape),
        n_tokens=ordered["n_tokens"].to_numpy(dtype=np.int64).reshape(shape),
        truncated=(ordered["finish_reason"] == "length").to_numpy(dtype=bool).reshape(shape),
        clusters=clusters,
    )


def stack_seeds(matrices: Mapping[str, DrawMatrix]) -> DrawMatrix:
    """Return one S x P x D matrix from the P x D matrices of several seeds, by file name (for the error message).

    Raises UserError when they differ in problems or in the number of draws.
    """
    check_paired(matrices)
    (name, first), *others = matrices.items()
    for other_name, other in others:
        if other.correct.shape != first.correct.shape:
            raise UserError(
                f"{other_name}: {other.correct.shape[1]} draws a problem, but {first.correct.shape[1]} in {name}; "
                "seeds of one run need the same number of draws: evaluate them with the same settings"
            )
    return DrawMatrix(
        problems=first.problems,
        correct=np.stack([m.correct for m in matrices.values()]),
        n_tokens=np.stack([m.n_tokens for m in matrices.values()]),
        truncated=np.stack([m.truncated for m in matrices.values()]),
        clusters=first.clusters,
    )


def check_paired(matrices: Mapping[str, DrawMatrix]) -> None:
    """Raise UserError unless all matrices (by name) are on the same problems. Equal problems are in equal order."""
    (name, first), *others = matrices.items()
    for other_name, other in others:
        if unlike := set(first.problems) ^ set(other.problems):
            raise UserError(
                f"{other_name} and {name}: column 'problem_id' differs in {len(unlike)} problems, for example "
                f"{min(unlike)!r}; only results on the same problems can be compared: evaluate both on the same data"
            )


def _plain_matrix(table: pa.Table) -> DrawMatrix | None:
    """The matrix of P x D draws, or None unless everything is as `write_draws` leaves it."""
    if table.schema.types != [field.type for field in _NUMBERS] or not len(table):
        return None
    if any(column.null_count for column in table.columns):
        return None
    ids, draw, n_tokens, reasons, correct = (column.chunk(0) for column in table.columns)
    names, reasons = ids.dictionary_encode(), reasons.dictionary_encode()
    problems = sorted(names.dictionary.to_pylist())
    place = {problem: number for number, problem in enumerate(problems)}
    rows = np.array([place[name] for name in names.dictionary.to_pylist()])[np.asarray(names.indices)]
    order = np.lexsort((np.asarray(draw), rows))
    draws, surplus = divmod(len(rows), len(problems))
    expected = (np.repeat(np.arange(len(problems)), draws), np.tile(np.arange(draws), len(problems)))
    if surplus or not all(map(np.array_equal, (rows[order], np.asarray(draw)[order]), expected)):
        return None
    n_tokens = np.asarray(n_tokens, dtype=np.int64)[order]
    kinds = reasons.dictionary.to_pylist()
    if n_tokens.min() < 0 or not set(kinds) <= set(FINISH_REASONS):
        return None
    truncated = np.array([reason == "length" for reason in kinds])[np.asarray(reasons.indices)][order]
    shape = (len(problems), draws)
    right = correct.to_numpy(zero_copy_only=False)[order]
    return DrawMatrix(tuple(problems), right.reshape(shape), n_tokens.reshape(shape), truncated.reshape(shape))


def _cast(column: pa.ChunkedArray, field: pa.Field, path: str | os.PathLike) -> pa.ChunkedArray:
    # Arrow would turn any number into a truth value; a score of 2 must not become "correct".
    if pa.types.is_boolean(field.type) == pa.types.is_boolean(column.type):
        try:
            return column.cast(field.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    raise UserError(f"{path}: column {field.name!r} is of type {column.type}, expected {field.type}")


def _check(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    if frame.empty:
        raise UserError(f"{path}: no draws; expected one row a draw")
    for column in frame.columns:
        if column not in _NULLABLE and column not in {field.name for field in OPTIONAL}:
            _refuse(path, column, frame[column].isna(), frame, "has no value")
    _refuse(path, "n_tokens", frame["n_tokens"] < 0, frame, "is negative")
    _refuse(
        path,
        "finish_reason",
        ~frame["finish_reason"].isin(FINISH_REASONS),
        frame,
        f"is none of {', '.join(FINISH_REASONS)}",
    )
    _refuse(path, "draw", frame.duplicated(["problem_id", "draw"]), frame, "is there twice")
    if CLUSTER.name in frame:
        several = frame.groupby("problem_id")[CLUSTER.name].transform("nunique", dropna=False).gt(1)
        _refuse(path, CLUSTER.name, several, frame, "is not the same in all draws of a problem")
    counts = frame.groupby("problem_id")["draw"].agg(["size", "min", "max"])
    size = counts["size"].max()
    bad = counts.loc[(counts["size"] != size) | (counts["min"] != 0) | (counts["max"] != size - 1)]
    if not bad.empty:
        raise UserError(
            f"{path}: column 'draw': problem {bad.index[0]!r} has {bad['size'].iloc[0]} draws numbered "
            f"{bad['min'].iloc[0]} to {bad['max'].iloc[0]}; every problem needs the same draws, 0 to {size - 1}"
        )


def _refuse(path: str | os.PathLike, column: str, bad: Any, frame: pd.DataFrame, complaint: str) -> None:
    if bad.any():
        row = int(np.argmax(bad.to_numpy()))
        where = f"row {row} (problem {frame['problem_id'].iloc[row]!r}, draw {frame['draw'].iloc[row]})"
        raise UserError(f"{path}: column {column!r} {complaint} in {where}; evaluate this run again")
