"""Computes tables of tokens: sizes of both signals by class of token, and the tokens with the largest.

From the summaries of runs (`token_summaries`), which also say what the signals are.
"""

import json
from collections.abc import Sequence

import pandas as pd

from selfdistill.reporting.read.runs import RunFiles, check_unique
from selfdistill.reporting.render.csv_tables import csv_text
from selfdistill.reporting.tokens.classes import OURS, PARTITIONS
from selfdistill.reporting.tokens.summaries import CLASS_COLUMNS, SIGNALS, TOKEN_COLUMNS
from selfdistill.texts import visible

#: A token is ranked that occurs this often, and at least once in so many tokens: a rare one has no mean to speak of.
LEAST_COUNT, ONCE_IN = 5, 2000
TOP = 10

_RUN = ["task", "model", "variant", "seed"]
_TOP_COLUMNS = ["task", "model", "variant", "signal", "rank", "token", "token_class", "count", "abs_mean"]

#: A part of a run's summary.
Part = tuple[RunFiles, pd.DataFrame]


def tokens_table(classes: Sequence[Part]) -> pd.DataFrame:
    """Return a row for each run and class of token: task, model, variant, seed, then CLASS_COLUMNS (`Summary.classes`).

    classes: of each run. Raises UserError for a run listed twice.
    """
    check_unique([run for run, _ in classes])
    frames = [
        frame.assign(**{key: getattr(run, key) for key in _RUN})[[*_RUN, *CLASS_COLUMNS]]
        for run, frame in classes
        if len(frame)
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*_RUN, *CLASS_COLUMNS])


def top_tokens_table(tokens: Sequence[Part], top: int = TOP, partition: str = OURS) -> pd.DataFrame:
    """The tokens with the largest mean size of each signal, over all seeds of a variant: task, model, variant, signal,
    rank (from 1), token, token_class, count, abs_mean (nats, over all occurrences).

    tokens: `Summary.tokens` of each run. Tokens are written as in JSON, without the quotes: a line break is \\n. Those
    that occur fewer than LEAST_COUNT times, or more rarely than once in ONCE_IN tokens, are left out. Ties go to the
    more frequent token. partition: of the classes. Raises UserError for a run listed twice.
    """
    check_unique([run for run, _ in tokens])
    cells: dict[tuple[str, str, str], list[pd.DataFrame]] = {}
    for run, frame in tokens:
        if len(frame):
            cells.setdefault((run.task, run.model, run.variant), []).append(frame)
    rows = []
    for (task, model, variant), frames in cells.items():
        summed = pd.concat(frames)[list(TOKEN_COLUMNS)].groupby("token", sort=False).sum().reset_index()
        for signal in SIGNALS:
            for rank, each in enumerate(_ranked(summed, signal).head(top).itertuples(), start=1):
                row = {"task": task, "model": model, "variant": variant, "signal": signal, "rank": rank}
                row |= {"token": written(each.token), "token_class": PARTITIONS[partition](each.token)}
                rows.append(row | {"count": each.times, "abs_mean": each.mean})
    return pd.DataFrame(rows, columns=_TOP_COLUMNS)


def written(token: str) -> str:
    """Return a token as a table shows it: as in JSON, without the quotes, and nothing unseen in it."""
    return visible(json.dumps(token, ensure_ascii=False)[1:-1])


def as_csv(table: pd.DataFrame) -> str:
    """Six significant digits: contrasts may be far below a hundredth of a nat."""
    return csv_text(table, "%.6g")


def _ranked(summed: pd.DataFrame, signal: str) -> pd.DataFrame:
    """token, times and mean of those that are frequent enough, the largest mean first."""
    counts = summed[f"{signal}_count"]
    frequent = counts >= max(LEAST_COUNT, counts.sum() / ONCE_IN)
    kept = summed[frequent]
    times, sums = kept[f"{signal}_count"], kept[f"{signal}_sum"]
    ranked = pd.DataFrame({"token": kept["token"], "times": times, "mean": sums / times})
    return ranked.sort_values(["mean", "times", "token"], ascending=[False, False, True])
