"""Reads a run's records rollout by rollout: signs of the contrast, certain tokens, means by class of token.

Signals are those of `summaries`. The published figures of this kind (arXiv 2606.11709v2): by how many negatives the
mean contrast of a rollout has the wrong sign; what share of tokens has a probability above 1 - 1e-5 where a rollout is
its own hint; histograms of a rollout's mean |e| on style and on task tokens.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

#: A token is certain above this probability.
CERTAIN = 1 - 1e-5
#: Wrong hints of which all subsets are taken; of more than so many, the first.
MOST_NEGATIVES = 6
LEAST_SIMILAR = "least similar"
#: Who reads a rollout, and whether the hint has its very text: it is the rollout itself, or an equal sibling.
READERS = ("student", "correct hint", "correct hint, same text", "wrong hint", "wrong hint, same text")
#: One row a record, and of kinds "sign" and "certain" several: see `rollout_rows`.
ROLLOUT_COLUMNS = ("record", "step", "prompt", "rollout", "correct", "kind", "name", "value", "count")


def rollout_rows(
    records: Iterable[Mapping[str, Any]], means: Sequence[Mapping[str, float | None]]
) -> list[dict[str, Any]]:
    """Return rows of ROLLOUT_COLUMNS, in a long form.

    kind "mean": name is "<signal>_<class>", value the mean size over the record's tokens of this class, nats. "sign":
    name is a number of negatives or LEAST_SIMILAR, value the share of their subsets of this size under which the mean
    contrast over the record's tokens is above 0, count how many subsets. "certain": name is one of READERS, value how
    many of `count` tokens have a probability above CERTAIN, over all hints of that kind.

    Args:
        records: rows of records.parquet.
        means: of each of them, "<signal>_<class>" -> mean size; None where there is no such token.
    """
    rows = []
    for number, (record, of_classes) in enumerate(zip(records, means, strict=True)):
        place = {"record": number, **{key: record[key] for key in ("step", "prompt", "rollout", "correct")}}
        rows += [
            {**place, "kind": "mean", "name": name, "value": value, "count": 1}
            for name, value in of_classes.items()
            if value is not None
        ]
        rows += [{**place, "kind": "sign", **row} for row in _signs(record)]
        rows += [{**place, "kind": "certain", **row} for row in _certain(record)]
    return rows


def similarity(first: str, second: str) -> float:
    """Return the share of the words of two texts that both have (Jaccard), 0 for two texts without any word."""
    words = [set(re.findall(r"\w+", text.lower())) for text in (first, second)]
    either = words[0] | words[1]
    return len(words[0] & words[1]) / len(either) if either else 0.0


def is_itself(hint: str | None, tokens: Sequence[str]) -> bool:
    """Returns whether a hint is the very rollout: its text, but for at most two control tokens at its end."""
    return bool(hint and hint.strip()) and any(
        hint.strip() == "".join(tokens[: len(tokens) - left]).strip() for left in range(min(3, len(tokens)))
    )


def _signs(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    wrong = np.array(record["wrong_logprobs"], dtype=float)[:MOST_NEGATIVES]
    if not len(wrong):
        return []
    correct = np.array(record["correct_logprobs"], dtype=float)
    rows = []
    for size in range(1, len(wrong) + 1):
        chosen = [list(each) for each in itertools.combinations(range(len(wrong)), size)]
        above = [_mean_contrast(correct, wrong[each]) > 0 for each in chosen]
        rows.append({"name": str(size), "value": float(np.mean(above)), "count": len(chosen)})
    text = "".join(record["tokens"])
    solutions = record["wrong_solutions"][: len(wrong)]
    least = min(range(len(solutions)), key=lambda i: similarity(text, solutions[i]), default=0)
    above = _mean_contrast(correct, wrong[[least]]) > 0
    return [*rows, {"name": LEAST_SIMILAR, "value": float(above), "count": 1}]


def mean_wrong(logprobs: np.ndarray) -> np.ndarray:
    """Log of the mean probability over K wrong hints, [K, T] nats -> [T]; NaN where there is none.

    `objectives.contrast.mean_wrong_logprobs` for readers of records: pages and tables need no torch.
    """
    if not len(logprobs):
        return np.full(logprobs.shape[1], np.nan)
    largest = logprobs.max(axis=0)
    # Where no hint gives the token any probability, the mean is 0, and its log -inf.
    finite = np.where(np.isneginf(largest), 0, largest)
    with np.errstate(divide="ignore"):
        return finite + np.log(np.exp(logprobs - finite).mean(axis=0))


def _mean_contrast(correct: np.ndarray, wrong: np.ndarray) -> float:
    """Mean over T tokens of correct [T] minus the log of the mean probability under wrong hints [K, T], nats."""
    return float(np.mean(correct - mean_wrong(wrong)))


def _certain(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    tokens = record["tokens"]
    read = {name: [] for name in READERS}
    read["student"].append(record["student_logprobs"])
    itself = ", same text" if is_itself(record["correct_solution"], tokens) else ""
    read[f"correct hint{itself}"].append(record["correct_logprobs"])
    for solution, logprobs in zip(record["wrong_solutions"], record["wrong_logprobs"], strict=False):
        read[f"wrong hint{', same text' if is_itself(solution, tokens) else ''}"].append(logprobs)
    threshold = np.log(CERTAIN)
    return [
        {"name": name, "value": float(sum((np.array(row) > threshold).sum() for row in rows)), "count": len(rows) * t}
        for name, rows in read.items()
        if rows and (t := len(tokens))
    ]
