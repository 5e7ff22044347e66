"""Computes tables of recorded rollouts: means by class of token, signs of the contrast, certain tokens.

From the summaries of runs (`rollouts.rollout_rows`).
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from selfdistill.reporting.read.runs import RunFiles, check_unique
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.render.texts import DASH
from selfdistill.reporting.tokens.rollouts import LEAST_SIMILAR, READERS

SIGNALS_COLUMNS = columns("task model variant seed step prompt rollout correct token_class one_sided contrast")
SIGNS_COLUMNS = columns("task model variant seed outcome negatives rollouts above_percent wrong_sign_percent")
CERTAIN_COLUMNS = columns("task model variant seed outcome reader tokens certain_percent")
_RUN = ["task", "model", "variant", "seed"]
_OUTCOMES = {True: "correct", False: "wrong"}

#: A part of a run's summary.
Part = tuple[RunFiles, pd.DataFrame]


def signals_table(rollouts: Sequence[Part]) -> pd.DataFrame:
    """rollout_signals.csv: a row for each recorded rollout and class of token, with the mean size of both signals over
    the rollout's tokens of this class, in nats; empty where it has none, or the method no wrong hint.
    """
    found = []
    for run, frame in _parts(rollouts, "mean"):
        split = frame["name"].str.extract(r"^(?P<signal>one_sided|contrast)_(?P<token_class>\w+)$")
        keys = ["record", "step", "prompt", "rollout", "correct", "token_class"]
        wide = frame.join(split).pivot(index=keys, columns="signal", values="value").reset_index()
        found.append(wide.assign(**_names(run)))
    return _joined(found, SIGNALS_COLUMNS)


def signs_table(rollouts: Sequence[Part]) -> pd.DataFrame:
    """signs.csv: a row for each run, outcome of a rollout and number of wrong hints: how often its mean contrast has
    the wrong sign, above 0 for a wrong rollout, and not above it for a correct one.

    negatives: how many of a rollout's wrong hints make the contrast, over all subsets of this size, or the one that is
    least similar to the rollout (`rollouts.similarity`). rollouts: those that have so many.
    """
    found = []
    for run, frame in _parts(rollouts, "sign"):
        for (outcome, name), part in frame.groupby(["correct", "name"], sort=False):
            above = 100 * float(part["value"].mean())
            row = {"outcome": _OUTCOMES[bool(outcome)], "negatives": name, "rollouts": len(part)}
            row |= {"above_percent": above, "wrong_sign_percent": 100 - above if outcome else above}
            found.append(pd.DataFrame([{**_names(run), **row}]))
    table = _joined(found, SIGNS_COLUMNS)
    order = table["negatives"].map(lambda name: (name == LEAST_SIMILAR, name))
    return table.assign(order=order).sort_values([*_RUN, "outcome", "order"], kind="stable")[SIGNS_COLUMNS]


def certain_table(rollouts: Sequence[Part]) -> pd.DataFrame:
    """certain.csv: for each run, outcome of a rollout and reader, the share of tokens with a probability above CERTAIN.

    reader: the student, or the teacher under a hint, those that have its very text apart (`rollouts.READERS`).
    """
    found = []
    for run, frame in _parts(rollouts, "certain"):
        for (outcome, name), part in frame.groupby(["correct", "name"], sort=False):
            share = 100 * float(part["value"].sum() / part["count"].sum())
            row = {"outcome": _OUTCOMES[bool(outcome)], "reader": name, "tokens": int(part["count"].sum())}
            found.append(pd.DataFrame([{**_names(run), **row, "certain_percent": share}]))
    table = _joined(found, CERTAIN_COLUMNS)
    order = table["reader"].map({name: place for place, name in enumerate(READERS)})
    return table.assign(order=order).sort_values([*_RUN, "outcome", "order"], kind="stable")[CERTAIN_COLUMNS]


def signs_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each task and model: wrong signs in percent, by number of wrong hints."""
    table = table.assign(negatives=table["negatives"].astype(str))
    return _views(table, "negatives", "rollouts", "wrong_sign_percent", "{} wrong hints")


def certain_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each task and model: shares of certain tokens in percent, by reader."""
    return _views(table, "reader", "tokens", "certain_percent", "{}")


def _views(table: pd.DataFrame, across: str, weight: str, value: str, title: str) -> list[View]:
    views = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        names = list(dict.fromkeys(part[across]))
        rows = []
        for (variant, outcome), of_row in part.groupby(["variant", "outcome"], sort=False):
            cells = [_pooled(of_row[of_row[across] == name], weight, value) for name in names]
            rows.append(Row(variant, cells, note=f"{outcome} rollouts"))
        titles = [title.format(name) if name != "1" else "1 wrong hint" for name in names]
        views.append(View(f"{task}, {model}", "Variant", titles, rows))
    return views


def _pooled(rows: pd.DataFrame, weight: str, value: str) -> Cell:
    """The mean over seeds, by how much each has."""
    if not (total := float(rows[weight].sum())):
        return Cell(DASH)
    mean = float((rows[weight] * rows[value]).sum() / total)
    return Cell(f"{mean:.1f}", f"{total:,.0f}", order=mean)


def _parts(rollouts: Sequence[Part], kind: str) -> list[Part]:
    check_unique([run for run, _ in rollouts])
    return [(run, part) for run, frame in rollouts if len(part := frame[frame["kind"] == kind])]


def _names(run: RunFiles) -> dict[str, Any]:
    return {key: getattr(run, key) for key in _RUN}


def _joined(frames: Sequence[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    found = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return found.reindex(columns=list(names))
