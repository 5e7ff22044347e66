"""Summarises a run's records for tables and pages, run by run, so that a new run rereads no other's.

Signals are differences of log-probs of the sampled token, in nats: one-sided, e_c = correct hint - student before the
update; contrast, e_ctr = correct hint - log of the mean probability under the wrong hints (objectives.contrast).
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.files import atomic_path
from selfdistill.reporting.tokens.classes import NAMES, OURS, PARTITIONS
from selfdistill.reporting.tokens.rollouts import ROLLOUT_COLUMNS, mean_wrong, rollout_rows
from selfdistill.runs.records import read_records

#: Signals of the tables.
ONE_SIDED, CONTRAST = "one_sided", "contrast"
SIGNALS = (ONE_SIDED, CONTRAST)
_OF_ROLLOUTS = (
    *("step", "prompt", "rollout", "correct", "tokens", "student_logprobs", "correct_logprobs", "wrong_logprobs"),
    *("correct_solution", "wrong_solutions"),
)
#: Of a run's classes of tokens, as in tokens.csv.
CLASS_COLUMNS = ("token_class", "tokens", *(f"{signal}_{what}" for what in ("abs_mean", "share") for signal in SIGNALS))
#: Of a run's different tokens: how often a token has the signal, and the sum of its sizes there, in nats.
TOKEN_COLUMNS = ("token", *(f"{signal}_{what}" for signal in SIGNALS for what in ("count", "sum")))
_COLUMNS = ("tokens", "student_logprobs", "correct_logprobs", "wrong_logprobs")


@dataclass(frozen=True)
class Summary:
    """classes: a row for each class of the partition, of CLASS_COLUMNS; tokens: a row for each different token, of
    TOKEN_COLUMNS; rollouts: rows of ROLLOUT_COLUMNS (`rollouts.rollout_rows`).

    No rows where no teacher was recorded. Means of a class are over the rollouts' own means, as published, so that a
    long rollout counts no more than a short one; shares are of the sum of the signal's size over all tokens. NaN where
    a class has no token, or the method no wrong hint.
    """

    classes: pd.DataFrame
    tokens: pd.DataFrame
    rollouts: pd.DataFrame


@dataclass(frozen=True)
class _Signals:
    """The N tokens of a run's records, with the sizes of their signals.

    texts: of the different tokens, U; codes: [N] which of them each token is; rollouts: [N] which record it is from;
    partition: of the classes.
    sizes: signal -> [N] nats, NaN where the rollout has no wrong hint.
    """

    texts: Sequence[str]
    codes: np.ndarray
    rollouts: np.ndarray
    sizes: dict[str, np.ndarray]
    partition: str = OURS

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of the classes."""
        return NAMES[self.partition]

    @property
    def classes(self) -> np.ndarray:
        """[N] numbers of `names`."""
        of_texts = [self.names.index(PARTITIONS[self.partition](text)) for text in self.texts]
        return np.array(of_texts, dtype=np.int64)[self.codes]


def summarise(records: str | os.PathLike, partition: str = OURS) -> Summary:
    """Return the summary of one file of records, by a partition of PARTITIONS.

    Raises UserError for a file that cannot be read, or does not fit itself.
    """
    signals = _read_signals(records, partition)
    there = len(signals.codes) > 0
    table = read_records(records, _OF_ROLLOUTS)
    rows = (table.slice(number, 1).to_pylist()[0] for number in range(len(table)))  # Python's numbers take much room
    return Summary(
        pd.DataFrame(_by_class(signals) if there else {}, columns=list(CLASS_COLUMNS)),
        pd.DataFrame(_by_token(signals) if there else {}, columns=list(TOKEN_COLUMNS)),
        pd.DataFrame(rollout_rows(rows, _by_rollout(signals)) if there else [], columns=list(ROLLOUT_COLUMNS)),
    )


def write_frame(path: str | os.PathLike, frame: pd.DataFrame) -> None:
    """Write a part of a summary as parquet, to the last bit."""
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), temporary)


def read_frame(path: str | os.PathLike) -> pd.DataFrame:
    """Return a part of a summary. Raises UserError for a file that cannot be read."""
    try:
        return pq.ParquetFile(path).read().to_pandas()
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: cannot be read as parquet ({error}); delete it, and it is made again") from None


def _read_signals(path: str | os.PathLike, partition: str) -> _Signals:
    table = read_records(path, _COLUMNS)
    lists = {name: table[name].combine_chunks() for name in _COLUMNS}
    lengths = np.asarray(lists["tokens"].value_lengths())
    for name in ("student_logprobs", "correct_logprobs"):
        if not np.array_equal(lengths, np.asarray(lists[name].value_lengths())):
            raise UserError(f"{Path(path)}: column {name!r} is not as long as 'tokens'; train this run again")
    words = lists["tokens"].flatten().dictionary_encode()
    correct, student = (np.asarray(lists[name].flatten(), dtype=np.float64) for name in _COLUMNS[2:0:-1])
    wrong = [mean_wrong(_wrong(row, length)) for row, length in zip(lists["wrong_logprobs"], lengths, strict=True)]
    return _Signals(
        texts=words.dictionary.to_pylist(),
        codes=np.asarray(words.indices, dtype=np.int64),
        rollouts=np.repeat(np.arange(len(lengths)), lengths),
        sizes={ONE_SIDED: np.abs(correct - student), CONTRAST: np.abs(correct - np.concatenate(wrong or [[]]))},
        partition=partition,
    )


def _by_class(signals: _Signals) -> dict[str, Sequence]:
    width = len(signals.names)
    columns: dict[str, Sequence] = {
        "token_class": signals.names,
        "tokens": np.bincount(signals.classes, minlength=width),
    }
    for signal, (counts, sums) in _counts_and_sums(signals).items():
        with np.errstate(invalid="ignore"):  # nothing over nothing: NaN
            means = np.where(counts > 0, sums / counts, 0).sum(axis=0) / (counts > 0).sum(axis=0)
            columns[f"{signal}_abs_mean"], columns[f"{signal}_share"] = means, sums.sum(axis=0) / sums.sum()
    return columns


def _counts_and_sums(signals: _Signals) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Signal -> how often each rollout's tokens of each class have it, and the sum of its sizes there: [R, C]."""
    classes, shape = signals.classes, (int(signals.rollouts[-1]) + 1, len(signals.names))
    places, found = signals.rollouts * shape[1] + classes, {}
    for signal, sizes in signals.sizes.items():
        known = ~np.isnan(sizes)
        counts = np.bincount(places[known], minlength=math.prod(shape)).reshape(shape)
        sums = np.bincount(places[known], weights=sizes[known], minlength=math.prod(shape)).reshape(shape)
        found[signal] = counts, sums
    return found


def _by_rollout(signals: _Signals) -> list[dict[str, float | None]]:
    """For each record, the mean size of each signal over its tokens of each class, None where there is none."""
    found: list[dict[str, float | None]] = [{} for _ in range(int(signals.rollouts[-1]) + 1)]
    for signal, (counts, sums) in _counts_and_sums(signals).items():
        for row, (of_row, sizes) in enumerate(zip(counts, sums, strict=True)):
            for name, count, size in zip(signals.names, of_row, sizes, strict=True):
                found[row][f"{signal}_{name}"] = float(size / count) if count else None
    return found


def _by_token(signals: _Signals) -> dict[str, Sequence]:
    columns: dict[str, Sequence] = {"token": signals.texts}
    for signal, sizes in signals.sizes.items():
        known, width = ~np.isnan(sizes), len(signals.texts)
        columns[f"{signal}_count"] = np.bincount(signals.codes[known], minlength=width)
        columns[f"{signal}_sum"] = np.bincount(signals.codes[known], weights=sizes[known], minlength=width)
    return columns


def _wrong(row: pa.ListScalar, length: int) -> np.ndarray:
    """[K, T] log-probs under the wrong hints of a row with T tokens."""
    flat = row.values.flatten() if len(row) else []
    return np.asarray(flat, dtype=np.float64).reshape(len(row), length)
