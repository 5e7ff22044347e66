"""Records rollouts token by token, as parquet: what the teacher said of each, and what the method made of it.

While a run lasts, each recorded step is a file in the run's state; a finished run has one file of all.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.files import atomic_path

_NATS = pa.list_(pa.float32())
#: One row a rollout; lists have one entry a token of the response (T), wrong_logprobs one list a wrong hint (K x T).
#: Log-probs are nats of the sampled tokens at the rollout temperature.
SCHEMA = pa.schema(
    {
        "step": pa.int32(),
        "prompt": pa.int32(),  # number in the step, from 0
        "rollout": pa.int32(),  # number in its group, from 0
        "problem_id": pa.string(),
        "problem": pa.string(),
        "answer": pa.string(),  # the dataset's
        "correct": pa.bool_(),  # the verifier's verdict
        "reward": pa.float32(),
        "advantage": pa.float32(),  # of the rollout, before the teacher
        "tokens": pa.list_(pa.string()),  # joined: the response, special tokens included
        "token_ids": pa.list_(pa.int32()),
        "old_logprobs": _NATS,  # as of the ratio: the sampler's, or recomputed
        "student_logprobs": _NATS,  # before the optimizer step
        "correct_logprobs": _NATS,  # the teacher's under the correct hint
        "wrong_logprobs": pa.list_(_NATS),  # the teacher's under each wrong hint
        "advantages_after": _NATS,  # of each token; null where the method distils the rollout
        "divergences": _NATS,  # of each token, before its weight; null where the rollout has advantages
        "weights": _NATS,  # in the loss; 1 is the mean of those in the optimizer step that are not 0
        "marked": pa.list_(pa.bool_()),  # selected, or changed by a clip of the signal; null without such a thing
        "correct_solution": pa.string(),
        "correct_answer": pa.string(),
        "wrong_solutions": pa.list_(pa.string()),
        "wrong_answers": pa.list_(pa.string()),
    }
)
#: Columns that a file lacks where no row has a value: of graders that know more than right and wrong, what the teacher
#: read of their feedback or of a critic, and its whole prompt as the chat template renders it.
OPTIONAL = (
    pa.field("score", pa.float32()),
    pa.field("feedback", pa.string()),
    pa.field("correct_feedback", pa.string()),
    pa.field("images", pa.list_(pa.binary())),  # of the problem: small copies, PNG (tasks.thumbnails)
    pa.field("critique", pa.string()),  # what the teacher read of a critic: of a wrong rollout a critique, else praise
    pa.field("context", pa.string()),
)

#: Of a diagnosis, which records rollouts in the same way: also how far the k most likely ids of student and teacher are
#: the same ones, and what probability each gives to those in both sets.
DIAGNOSIS = pa.schema([*SCHEMA, *(pa.field(name, _NATS) for name in ("overlap", "student_mass", "teacher_mass"))])

#: Columns that may have no value in a row, columns with as many entries a row as it has tokens, and finite numbers.
_NULLABLE = ("advantages_after", "divergences", "marked")
_PER_TOKEN = ("token_ids", "old_logprobs", "student_logprobs", "correct_logprobs", "weights", *_NULLABLE)
_FINITE = ("reward", "advantage")


def write_records(path: str | os.PathLike, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of SCHEMA, and of OPTIONAL where any row has them, as a whole; there may be none."""
    known = [field for field in OPTIONAL if any(row.get(field.name) is not None for row in rows)]
    _write(path, pa.Table.from_pylist(list(rows), schema=pa.schema([*SCHEMA, *known])))


def read_records(path: str | os.PathLike, columns: Sequence[str] | None = None) -> pa.Table:
    """Return rows of a file of records, ordered by step, prompt and rollout.

    They have the given columns, or else all of SCHEMA and OPTIONAL; those of OPTIONAL where the file has them.

    Raises UserError for a file that cannot be read or lacks a column, and with column and row where a value is missing
    or a list is not as long as the row's tokens: the file may come from elsewhere.
    """
    fields = {field.name: field for field in (*SCHEMA, *OPTIONAL)}
    wanted = list(fields if columns is None else columns)
    try:
        file = pq.ParquetFile(path)
        wanted = [name for name in wanted if name in SCHEMA.names or name in file.schema_arrow.names]
        schema = pa.schema([fields[name] for name in wanted])
        table = file.read(columns=wanted).select(wanted).cast(schema)
        table.validate(full=True)  # texts that are not UTF-8
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as records of a run ({error}); expected parquet with the columns "
            f"{', '.join(wanted)}: train this run again"
        ) from None
    _check(table, path)
    return table


def _check(table: pa.Table, path: str | os.PathLike) -> None:
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    lengths = {name: _lengths(column) for name, column in columns.items() if pa.types.is_list(column.type)}
    for name, column in columns.items():
        if name not in _NULLABLE and name in SCHEMA.names:
            _refuse(path, name, np.asarray(column.is_null()), "has no value")
        if name in _FINITE:
            _refuse(path, name, ~np.isfinite(np.asarray(column)), "is no finite number")
        if name not in lengths:
            continue
        entries, rows = column.flatten(), np.asarray(pc.list_parent_indices(column))
        _refuse(path, name, np.asarray(entries.is_null()), "has an entry without value", rows)
        if name in _PER_TOKEN and "tokens" in lengths:
            unlike = (lengths[name] != lengths["tokens"]) & ~np.asarray(column.is_null())
            _refuse(path, name, unlike, "is not as long as 'tokens'")
        if pa.types.is_list(entries.type):
            inner = entries.flatten()
            _refuse(path, name, _lengths(entries) != lengths["tokens"][rows], "is not as long as 'tokens'", rows)
            inner_rows = rows[np.asarray(pc.list_parent_indices(entries))]
            _refuse(path, name, np.asarray(inner.is_null()), "has an entry without value", inner_rows)
    if {"wrong_solutions", "wrong_answers"} <= set(lengths):
        unlike = lengths["wrong_solutions"] != lengths["wrong_answers"]
        _refuse(path, "wrong_answers", unlike, "is not as long as 'wrong_solutions'")


def _lengths(lists: pa.ListArray) -> np.ndarray:
    return np.asarray(pc.fill_null(pc.list_value_length(lists), 0), dtype=np.int64)


def _refuse(
    path: str | os.PathLike, column: str, bad: np.ndarray, complaint: str, rows: np.ndarray | None = None
) -> None:
    """Raise UserError where any is bad; rows: of the file, of each entry of `bad` (None: each is a row)."""
    if bad.any():
        first = int(np.argmax(bad))
        row = first if rows is None else int(rows[first])
        raise UserError(f"{path}: column {column!r} {complaint} in row {row}; train this run again")


class StepRecords:
    """The records of a run that is not finished: a file for each recorded step."""

    def __init__(self, state: Path):
        """`state`: the run's state folder."""
        self._folder = Path(state) / "records"

    def write(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Keep the rows of a step in place of what an interrupted attempt may have left of it."""
        write_records(self._file(step), rows)

    def collect(
        self, path: str | os.PathLike, report: Callable[[str], None], expected: Collection[int] | None = None
    ) -> None:
        """Write all of them as one file, by step.

        One that a crash of the machine spoilt or lost is reported and left out: a run of days does not hang on what is
        only there to be looked at.

        Args:
            path: of the file.
            report: takes one line of progress.
            expected: steps that were recorded; None where that is not known.
        """
        for step in sorted(expected or ()):
            if not (file := self._file(step)).exists():
                report(f"left out of the records: {file}: no such file, though step {step} was recorded")
        tables = [SCHEMA.empty_table(), *self._readable(report)]
        _write(path, pa.concat_tables(tables, promote_options="default"))

    def _readable(self, report: Callable[[str], None]) -> Iterator[pa.Table]:
        for file in sorted(self._folder.glob("step_*.parquet")):
            try:
                yield read_records(file)
            except UserError as error:
                report(f"left out of the records: {error}")

    def _file(self, step: int) -> Path:
        return self._folder / f"step_{step:06d}.parquet"

    def drop(self) -> None:
        """Free the space of a finished run's."""
        for file in self._folder.glob("step_*.parquet"):
            file.unlink()


def _write(path: str | os.PathLike, table: pa.Table) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table.combine_chunks(), temporary, compression="zstd")
