"""The token view: a page of recorded rollouts whose tokens are coloured by what teacher and method made of them.

All numbers are in the page, in thousandths; the page draws one rollout at a time. What does not fit the page's size is
left out, the same share of every variant, and the page says so.
"""

import base64
import functools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from pyarrow.compute import list_value_length

from selfdistill.reporting.html import render
from selfdistill.reporting.runs import RunFiles, check_unique
from selfdistill.training.records import read_records

#: Bytes of a page's rollouts, at most.
LIMIT = 4_000_000
#: Characters of a problem, solution or answer beyond which its middle is left out.
_MOST_TEXT = 12_000
#: Of a token in the page, at least: three numbers of 8/3 bytes and an empty text.
_LEAST_BYTES = 11
#: Numbers are int16 thousandths; the smallest one stands for "none".
_UNIT, _LARGEST, _NONE = 1e-3, 32_767, -32_768


@dataclass(frozen=True)
class _Candidate:
    """A recorded rollout: of which run, its number in the file, and its tokens. It is read when it is needed: all
    records of a matrix take gigabytes."""

    run: RunFiles
    number: int
    tokens: int

    def read(self) -> dict[str, Any]:
        return _records(self.run.records).slice(self.number, 1).to_pylist()[0]


def token_page(runs: Sequence[RunFiles], task: str, *, limit: int = LIMIT) -> str:
    """The page of one task's runs, those without records or without a recorded rollout left out.

    limit: bytes of all rollouts' data. Raises UserError for records that cannot be read.
    """
    check_unique(runs)
    _records.cache_clear()  # files may have changed since
    candidates = [_candidates(run) for run in runs if run.task == task and run.records is not None]
    place = {run.name: number for number, run in enumerate(runs)}
    shown, left_out, room = {}, 0, limit
    for candidate in _in_turn(candidates):
        if candidate.tokens * _LEAST_BYTES <= room:
            row = candidate.read()
            packed = _packed(candidate.run, row)
            size = len(_json(packed).encode())
            if size <= room:
                shown[place[candidate.run.name], candidate.number] = row, packed
                room -= size
                continue
        left_out += 1
    rollouts = [shown[key] for key in sorted(shown)]
    scales = _scales([row for row, _ in rollouts])
    data = {"scales": scales, "unit": _UNIT, "none": _NONE, "rollouts": [packed for _, packed in rollouts]}
    return render(
        "tokens.html",
        title=f"Token view: {task}",
        shown=len(rollouts),
        left_out=left_out,
        megabytes=f"{limit / 1e6:g}",
        data=Markup(_json(data)),
    )


def _candidates(run: RunFiles) -> list[_Candidate]:
    """A run's rollouts, those first that show most of it: one of every step, then a second one of each."""
    table = read_records(run.records, ["step", "token_ids"])
    lengths = list_value_length(table["token_ids"]).to_pylist()
    places: dict[int, int] = {}
    found = []
    for number, (step, length) in enumerate(zip(table["step"].to_pylist(), lengths, strict=True)):
        places[step] = places.get(step, -1) + 1
        found.append((places[step], step, _Candidate(run, number, length)))
    return [candidate for *_, candidate in sorted(found, key=lambda each: each[:2])]


@functools.lru_cache(maxsize=4)
def _records(path: Path) -> pa.Table:
    return read_records(path)


def _in_turn(candidates: Sequence[Sequence[_Candidate]]) -> Iterable[_Candidate]:
    return (each for turn in zip_longest(*candidates) for each in turn if each is not None)


def _packed(run: RunFiles, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the page needs of a record. Arrays: see `_encoded`; those that say nothing are null."""
    student = np.array(row["student_logprobs"], dtype=float)
    wrong = np.array(row["wrong_logprobs"], dtype=float)
    after = row["divergences"] if row["advantages_after"] is None else row["advantages_after"]
    weights = np.array(row["weights"], dtype=float)
    marked = row["marked"] or []
    return {
        "run": f"{run.model}, {run.variant}, seed {run.seed}",
        "step": row["step"],
        "name": f"prompt {row['prompt'] + 1}, rollout {row['rollout'] + 1}",
        "problem": _shortened(row["problem"]),
        "answer": _shortened(row["answer"]),
        "correct": row["correct"],
        "reward": round(row["reward"], 3),
        "advantage": round(row["advantage"], 4),
        "distilled": row["advantages_after"] is None,
        "tokens": row["tokens"],
        "student": _encoded(student),
        "right": _encoded(np.array(row["correct_logprobs"], dtype=float) - student),
        "wrong": _encoded(np.logaddexp.reduce(wrong, axis=0) - math.log(len(wrong)) - student) if len(wrong) else None,
        "after": _encoded(np.array(after, dtype=float)),
        "weights": None if np.allclose(weights, 1, atol=_UNIT / 2) else _encoded(weights),
        "marked": None if row["marked"] is None else [place for place, mark in enumerate(marked) if mark],
        "hint": [_shortened(row["correct_solution"]), _shortened(row["correct_answer"])],
        "wrongHints": [
            [_shortened(solution), _shortened(answer)]
            for solution, answer in zip(row["wrong_solutions"], row["wrong_answers"], strict=True)
        ],
    }


def _encoded(values: np.ndarray) -> str:
    """Numbers as base64 of little-endian int16 thousandths: no number is _NONE, what does not fit is +-_LARGEST."""
    known = np.isfinite(values)
    whole = np.clip(np.rint(np.where(known, values, 0) / _UNIT), -_LARGEST, _LARGEST)
    return base64.b64encode(np.where(known, whole, _NONE).astype("<i2").tobytes()).decode("ascii")


def _shortened(text: str) -> str:
    surplus = len(text) - _MOST_TEXT
    if surplus <= 0:
        return text
    half = _MOST_TEXT // 2
    return f"{text[:half]}\n[... {surplus} characters left out ...]\n{text[-half:]}"


def _scales(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Where each kind of colour scale ends: a size that one token in a hundred exceeds, over all rollouts shown.

    One scale for all gaps, so that colours of the one-sided and the contrastive signal can be compared.
    """
    gaps = [np.subtract(row["correct_logprobs"], row["student_logprobs"]) for row in rows]
    advantages = [row["advantages_after"] for row in rows if row["advantages_after"] is not None]
    divergences = [row["divergences"] for row in rows if row["divergences"] is not None]
    return {
        "nats": _end_of_scale(gaps),
        "advantage": _end_of_scale([*advantages, [row["advantage"] for row in rows]]),
        "divergence": _end_of_scale(divergences),
    }


def _end_of_scale(values: Sequence[Sequence[float]]) -> float:
    sizes = np.abs(np.concatenate([np.asarray(each, dtype=float) for each in values] or [[]]))
    sizes = sizes[np.isfinite(sizes)]
    end = float(np.quantile(sizes, 0.99)) if len(sizes) else 0.0
    return round(end, 3) if end >= 2 * _UNIT else 2 * _UNIT


def _json(value: Any) -> str:
    """For an element of a page, which a "<" of some response must not end."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
