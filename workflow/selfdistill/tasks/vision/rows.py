"""Converts rows with pictures from a data set's own columns to a parquet of problems, a few at a time.

A training set of pictures takes gigabytes: rows are read by row groups and written as they come.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.tasks.layout import large_schema
from selfdistill.tasks.pictures import PLACEHOLDER, ROW_GROUP
from selfdistill.tasks.prompts import student_prompt

_SCHEMA = large_schema("cluster", pictures=True)
#: A cluster whose rows are scored together says how many there are: of a row that is gone its draws alone tell nothing.
_GROUP = "{} ({} rows)"
_NAMED_GROUP = re.compile(r".* \((\d{1,4}) rows\)", re.DOTALL)
#: Of the metadata of a parquet: rows that its source has and it has not, as JSON: reason -> number.
DROPPED = b"selfdistill.dropped"


@dataclass(frozen=True)
class PictureRow:
    """One problem.

    Attributes:
        question: with a `<image>` for each picture, and any options a line each ("A: ...").
        pictures: the files' bytes, in the order of their marks.
        reference: the right answer.
        kind: of the reference (tasks/vision/answer_kinds.py).
        cluster: what the problem belongs with, or "".
    """

    question: str
    pictures: Sequence[bytes]
    reference: str
    kind: str
    cluster: str = ""


def group_name(name: str, rows: int) -> str:
    """Return the cluster of a group of so many rows."""
    return _GROUP.format(name, rows)


def rows_of_group(cluster: str) -> int | None:
    """Return how many rows the group of a cluster has; None where its name does not say it."""
    return int(found[1]) if (found := _NAMED_GROUP.fullmatch(cluster)) else None


def read_columns(path: str | os.PathLike, needed: Sequence[str], more: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """Yield rows of a parquet, row group by row group, `needed` columns and those of `more` that it has.

    A single row group of nested pictures may be more than pyarrow can give as one batch; batches are small.

    Raises UserError for a file that is no parquet, and for one without a needed column.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            if missing := [name for name in needed if name not in names]:
                raise UserError(
                    f"{path}: column {missing[0]} is missing, the file has {', '.join(names)}; name the data set's own "
                    "files, or another layout (tasks.<name>.data.parts)"
                )
            columns = [*needed, *(name for name in more if name in names)]
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(ROW_GROUP, row_groups=[group], columns=columns):
                    yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]}); fetch it again") from None


def picture_bytes(value: Any, where: str) -> bytes:
    """Return the bytes of a picture's column. Raises UserError where there are none: a path alone leads nowhere."""
    found = value.get("bytes") if isinstance(value, Mapping) else value
    if not isinstance(found, bytes) or not found:
        raise UserError(f"{where}: has no bytes of a picture; take files that hold the pictures themselves")
    return found


def text_of(row: Mapping[str, Any], column: str, where: str) -> str:
    """Return the text in a column, a number's too. Raises UserError where there is none."""
    found = "" if row[column] is None else str(row[column]).strip()
    if not found:
        raise UserError(
            f"{where}: column {column} is empty, expected text; mend or drop the row, or take another split"
        )
    return found


def marked(question: str, pictures: int, where: str) -> str:
    """Return a question with as many marks as pictures: its own, or, where it has none, all of them before it.

    Raises UserError where it has another number of them.
    """
    count = question.count(PLACEHOLDER)
    if not count:
        return PLACEHOLDER * pictures + question
    if count != pictures:
        raise UserError(f"{where}: {count} marks {PLACEHOLDER} for {pictures} pictures; mend or drop the row")
    return question


def with_options(question: str, options: Mapping[str, str]) -> str:
    """Return a question and its options, a line each; as it is where there are none."""
    return (
        "\n".join([question + "\n", *(f"{letter}: {text}" for letter, text in options.items())])
        if options
        else question
    )


def write_rows(
    path: str | os.PathLike, parts: Iterable[tuple[str, PictureRow]], split: str, dropped: Mapping[str, int]
) -> int:
    """Write rows as a whole parquet and return their number.

    Args:
        path: the file.
        parts: data source and row, in the order of the file.
        split: "train" or "val".
        dropped: reason -> number of rows that are left out; read when all rows have come.

    Raises UserError where there are no rows.
    """
    index: Counter[str] = Counter()
    written, held = 0, []
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for name, row in parts:
            held.append(_as_row(name, row, split, index[name]))
            index[name] += 1
            if len(held) == ROW_GROUP:
                written += _write(writer, held)
        written += _write(writer, held)
        if dropped:
            writer.add_key_value_metadata({DROPPED: json.dumps(dict(dropped), sort_keys=True)})
    if not written:
        raise UserError(f"{path}: no rows; expected problems with pictures")
    return written


def left_out(path: str | os.PathLike) -> dict[str, int]:
    """Reason -> number of rows that a file's source has and it has not; none of files that say nothing of it."""
    found = (pq.read_metadata(path).metadata or {}).get(DROPPED)
    return json.loads(found) if found else {}


def _as_row(name: str, row: PictureRow, split: str, index: int) -> dict[str, Any]:
    message = student_prompt(row.question, training=split == "train")
    return {
        "data_source": name,
        "prompt": [{"role": "user", "content": message}],
        "images": [{"bytes": each, "path": None} for each in row.pictures],
        "ability": row.kind,
        "reward_model": {"style": "rule", "ground_truth": row.reference},
        "extra_info": {
            "index": index,
            "split": split,
            "problem": row.question,
            "solution": "",
            "cluster": row.cluster or None,
        },
    }


def _write(writer: pq.ParquetWriter, held: list[dict[str, Any]]) -> int:
    count = len(held)
    if held:
        writer.write_table(pa.Table.from_pylist(held, schema=_SCHEMA))
        held.clear()
    return count
