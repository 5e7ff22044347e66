"""Reads problems from parquet files in the schema of the paper's hub dataset.

Columns: data_source, prompt (chat messages), ability, reward_model {style, ground_truth}, extra_info {index, split,
problem, solution}; where problems have pictures, images (list of {bytes, path}). Generated, local and downloaded
data all come through here.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.files import atomic_path
from selfdistill.tasks.layout import check_layout, leaves
from selfdistill.tasks.messages import own_messages
from selfdistill.tasks.pictures import COLUMN, PLACEHOLDER, ROW_GROUP, Picture, as_cell, pictures_of_row
from selfdistill.tasks.prompts import INSTRUCTION, PROBLEM_PREFIX, Message, student_messages

SCHEMA = pa.schema(
    [
        ("data_source", pa.string()),
        ("prompt", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("ability", pa.string()),
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        (
            "extra_info",
            pa.struct(
                [("index", pa.int64()), ("split", pa.string()), ("problem", pa.string()), ("solution", pa.string())]
            ),
        ),
    ]
)
#: The same of problems with pictures.
SCHEMA_OF_PICTURES = SCHEMA.append(
    pa.field(COLUMN, pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())])))
)
_EXTRA = ("index", "split", "problem", "solution")
#: What every file must have; everything else has a stand-in (an index: the row number; a problem: the prompt's text).
_REQUIRED = ("data_source", "prompt.content", "reward_model.ground_truth")
#: What is read; a file may hold much more beside it, and the paper's training sets of maths do.
_READ = (
    "data_source",
    "prompt",
    "ability",
    "reward_model.ground_truth",
    *(f"extra_info.{name}" for name in (*_EXTRA, "cluster")),
    COLUMN,
)
_BATCH = 512  # rows that are Python objects at a time, before they are boiled down
_SHOWN = 8  # row numbers in a message


@dataclass(frozen=True)
class Problem:
    """One row: a question, its reference answer and what is known about it.

    Attributes:
        id: "<data_source>/<index>", unique in a file.
        data_source: the benchmark or dataset that it belongs to.
        problem: the raw question, without instruction.
        answer: ground truth for the grader.
        solution: a worked solution, or an empty string.
        ability: "math", "logic"; carried along, used by nothing.
        index: number inside the data source.
        split: "train" or "val"; empty where the file has none.
        messages: the chat of its own that it is asked with, which ends with the user's message; empty where it is asked
            with the library's prompt (`prompts.student_prompt`).
        cluster: what it is a variant of, equal for all variants; empty where the file does not say.
        images: its pictures, one for each PLACEHOLDER of its question (or of its own messages), in their order.
    """

    id: str
    data_source: str
    problem: str
    answer: str
    solution: str
    ability: str
    index: int
    split: str
    messages: tuple[Message, ...] = ()
    cluster: str = ""
    images: tuple[Picture, ...] = ()


def read_problems(
    path: str | os.PathLike, *, need_solution: bool = False, own_prompts: bool | None = False
) -> list[Problem]:
    """Read and check all rows of a parquet file, in its order.

    The question is extra_info.problem or, where that is missing or blank, the last message of the prompt without the
    instruction. Indices that are missing, or that a data source uses for several questions (as kk_4to7 does, which
    counts each number of people from 0), give way to row numbers in that data source.

    Args:
        path: the file.
        need_solution: refuse rows without a solution (hints from the dataset need one).
        own_prompts: take each row's column `prompt` as the chat that it is asked with (see `messages.own_messages`);
            rows in which it is null or empty are asked with the library's prompt. None, for whoever asks nothing: the
            library's prompt, and pictures may have their places in either.

    Raises:
        UserError: for a file that is not a parquet, without rows, without a needed column or with one of another type,
            and for rows (counted from 0) without data source, question, ground truth or needed solution, with a chat
            that cannot be asked, with pictures that cannot be opened or that its question has not a place for each of,
            or that repeat an earlier row.
    """
    needed = (*_REQUIRED, "extra_info.solution") if need_solution else _REQUIRED
    rows = list(_read_rows(path, needed, own_prompts=own_prompts))
    if not rows:
        raise UserError(f"{path}: no rows; problems were expected, one a row")
    sources = [row.data_source for row in rows]
    questions = [row.question for row in rows]
    answers = _single(path, [row.answer for row in rows])
    solutions = [row.solution for row in rows]
    _refuse_blank(path, sources, "an empty data_source", "name the benchmark or dataset of each row")
    _refuse_blank(path, questions, "no problem, neither in extra_info.problem nor in prompt", "fill or drop them")
    _refuse_blank(path, answers, "an empty reward_model.ground_truth", "fill or drop them")
    if need_solution:
        advice = "fill or drop them, or take a method or hint source that needs no dataset solutions"
        _refuse_blank(path, solutions, "an empty extra_info.solution, which this run needs", advice)
    asked = [(row.question, *(picture.digest for picture in row.images)) for row in rows]
    indices = _indices(path, [row.index for row in rows], sources, asked)
    return [
        Problem(
            id=f"{sources[i]}/{indices[i]}",
            data_source=sources[i],
            problem=questions[i],
            answer=answers[i],
            solution=solutions[i],
            ability=row.ability,
            index=indices[i],
            split=row.split,
            messages=row.messages,
            cluster=row.cluster,
            images=row.images,
        )
        for i, row in enumerate(rows)
    ]


def write_problems(path: str | os.PathLike, problems: Sequence[Problem]) -> None:
    """Write problems as a whole file in SCHEMA; the prompt column is the student prompt of the problem's split.

    Where any has pictures, there is a column for them, and row groups are short: a picture is read with its group.
    """
    pictured = any(p.images for p in problems)
    rows = [
        {
            "data_source": p.data_source,
            "prompt": [message._asdict() for message in student_messages(p, training=p.split == "train")],
            "ability": p.ability,
            "reward_model": {"style": "rule", "ground_truth": p.answer},
            "extra_info": {"index": p.index, "split": p.split, "problem": p.problem, "solution": p.solution},
        }
        for p in problems
    ]
    with atomic_path(path) as temporary:
        if not pictured:
            pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), temporary)
            return
        with pq.ParquetWriter(temporary, SCHEMA_OF_PICTURES) as writer:
            for begin in range(0, len(rows), ROW_GROUP):
                part = zip(rows[begin : begin + ROW_GROUP], problems[begin : begin + ROW_GROUP], strict=True)
                group = [row | {COLUMN: as_cell(problem.images)} for row, problem in part]
                writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA_OF_PICTURES))


def column_differences(path: str | os.PathLike) -> tuple[list[str], list[str]]:
    """Columns of SCHEMA that a file lacks, and those that it has beside SCHEMA_OF_PICTURES, by dotted names."""
    theirs, known = leaves(pq.read_schema(path)), leaves(SCHEMA_OF_PICTURES)
    return [name for name in leaves(SCHEMA) if name not in theirs], [name for name in theirs if name not in known]


def count_empty_prompts(path: str | os.PathLike) -> int:
    """Return rows of a file that `read_problems` takes whose prompt has no message, or a last one that asks nothing."""
    with pq.ParquetFile(path) as file:
        batches = (batch.to_pylist() for batch in file.iter_batches(_BATCH, columns=["prompt"]))
        return sum(not _last_message(row).strip() for rows in batches for row in rows)


@dataclass(frozen=True, slots=True)
class _Row:
    """Holds what is kept of a row, as it is in the file; an index may be missing or of any type, an answer a list."""

    data_source: str
    question: str
    answer: str | list[str | None]
    solution: str
    ability: str
    index: Any
    split: str
    messages: tuple[Message, ...]
    cluster: str
    images: tuple[Picture, ...]


def _read_rows(path: str | os.PathLike, needed: Iterable[str], *, own_prompts: bool | None) -> Iterator[_Row]:
    """The rows of a file whose columns are right, boiled down batch by batch: whole ones would take many times the
    file's size in memory. Raises UserError.
    """
    before = 0
    try:
        with pq.ParquetFile(path) as file:  # not read_table: that would read columns out of folder names such as a=1
            check_layout(path, file.schema_arrow, needed, leaves(SCHEMA))
            pictured = COLUMN in file.schema_arrow.names
            for batch in file.iter_batches(_BATCH, columns=list(_READ)):
                for number, row in enumerate(_as_objects(path, batch, before), start=before):
                    messages = own_messages(row["prompt"], f"{path}: row {number}") if own_prompts else ()
                    images = _images(path, row, number, messages, own_prompts=own_prompts) if pictured else ()
                    yield _Row(
                        data_source=row["data_source"] or "",
                        question=_question(row),
                        answer=_inner(row, "reward_model", "ground_truth"),
                        solution=_inner(row, "extra_info", "solution"),
                        ability=row.get("ability") or "",
                        index=_index(row),
                        split=_inner(row, "extra_info", "split"),
                        messages=messages,
                        cluster=_inner(row, "extra_info", "cluster"),
                        images=images,
                    )
                before += batch.num_rows
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if not os.path.exists(path):
            raise UserError(f"{path}: no such file; expected a parquet of problems") from error
        raise UserError(
            f"{path}: not a readable parquet file ({_first_line(error)}); make or fetch it again"
        ) from error


def _as_objects(path: str | os.PathLike, batch: pa.RecordBatch, before: int) -> list[dict[str, Any]]:
    """The rows of a batch, of which the file has so many before it. Raises UserError for bytes that are no UTF-8."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        columns = list(_columns_and_fields(batch))
        for i in range(batch.num_rows):
            for name, column in columns:
                try:
                    column.slice(i, 1).to_pylist()
                except UnicodeDecodeError as error:
                    raise UserError(
                        f"{path}: column {name} holds bytes that are no UTF-8 ({error.reason}), expected text, at "
                        f"{_shown([before + i])}; write the file again from decoded text"
                    ) from error
        raise


def _columns_and_fields(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    """Columns by name, and for a struct its fields by dotted name."""
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_struct(column.type):
            for i, field in enumerate(column.type):
                yield f"{name}.{field.name}", column.field(i)
        else:
            yield name, column


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _inner(row: dict[str, Any], column: str, field: str) -> Any:
    """A field's text (verl also has lists of them as ground truth), or an empty string."""
    return (row.get(column) or {}).get(field) or ""


def _images(
    path: str | os.PathLike, row: dict[str, Any], number: int, messages: Sequence[Message], *, own_prompts: bool | None
) -> tuple[Picture, ...]:
    """A row's pictures. Raises UserError where what is asked has not as many places for them."""
    images = tuple(pictures_of_row(row.get(COLUMN), path, number))
    texts = [message.content for message in messages] if messages else [_question(row)]
    either = own_prompts is None and _places((turn or {}).get("content") for turn in row["prompt"] or ()) == len(images)
    if (places := _places(texts)) != len(images) and not either:
        raise UserError(
            f"{path}: row {number} (counted from 0) has {len(images)} pictures in column {COLUMN}, but {places} times "
            f"{PLACEHOLDER} in {'its messages' if messages else 'its question'}; write one for each, where it stands"
        )
    return images


def _places(texts: Iterable[str | None]) -> int:
    return sum((text or "").count(PLACEHOLDER) for text in texts)


def _index(row: dict[str, Any]) -> Any:
    """Returns what stands for the row's number; of a list or struct, which is none, its text."""
    index = (row.get("extra_info") or {}).get("index")
    return repr(index) if isinstance(index, list | dict) else index


def _last_message(row: dict[str, Any]) -> str:
    last = (row["prompt"] or [None])[-1] or {}
    return "" if last.get("role") == "assistant" else last.get("content") or ""  # an answer is no question


def _question(row: dict[str, Any]) -> str:
    """The raw question of a row, or an empty string."""
    problem = _inner(row, "extra_info", "problem")
    if problem.strip() or not row["prompt"]:
        return problem
    return _last_message(row).strip().removesuffix(INSTRUCTION).removeprefix(PROBLEM_PREFIX).strip()


def _indices(path: str | os.PathLike, given: list[Any], sources: list[str], asked: list[tuple]) -> list[int]:
    """Numbers of rows; of each row `asked` is what makes it another one than those with its source and index."""
    repeats = _later(zip(sources, given, asked, strict=True))
    repeats = [i for i in repeats if given[i] is not None]
    if repeats:
        raise UserError(
            f"{path}: {len(repeats)} rows repeat the data_source, extra_info.index and problem of an earlier row, at "
            f"{_shown(repeats)}; drop them"
        )
    keys = list(zip(sources, given, strict=True))
    unusable = {sources[i] for i in _later(keys)} | {s for s, index in keys if type(index) is not int}
    position: Counter[str] = Counter()
    indices = []
    for source, index in keys:
        indices.append(position[source] if source in unusable else index)
        position[source] += 1
    return indices


def _later(keys: Iterable[Any]) -> list[int]:
    """Positions whose key has been there before."""
    seen, later = set(), []
    for i, key in enumerate(keys):
        if key in seen:
            later.append(i)
        seen.add(key)
    return later


def _single(path: str | os.PathLike, answers: list[str | list[str | None]]) -> list[str]:
    """Each row's one reference answer, where verl's layout has a list of one, too."""
    lists = [i for i, answer in enumerate(answers) if isinstance(answer, list) and len(answer) > 1]
    if lists:
        raise UserError(
            f"{path}: {len(lists)} of {len(answers)} rows have several texts in reward_model.ground_truth, at "
            f"{_shown(lists)}; expected one: keep that which answers are to equal"
        )
    return [(answer[0] or "") if isinstance(answer, list) else answer for answer in answers]


def _refuse_blank(path: str | os.PathLike, values: list[str], what: str, advice: str) -> None:
    blank = [i for i, value in enumerate(values) if not value.strip()]
    if blank:
        raise UserError(f"{path}: {len(blank)} of {len(values)} rows have {what}, at {_shown(blank)}; {advice}")


def _shown(rows: list[int]) -> str:
    listed = ", ".join(map(str, rows[:_SHOWN]))
    return f"{'row' if len(rows) == 1 else 'rows'} {listed}{' and more' if len(rows) > _SHOWN else ''} (counted from 0)"
