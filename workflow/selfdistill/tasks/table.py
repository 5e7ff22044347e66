"""Makes a parquet of problems from a flat table: CSV, TSV, JSON Lines, JSON or parquet, a question and an answer a row.

    python -m selfdistill.tasks.table problems.csv data/my_problems/train.parquet
    python -m selfdistill.tasks.table test.jsonl data/my_test/val.parquet --question prompt --answer target

The folder's name becomes the rows' data source, which a benchmark's rows are known by. Numbers become text as they are
written; a byte order mark and Windows' line ends are taken away; rows without any text are left out, and counted.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfdistill.errors import UserError, shown
from selfdistill.tasks.schema import Problem, write_problems

Row = tuple[str, dict[str, Any]]  # where it stands, for messages; its values
_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (*_SEPARATORS, ".jsonl", ".json", ".parquet")
_WHOLE = 2**53  # from here a float of 64 bits is no certain whole number
_SHOWN = 8  # rows in a message


def import_table(
    table: Path,
    parquet: Path,
    *,
    question: str = "question",
    answer: str = "answer",
    solution: str | None = None,
    source: str | None = None,
    separator: str | None = None,
) -> list[str]:
    """Write a table's problems as `<name>/<train|val>.parquet`, and return what there is to say of them, a line each.

    Args:
        table: the file; its ending says what it is.
        parquet: the file that is written.
        question, answer: names of columns.
        solution: of worked solutions; None takes a column `solution` where there is one.
        source: of the column that names each row's benchmark; None is the folder's name.
        separator: of the fields of a CSV; None is a comma, or a tab for .tsv.

    Raises:
        UserError: naming the row or column, what was expected, and what to do; nothing is written then.
    """
    split, folder = parquet.stem, parquet.absolute().parent.name
    if parquet.suffix != ".parquet" or split not in ("train", "val"):
        raise UserError(f"{parquet}: expected <folder>/<dataset>/train.parquet or <folder>/<benchmark>/val.parquet")
    if source is None and "+" in folder:
        raise UserError(f"{parquet}: a file of several benchmarks; --source COLUMN says which one each row is of")
    rows = list(_rows(table, separator))
    if not rows:
        raise UserError(f"{table}: no rows; expected one a problem")
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    if solution is None and "solution" in columns:
        solution = "solution"
    asked = {"question": question, "answer": answer, "solution": solution, "source": source}
    for option, name in asked.items():
        if name is not None and name not in columns:
            raise UserError(
                f"{table}: no column {name!r}; it has {', '.join(map(repr, columns))}: name one with --{option} COLUMN"
            )
    texts = [(at, {k: _text(table, at, v, row.get(v)) if v else "" for k, v in asked.items()}) for at, row in rows]
    kept = [(at, row) for at, row in texts if any(row.values())]
    for key in ("question", "answer", "source"):
        if asked[key] and (blank := [at for at, row in kept if not row[key]]):
            raise UserError(
                f"{table}: {len(blank)} of {len(kept)} rows have nothing in column {asked[key]!r}: {_list(blank)}; "
                "fill them, or drop the rows"
            )
    if not kept:
        raise UserError(f"{table}: all of its {len(texts)} rows are empty; expected a problem a row")
    write_problems(
        parquet,
        [
            Problem(
                id=f"{row['source'] or folder}/{i}",
                data_source=row["source"] or folder,
                problem=row["question"],
                answer=row["answer"],
                solution=row["solution"],
                ability="",
                index=i,
                split=split,
            )
            for i, (_, row) in enumerate(kept)
        ],
    )
    return _said(parquet, kept, len(texts), bool(solution))


def _said(parquet: Path, kept: list[Row], of: int, solutions: bool) -> list[str]:
    said = [f"{parquet}: {len(kept)} problems"]
    if len(kept) < of:
        said.append(f"rows left out because nothing is in them: {of - len(kept)}")
    first: dict[str, str] = {}
    repeats = [at for at, row in kept if first.setdefault(row["question"], at) != at]
    if repeats:
        said.append(f"warning: {len(repeats)} rows ask what an earlier row asks: {_list(repeats)}")
    without = sum(not row["solution"] for _, row in kept)
    if without:
        found = f"{without} of {len(kept)} problems have none" if solutions else "the table has no column of them"
        said.append(f"solutions: {found}; methods whose hints are the dataset's solutions need all")
    return said


def _text(table: Path, at: str, column: str, value: Any) -> str:
    """A value as text. Raises UserError for what is neither text nor a finite number."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = value.removeprefix("\ufeff").replace("\r\n", "\n").strip()
        if text.lower() == "nan":
            raise UserError(f"{table}: {at}, column {column!r} holds {text!r}, a lost value; fill it, or drop the row")
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UserError(f"{table}: {at}, column {column!r} holds half of a character (a lone surrogate); mend it")
        return text
    if isinstance(value, float) and value != value:  # what pandas has for nothing
        return ""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) != float("inf"):
        return str(int(value)) if value == int(value) and abs(value) < _WHOLE else repr(value)
    raise UserError(
        f"{table}: {at}, column {column!r} holds {shown(value)}, expected text or a number; write it as text"
    )


def _rows(table: Path, separator: str | None) -> Iterator[Row]:
    """Where each row stands, and its values by column. Raises UserError."""
    suffix = table.suffix.lower()
    if suffix not in _SUFFIXES:
        raise UserError(f"{table}: expected a file that ends with {', '.join(_SUFFIXES)}; rename or convert it")
    if not table.is_file():
        raise UserError(f"{table}: no such file; expected a table of problems")
    if suffix == ".parquet":
        try:
            with pq.ParquetFile(table) as file:
                found = file.read().to_pylist()
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(f"{table}: not a readable parquet file ({error}); write it again") from error
        yield from ((f"row {i} (counted from 0)", row) for i, row in enumerate(found))
        return
    text = _decoded(table)
    if suffix in _SEPARATORS:
        yield from _of_csv(table, text, separator or _SEPARATORS[suffix])
    elif suffix == ".jsonl":
        for i, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                yield f"line {i}", _object(table, f"line {i}", line)
    else:
        found = _json(table, "the file", text)
        if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
            raise UserError(f"{table}: expected a JSON list of objects, one a problem; .jsonl is for one a line")
        yield from ((f"row {i} (counted from 0)", row) for i, row in enumerate(found))


def _decoded(table: Path) -> str:
    raw = table.read_bytes()
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{table}: line {raw.count(10, 0, error.start) + 1} holds a byte that is no UTF-8 "
            f"({raw[error.start]:#04x}); save the file as UTF-8"
        ) from error


def _of_csv(table: Path, text: str, separator: str) -> Iterator[Row]:
    if len(separator) != 1:
        raise UserError(f"--separator {separator!r}: expected one character")
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header = [name.strip() for name in next(reader, [])]
        if twice := [name for i, name in enumerate(header) if name and name in header[:i]]:
            raise UserError(f"{table}: column {twice[0]!r} is there twice; rename or drop one of the two")
        if len(header) == 1 and (other := [mark for mark in (";", "\t", "|") if mark in header[0]]):
            raise UserError(f"{table}: one column, {header[0]!r}; give --separator {other[0]!r} if that parts them")
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise UserError(
                    f"{table}: line {reader.line_num} ends a row of {len(row)} fields, expected {len(header)} as in "
                    f"the first line; put a field that holds {separator!r} or a line's end in double quotes"
                )
            yield f"line {reader.line_num}", dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise UserError(f"{table}: line {reader.line_num}: {error}; write the file again as CSV") from error


def _object(table: Path, at: str, line: str) -> dict[str, Any]:
    found = _json(table, at, line)
    if not isinstance(found, dict):
        raise UserError(f'{table}: {at} holds {shown(found)}, expected an object such as {{"question": ..., ...}}')
    return found


def _json(table: Path, at: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{table}: {at} is no JSON ({error}); write it again") from error


def _list(rows: Sequence[str]) -> str:
    return ", ".join(rows[:_SHOWN]) + (" and more" if len(rows) > _SHOWN else "")


def main(arguments: Sequence[str]) -> None:
    """Import what the command line names (see the top of this file). Raises UserError."""
    parser = argparse.ArgumentParser(
        prog="python -m selfdistill.tasks.table", description="Make a parquet of problems from a flat table."
    )
    parser.add_argument("table", type=Path, help=f"a file that ends with {', '.join(_SUFFIXES)}")
    parser.add_argument("parquet", type=Path, help="<folder>/<dataset>/train.parquet, <folder>/<benchmark>/val.parquet")
    parser.add_argument("--question", default="question", metavar="COLUMN")
    parser.add_argument("--answer", default="answer", metavar="COLUMN")
    parser.add_argument(
        "--solution", metavar="COLUMN", help="worked solutions; without it, solution where there is one"
    )
    parser.add_argument("--source", metavar="COLUMN", help="each row's benchmark; without it, the folder's name")
    parser.add_argument("--separator", metavar="CHARACTER", help="of the fields of a CSV")
    for line in import_table(**vars(parser.parse_args(arguments))):
        print(line)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
