"""Reads and writes the attempts of a search, one row an attempt, as parquet."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.files import atomic_path

SCHEMA = pa.schema(
    {
        "question": pa.string(),
        "attempt": pa.int32(),
        "turn": pa.int32(),
        "response": pa.string(),
        "finish_reason": pa.string(),
        "feedback": pa.string(),
        "correct": pa.bool_(),
        "held_back": pa.bool_(),
        "tokens_read": pa.int64(),
        "tokens_written": pa.int64(),
        "tokens_trained": pa.float64(),
        "updates": pa.int32(),
        "shown": pa.int32(),
    }
)
_NULLABLE = "held_back"


@dataclass(frozen=True)
class Attempt:
    """One answer to one question.

    Attributes:
        question: the problem's id.
        attempt: its number, from 1, among those at this question by this search and seed.
        turn: of a dialogue the turn, else the batch that it was drawn in; from 1.
        response: decoded text.
        finish_reason: "stop", or "length" when truncated.
        feedback: what the grader said, or "".
        correct: whether it passes the tests that the search is graded on.
        held_back: whether it passes all tests, those that were held back among them; None where it was not tried,
            because it fails already, or because nobody asked.
        tokens_read, tokens_written: of its prompt, and generated.
        tokens_trained: its share of the tokens that teacher and student read for the update that came after it.
        updates: of the weights, before it was drawn.
        shown: feedback on earlier attempts that its prompt shows.
    """

    question: str
    attempt: int
    turn: int
    response: str
    finish_reason: str
    feedback: str
    correct: bool
    held_back: bool | None
    tokens_read: int
    tokens_written: int
    tokens_trained: float = 0.0
    updates: int = 0
    shown: int = 0


def write_attempts(path: str | os.PathLike, attempts: Iterable[Attempt]) -> None:
    """Write attempts, whole or not at all. A job without a question writes none."""
    table = pa.Table.from_pylist([vars(attempt) for attempt in attempts], schema=SCHEMA)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_attempts(path: str | os.PathLike, *, texts: bool = True) -> pd.DataFrame:
    """Read the attempts of a file, in its order.

    Args:
        path: the file.
        texts: with responses and feedback.

    Raises:
        UserError: naming the file, for one that cannot be read, lacks a column or a value, or has an attempt twice.
    """
    names = [name for name in SCHEMA.names if texts or name not in ("response", "feedback")]
    try:
        table = pq.ParquetFile(path).read(names)
        frame = table.cast(pa.schema([SCHEMA.field(name) for name in names])).to_pandas()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError(f"{path}: cannot be read as a parquet file of attempts ({error}); make it again") from None
    for name in names:
        if name != _NULLABLE and frame[name].isna().any():
            raise UserError(f"{path}: column {name!r} has no value in row {frame[name].isna().argmax()}; make it again")
    if (twice := frame.duplicated(["question", "attempt"])).any():
        raise UserError(f"{path}: attempt {frame[twice].iloc[0].to_dict()['attempt']} is there twice; make it again")
    return frame
