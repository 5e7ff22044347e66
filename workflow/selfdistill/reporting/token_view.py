"""The token view: a page of recorded rollouts whose tokens are coloured by what teacher and method made of them.

All numbers are in the page, in half precision; the page draws one rollout at a time. What the page's size does not hold
is left out, after `token_choice`: methods and models have their turns first, then variants and seeds. The page names
the runs of which it holds only a part, or nothing.
"""

import base64
import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup
from pyarrow.compute import fill_null, list_value_length

from selfdistill.reporting.html import render
from selfdistill.reporting.runs import RunFiles, check_unique
from selfdistill.reporting.token_choice import Candidate, choose
from selfdistill.reporting.tokens import mean_wrong
from selfdistill.training.records import read_records

#: Bytes of a page's rollouts, at most.
LIMIT = 4_000_000
#: Characters of a problem, solution or answer beyond which its middle is left out.
_MOST_TEXT = 12_000
#: What tells how large a rollout is in the page; far smaller than all numbers of all rollouts.
_SIZE_COLUMNS = ("step", "tokens", "weights", "problem", "answer", "correct_solution", "correct_answer")
_SIZE_COLUMNS += ("wrong_solutions", "wrong_answers")
#: Bytes of a rollout's names and numbers, at most, without its run's name.
_FRAME = 600
#: The largest number of half precision.
_LARGEST = float(np.finfo(np.float16).max)
#: Weights this near to 1 are not worth a column; a colour scale ends here at least.
_SAME_WEIGHT, _LEAST_SCALE = 5e-4, 2e-3


@dataclass(frozen=True)
class _Rollout:
    """A rollout as the page has it, JSON, and the sizes by which colour scales are made."""

    packed: str
    sizes: dict[str, np.ndarray]


def token_page(runs: Sequence[RunFiles], task: str, *, limit: int = LIMIT) -> str:
    """The page of one task's runs, those without records or without a recorded rollout left out.

    limit: bytes of all rollouts' data. Raises UserError for records that cannot be read.
    """
    check_unique(runs)
    recorded = [run for run in runs if run.task == task and run.records is not None]
    candidates = [candidate for run in recorded for candidate in _candidates(run)]
    chosen: dict[str, list[int]] = {}
    for candidate in choose(candidates, limit):
        chosen.setdefault(candidate.run.name, []).append(candidate.number)
    # One file after another: all records of a study take gigabytes.
    rollouts = [each for run in recorded if run.name in chosen for each in _rollouts(run, sorted(chosen[run.name]))]
    counts = Counter(_label(candidate.run) for candidate in candidates)
    here = {_label(run): len(chosen.get(run.name, [])) for run in recorded}
    packed = ",".join(each.packed for each in rollouts)
    return render(
        "tokens.html",
        title=f"Token view: {task}",
        shown=len(rollouts),
        left_out=len(candidates) - len(rollouts),
        absent=[name for name in counts if not here[name]],
        parts=[(name, here[name], count) for name, count in counts.items() if 0 < here[name] < count],
        megabytes=f"{limit / 1e6:g}",
        data=Markup(f'{{"scales":{_json(_scales(rollouts))},"rollouts":[{packed}]}}'),
    )


def _label(run: RunFiles) -> str:
    return f"{run.model}, {run.variant}, seed {run.seed}"


def _candidates(run: RunFiles) -> list[Candidate]:
    """A run's rollouts, those first that show most of it: one of every step, then a second one of each."""
    table = read_records(run.records, _SIZE_COLUMNS)
    places: Counter[int] = Counter()
    found = []
    for number, (step, size) in enumerate(zip(table["step"].to_pylist(), _sizes(run, table), strict=True)):
        found.append((places[step], step, Candidate(run, number, size)))
        places[step] += 1
    return [candidate for *_, candidate in sorted(found, key=lambda each: each[:2])]


def _sizes(run: RunFiles, table: pa.Table) -> list[int]:
    """Bytes that each rollout takes in the page at most: a little above what it does take."""
    lengths = _lengths(table["tokens"])
    texts = table["tokens"].combine_chunks().flatten().dictionary_encode()
    of_text = np.array([_token_bytes(text) for text in texts.dictionary.to_pylist()], dtype=np.int64)
    tokens = _sums(of_text[np.asarray(texts.indices)], lengths)
    weights = np.asarray(table["weights"].combine_chunks().flatten())
    weighted = _sums(np.abs(weights - 1) > _SAME_WEIGHT, lengths) > 0
    wrong = _lengths(table["wrong_answers"]) > 0
    # Of base64, four characters for each three bytes begun.
    arrays = (3 + 2 * wrong + weighted) * (-(-2 * lengths // 3) * 4 + 2)
    marks = -(-lengths // 24) * 4 + 2
    frame = _FRAME + _json_bytes(_label(run))
    rows = table.select(_SIZE_COLUMNS[3:]).to_pylist()
    sizes = zip(rows, (tokens + arrays + marks).tolist(), strict=True)
    return [frame + size + _json_bytes([_texts(row), _hints(row)]) for row, size in sizes]


def _lengths(lists: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(fill_null(list_value_length(lists), 0), dtype=np.int64)


def _sums(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Sums of the values of each row, which has so many of them."""
    totals, ends = np.concatenate([[0], np.cumsum(values, dtype=np.int64)]), np.cumsum(lengths)
    return totals[ends] - totals[ends - lengths]


def _rollouts(run: RunFiles, numbers: Sequence[int]) -> list[_Rollout]:
    table = read_records(run.records).take(numbers)
    return [_rollout(run, row) for row in table.to_pylist()]


def _rollout(run: RunFiles, row: Mapping[str, Any]) -> _Rollout:
    """What the page needs of a record. Arrays: see `_encoded`; those that say nothing are null."""
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
        "run": _label(run),
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
    return _Rollout(_json(packed), sizes)


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    return {name: _shortened(row[name]) for name in ("problem", "answer")}


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


def _scales(rollouts: Sequence[_Rollout]) -> dict[str, float]:
    """Where each kind of colour scale ends: a size that one token in a hundred exceeds, over all rollouts shown.

    One scale for all gaps, so that colours of the one-sided and the contrastive signal can be compared.
    """
    kinds = ("nats", "advantage", "divergence")
    return {kind: _end_of_scale([each.sizes[kind] for each in rollouts if kind in each.sizes]) for kind in kinds}


def _end_of_scale(values: Sequence[np.ndarray]) -> float:
    sizes = np.abs(np.concatenate([*values, []]))
    sizes = sizes[np.isfinite(sizes)]
    end = float(np.quantile(sizes, 0.99)) if len(sizes) else 0.0
    return max(round(end, 3), _LEAST_SCALE)


def _json(value: Any) -> str:
    """For an element of a page, which a "<" of some response must not end."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _json_bytes(value: Any) -> int:
    return len(_json(value).encode())


@functools.cache  # of tokens there are millions, but a vocabulary of different ones
def _token_bytes(text: str) -> int:
    return _json_bytes(text) + len(",")
