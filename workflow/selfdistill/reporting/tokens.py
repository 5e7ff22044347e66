"""What teachers say token by token: sizes of the one-sided and the contrastive signal, by class of token and by token.

From a run's records (training.records). Signals are differences of log-probs of the sampled token, in nats:
one-sided, e_c = correct hint - student before the update; contrast, e_ctr = correct hint - log of the mean probability
under the wrong hints (objectives.contrast).
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from selfdistill.errors import UserError
from selfdistill.reporting.runs import RunFiles, check_unique
from selfdistill.reporting.token_classes import CLASSES, token_class
from selfdistill.training.records import read_records

#: Signals of top_tokens.csv.
ONE_SIDED, CONTRAST = "one_sided", "contrast"
SIGNALS = (ONE_SIDED, CONTRAST)
_COLUMNS = ("tokens", "student_logprobs", "correct_logprobs", "wrong_logprobs")
#: A token is ranked that occurs this often, and at least once in so many tokens: a rare one has no mean to speak of.
LEAST_COUNT, ONCE_IN = 5, 2000
TOP = 10


@dataclass(frozen=True)
class Signals:
    """The N tokens of a run's records, with the sizes of their signals.

    texts: of the distinct tokens, U; codes: [N] which of them each token is; rollouts: [N] which record it is from.
    sizes: signal -> [N] nats, NaN where the rollout has no wrong hint.
    """

    texts: Sequence[str]
    codes: np.ndarray
    rollouts: np.ndarray
    sizes: dict[str, np.ndarray]

    @property
    def classes(self) -> np.ndarray:
        """[N] numbers of CLASSES."""
        of_texts = np.array([CLASSES.index(token_class(text)) for text in self.texts], dtype=np.int64)
        return of_texts[self.codes]


def read_signals(path: str | Path) -> Signals:
    """Signals of all rollouts of one file of records."""
    table = read_records(path, _COLUMNS)
    lists = {name: table[name].combine_chunks() for name in _COLUMNS}
    lengths = np.asarray(lists["tokens"].value_lengths())
    for name in ("student_logprobs", "correct_logprobs"):
        if not np.array_equal(lengths, np.asarray(lists[name].value_lengths())):
            raise UserError(f"{path}: column {name!r} is not as long as 'tokens'; train this run again")
    words = lists["tokens"].flatten().dictionary_encode()
    correct, student = (np.asarray(lists[name].flatten(), dtype=np.float64) for name in _COLUMNS[2:0:-1])
    wrong = [mean_wrong(_wrong(row, length)) for row, length in zip(lists["wrong_logprobs"], lengths, strict=True)]
    return Signals(
        texts=words.dictionary.to_pylist(),
        codes=np.asarray(words.indices, dtype=np.int64),
        rollouts=np.repeat(np.arange(len(lengths)), lengths),
        sizes={ONE_SIDED: np.abs(correct - student), CONTRAST: np.abs(correct - np.concatenate(wrong or [[]]))},
    )


@dataclass(frozen=True)
class Summary:
    """What the tables take of a run's records.

    classes: class -> its columns of tokens.csv; sums: signal -> token -> (how often, sum of sizes).
    """

    run: RunFiles
    classes: dict[str, dict[str, float]]
    sums: dict[str, dict[str, tuple[int, float]]]


def summaries(runs: Sequence[RunFiles]) -> list[Summary]:
    """Of each run in which a teacher was recorded. Files are read one after another: all of them take gigabytes."""
    check_unique(runs)
    found = []
    for run in runs:
        if run.records is not None and len((signals := read_signals(run.records)).codes):
            found.append(Summary(run, _by_class(signals), _by_token(signals)))
    return found


def tokens_table(found: Sequence[Summary]) -> pd.DataFrame:
    """A row for each run and class of token: task, model, variant, seed, token_class, tokens (how many),
    one_sided_abs_mean and contrast_abs_mean (nats), one_sided_share and contrast_share.

    Means are over the rollouts' own means, as published, so that a long rollout counts no more than a short one; shares
    are of the sum of the signal's size over all tokens. NaN where a class has no token, or the method no wrong hint.
    """
    rows = [
        {**{key: getattr(each.run, key) for key in ("task", "model", "variant", "seed")}, "token_class": name, **values}
        for each in found
        for name, values in each.classes.items()
    ]
    columns = ["task", "model", "variant", "seed", "token_class", "tokens"]
    columns += [f"{signal}_{what}" for what in ("abs_mean", "share") for signal in SIGNALS]
    return pd.DataFrame(rows, columns=columns)


def top_tokens_table(found: Sequence[Summary], top: int = TOP) -> pd.DataFrame:
    """The tokens with the largest mean size of each signal, over all seeds of a variant: task, model, variant, signal,
    rank (from 1), token, token_class, count, abs_mean (nats, over all occurrences).

    Tokens are written as in JSON, without the quotes: a line break is \\n. Those that occur fewer than LEAST_COUNT
    times, or more rarely than once in ONCE_IN tokens, are left out. Ties go to the more frequent token.
    """
    cells: dict[tuple[str, str, str], dict[str, dict[str, tuple[int, float]]]] = {}
    for each in found:
        cell = cells.setdefault((each.run.task, each.run.model, each.run.variant), {signal: {} for signal in SIGNALS})
        for signal, sums in each.sums.items():
            for text, (count, total) in sums.items():
                before = cell[signal].get(text, (0, 0.0))
                cell[signal][text] = before[0] + count, before[1] + total
    rows = []
    for (task, model, variant), cell in cells.items():
        for signal, sums in cell.items():
            for rank, (text, count, mean) in enumerate(_ranked(sums)[:top], start=1):
                row = {"task": task, "model": model, "variant": variant, "signal": signal, "rank": rank}
                row |= {"token": written(text), "token_class": token_class(text), "count": count, "abs_mean": mean}
                rows.append(row)
    columns = ["task", "model", "variant", "signal", "rank", "token", "token_class", "count", "abs_mean"]
    return pd.DataFrame(rows, columns=columns)


def written(token: str) -> str:
    """A token as a table shows it: as in JSON, without the quotes."""
    return json.dumps(token, ensure_ascii=False)[1:-1]


def as_csv(table: pd.DataFrame) -> str:
    """Six significant digits: contrasts may be far below a hundredth of a nat."""
    return table.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def read_top_tokens(path: str | Path) -> pd.DataFrame:
    """top_tokens.csv; a token that reads "null" or "NaN" is one."""
    return pd.read_csv(path, keep_default_na=False)


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


def _by_class(signals: Signals) -> dict[str, dict[str, float]]:
    classes, width = signals.classes, len(CLASSES)
    places = signals.rollouts * width + classes
    columns: dict[str, np.ndarray] = {"tokens": np.bincount(classes, minlength=width)}
    for signal, sizes in signals.sizes.items():
        known = ~np.isnan(sizes)
        shape = (int(signals.rollouts[-1]) + 1, width)
        counts = np.bincount(places[known], minlength=math.prod(shape)).reshape(shape)
        sums = np.bincount(places[known], weights=sizes[known], minlength=math.prod(shape)).reshape(shape)
        with np.errstate(invalid="ignore"):  # nothing over nothing: NaN
            means = np.where(counts > 0, sums / counts, 0).sum(axis=0) / (counts > 0).sum(axis=0)
            columns[f"{signal}_abs_mean"], columns[f"{signal}_share"] = means, sums.sum(axis=0) / sums.sum()
    return {
        name: {column: values[number].item() for column, values in columns.items()}
        for number, name in enumerate(CLASSES)
    }


def _by_token(signals: Signals) -> dict[str, dict[str, tuple[int, float]]]:
    found = {}
    for signal, sizes in signals.sizes.items():
        known, width = ~np.isnan(sizes), len(signals.texts)
        counts = np.bincount(signals.codes[known], minlength=width).tolist()
        totals = np.bincount(signals.codes[known], weights=sizes[known], minlength=width).tolist()
        found[signal] = dict(zip(signals.texts, zip(counts, totals, strict=True), strict=True))
    return found


def _wrong(row: pa.ListScalar, length: int) -> np.ndarray:
    """[K, T] log-probs under the wrong hints of a row with T tokens."""
    flat = row.values.flatten() if len(row) else []
    return np.asarray(flat, dtype=np.float64).reshape(len(row), length)


def _ranked(found: dict[str, tuple[int, float]]) -> list[tuple[str, int, float]]:
    least = max(LEAST_COUNT, sum(count for count, _ in found.values()) / ONCE_IN)
    means = [(text, count, total / count) for text, (count, total) in found.items() if count >= least]
    return sorted(means, key=lambda each: (-each[2], -each[1], each[0]))
