"""Packs a recorded rollout for the page of tokens."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfdistill.reporting.tokens.rollouts import mean_wrong
from selfdistill.tasks.thumbnails import is_thumbnail

#: Characters of a problem, solution or answer beyond which its middle is left out.
_MOST_TEXT = 12_000
#: The largest number of half precision.
_LARGEST = float(np.finfo(np.float16).max)
#: Weights this near to 1 are not worth a column.
_SAME_WEIGHT = 5e-4


@dataclass(frozen=True)
class Packed:
    """A rollout as the page has it, JSON, and the sizes by which colour scales are made."""

    text: str
    sizes: dict[str, np.ndarray]


def pack(row: Mapping[str, Any], label: str) -> Packed:
    """What the page needs of a record, of the run that is called so. Arrays: see `_encoded`; those that say nothing are
    null.
    """
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
        **({"context": _shortened(row["context"])} if row.get("context") else {}),
        **_pictures(row),
    }
    sizes = {"nats": correct - student, "advantage": np.array([row["advantage"]])}
    sizes |= {"divergence": after} if distilled else {"advantage": np.append(after, row["advantage"])}
    return Packed(as_json(packed), sizes)


def as_json(value: Any) -> str:
    """For an element of a page, which a "<" of some response must not end."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    names = ("problem", "answer", *(name for name in ("feedback", "critique") if row.get(name)))
    return {name: _shortened(row[name]) for name in names}


def _hints(row: Mapping[str, Any]) -> dict[str, list]:
    return {
        "hint": [
            _shortened(row.get(name) or "") for name in ("correct_solution", "correct_answer", "correct_feedback")
        ],
        "wrongHints": [
            [_shortened(solution), _shortened(answer)]
            for solution, answer in zip(row["wrong_solutions"], row["wrong_answers"], strict=True)
        ],
    }


def _pictures(row: Mapping[str, Any]) -> dict[str, list[str | None]]:
    """The problem's pictures as addresses that hold them; None for what is no small PNG, as another's file may have."""
    if not (images := row.get("images")):
        return {}
    return {
        "pictures": [
            f"data:image/png;base64,{base64.b64encode(each).decode('ascii')}" if is_thumbnail(each) else None
            for each in images
        ]
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
