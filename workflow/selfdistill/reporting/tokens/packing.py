"""A recorded rollout as a page of tokens has it, and how many bytes it takes there."""

import base64
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow.compute import fill_null, list_value_length

from selfdistill.errors import UserError
from selfdistill.reporting.tokens.summaries import mean_wrong
from selfdistill.runs.records import read_records

#: Characters of a problem, solution or answer beyond which its middle is left out.
_MOST_TEXT = 12_000
#: What tells how large a rollout is in the page; far smaller than all numbers of all rollouts.
_SIZE_COLUMNS = ("step", "tokens", "weights", "problem", "answer", "correct_solution", "correct_answer")
_SIZE_COLUMNS += ("wrong_solutions", "wrong_answers", "feedback")
#: Bytes of a rollout's names and numbers, at most, without its run's name.
_FRAME = 600
#: The largest number of half precision.
_LARGEST = float(np.finfo(np.float16).max)
#: Weights this near to 1 are not worth a column.
_SAME_WEIGHT = 5e-4


@dataclass(frozen=True)
class Packed:
    """A rollout as the page has it, JSON, and the sizes by which colour scales are made."""

    text: str
    sizes: dict[str, np.ndarray]


def rollout_sizes(records: str | Path) -> pd.DataFrame:
    """Of each rollout of a file of records: step, and the bytes that it takes in a page at most, without its label.

    A little above what it does take. Raises UserError for records that cannot be read.
    """
    table = read_records(records, _SIZE_COLUMNS)
    lengths = _lengths(table["tokens"])
    texts = table["tokens"].combine_chunks().flatten().dictionary_encode()
    of_text = np.array([_token_bytes(text) for text in texts.dictionary.to_pylist()], dtype=np.int64)
    tokens = _sums(of_text[np.asarray(texts.indices)], lengths)
    if not np.array_equal(lengths, _lengths(table["weights"])):
        raise UserError(f"{Path(records)}: column 'weights' is not as long as 'tokens'; train this run again")
    weights = np.asarray(table["weights"].combine_chunks().flatten())
    weighted = _sums(np.abs(weights - 1) > _SAME_WEIGHT, lengths) > 0
    wrong = _lengths(table["wrong_answers"]) > 0
    # Of base64, four characters for each three bytes begun.
    arrays = (3 + 2 * wrong + weighted) * (-(-2 * lengths // 3) * 4 + 2)
    marks = -(-lengths // 24) * 4 + 2
    said = [json_bytes([_texts(row), _hints(row)]) for row in table.select(table.column_names[3:]).to_pylist()]
    sizes = _FRAME + tokens + arrays + marks + np.array(said, dtype=np.int64)
    return pd.DataFrame({"step": table["step"].to_numpy(), "bytes": sizes})


def pack(row: Mapping[str, Any], label: str) -> Packed:
    """What the page needs of a record, of the run that is called so. Arrays: see `_encoded`; those that say nothing are
    null."""
    distilled = row["advantages_after"] is None
    student, correct, weights, after = (
        np.array(row[name], dtype=float)
        for name in (
            "student_logprobs",
            "correct_logprobs",
            "weights",
            "divergences" if distilled else "advantages_after",
        )
    )
    wrong = mean_wrong(np.array(row["wrong_logprobs"], dtype=float)) if row["wrong_logprobs"] else None
    packed = {
        "run": label,
        "step": row["step"],
        "name": f"prompt {row['prompt'] + 1}, rollout {row['rollout'] + 1}",
        **_texts(row),
        "correct": row["correct"],
        "reward": round(row["reward"], 3),
        "advantage": round(row["advantage"], 4),
        "distilled": distilled,
        "tokens": row["tokens"],
        "student": _encoded(student),
        "right": _encoded(correct - student),
        "wrong": None if wrong is None else _encoded(wrong - student),
        # Not left to the page: the difference of two rounded numbers is coarser than what a method selects by.
        "contrast": None if wrong is None else _encoded(correct - wrong),
        "after": _encoded(after),
        "weights": None if np.allclose(weights, 1, rtol=0, atol=_SAME_WEIGHT) else _encoded(weights),
        "marked": None if row["marked"] is None else _bits(row["marked"]),
        **_hints(row),
    }
    sizes = {"nats": correct - student, "advantage": np.array([row["advantage"]])}
    sizes |= {"divergence": after} if distilled else {"advantage": np.append(after, row["advantage"])}
    return Packed(as_json(packed), sizes)


def as_json(value: Any) -> str:
    """For an element of a page, which a "<" of some response must not end."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def json_bytes(value: Any) -> int:
    """Bytes of `as_json`."""
    return len(as_json(value).encode())


def _lengths(lists: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(fill_null(list_value_length(lists), 0), dtype=np.int64)


def _sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sums of the values of each row, which has so many of them."""
    totals, ends = np.concatenate([[0], np.cumsum(values, dtype=np.int64)]), np.cumsum(lengths)
    return totals[ends] - totals[ends - lengths]


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    names = ("problem", "answer", *(["feedback"] if row.get("feedback") else []))
    return {name: _shortened(row[name]) for name in names}


def _hints(row: Mapping[str, Any]) -> dict[str, list]:
    return {
        "hint": [_shortened(row["correct_solution"]), _shortened(row["correct_answer"])],
        "wrongHints": [
            [_shortened(solution), _shortened(answer)]
            for solution, answer in zip(row["wrong_solutions"], row["wrong_answers"], strict=True)
        ],
    }


def _encoded(values: np.ndarray) -> str:
    """Numbers as base64 of little-endian half precision, right to one part in 2,048 however small (to 3e-8 at least).

    What is no finite number is NaN; what is too large for half precision is its largest number.
    """
    held = np.where(np.isfinite(values), np.clip(values, -_LARGEST, _LARGEST), np.nan)
    return _base64(held.astype("<f2"))


def _bits(marks: Sequence[bool]) -> str:
    """A bit a token as base64, the first token in the lowest bit of the first byte."""
    return _base64(np.packbits(np.array(marks, dtype=bool), bitorder="little"))


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _shortened(text: str) -> str:
    surplus = len(text) - _MOST_TEXT
    if surplus <= 0:
        return text
    half = _MOST_TEXT // 2
    return f"{text[:half]}\n[... {surplus} characters left out ...]\n{text[-half:]}"


@functools.cache  # of tokens there are millions, but a vocabulary of different ones
def _token_bytes(text: str) -> int:
    return json_bytes(text) + len(",")
