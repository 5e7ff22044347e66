"""Computes critiques.csv: what critics wrote during training, and what it did to the teacher."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from selfdistill.evaluation.estimators import LEVEL
from selfdistill.reporting.read.published_critiques import published_critique
from selfdistill.reporting.read.runs import RunFiles, read_metrics, series
from selfdistill.reporting.render.cells import bounds, number_cell
from selfdistill.reporting.render.table import Cell, Row, View

#: Metric -> column: means over all steps that have it.
_OF_CRITIC = {
    "critique/coverage": "coverage",
    "critique/of_wrong": "of_wrong",
    "critique/failed": "failed",
    "critique/truncated": "truncated",
    "critique/judged_right": "judged_right",
    "critique/answer_leak": "answer_leak",
    "critique/tokens_mean": "tokens",
    "critique/seconds": "seconds",
}
_OF_TEACHER = {
    f"teacher/{metric}": column
    for metric, column in (
        ("delta_wrong", "delta_wrong"),
        ("delta_right_placebo", "delta_right"),
        ("delta_gap", "delta_gap"),
    )
}
_CURVE = ("peak", "final", "published_peak", "published_final")
_GAP, _OVER_SEEDS, _APART = "delta_gap", ("delta_gap_low", "delta_gap_high"), "reward_apart"
_REWARD = "reward/mean"
_PLAIN = "grpo"
_ASKED = "critique/failed"  # a share of those that were asked about, so it is logged where anybody was
COLUMNS = [
    "task",
    "model",
    "variant",
    "n_seeds",
    "wrong",
    *_OF_CRITIC.values(),
    *_OF_TEACHER.values(),
    *_OVER_SEEDS,
    *_CURVE,
    _APART,
    "published_coverage",
    "published_delta_gap",
]


def critiques_table(runs: Sequence[RunFiles]) -> pd.DataFrame:
    """Return a row for each trained task, model and variant: means over steps, then over seeds.

    Of a run with a critic these are the steps in which it was asked at all: where the teacher's share has fallen to 0,
    nobody is.

    Columns: wrong (share of rollouts), what the critic wrote (shares of all rollouts: coverage; of the wrong ones:
    of_wrong; of those asked about or written: the others; tokens, seconds), the log-ratios of its teacher (nats a
    token), of their difference also the 95 % interval over seeds; peak and final, the highest and the last validation
    (percent, of the task's first benchmark); reward_apart, the most that any step's mean reward is from that of the
    variant grpo with the same seed; published_* of the TC-RLSD note, where it has the row.

    Raises UserError for metrics that cannot be read.
    """
    cells: dict[tuple[str, str, str], dict[int, Sequence[Mapping[str, Any]]]] = {}
    for run in runs:
        if run.metrics is not None:
            cells.setdefault((run.task, run.model, run.variant), {})[run.seed] = read_metrics(run.metrics)
    rows = []
    for (task, model, variant), members in cells.items():
        plain = cells.get((task, model, _PLAIN), {}) if variant != _PLAIN else {}
        found = [_of_run(metrics, plain.get(seed)) for seed, metrics in members.items()]
        row: dict[str, Any] = {"task": task, "model": model, "variant": variant, "n_seeds": len(members)}
        for name in dict.fromkeys(name for each in found for name in each):
            values = [each[name] for each in found if name in each]
            row[name] = max(values) if name == _APART else float(np.mean(values))
        row |= dict(zip(_OVER_SEEDS, _interval([each[_GAP] for each in found if _GAP in each]), strict=True))
        if published := published_critique(task, variant):
            row |= {"published_peak": published.peak, "published_final": published.final}
            row["published_delta_gap"] = published.delta_gap
            row["published_coverage"] = None if published.coverage is None else sum(published.coverage) / 2
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(COLUMNS[4:], float))


def critiques_views(table: pd.DataFrame) -> list[View]:
    """Return, for each task and model: the critic, its teacher, and validations beside what is published."""
    views = []
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        of, records = f"{task}, {model}", rows.to_dict("records")
        asked = [row for row in records if not math.isnan(row["coverage"])]
        if asked:
            views.append(_view(f"{of}: what was written", asked, _CRITIC))
            views.append(_view(f"{of}: what it did to the teacher, nats a token", asked, _TEACHER))
        if validated := [row for row in records if not math.isnan(row["peak"])]:
            views.append(_view(f"{of}: validation, percent", validated, _VALIDATION))
    return views


_CRITIC = {
    "Wrong": ("wrong", "%"),
    "Coverage": ("coverage", "%"),
    "Of wrong": ("of_wrong", "%"),
    "Failed": ("failed", "%"),
    "Cut": ("truncated", "%"),
    "Judged right": ("judged_right", "%"),
    "Tells the answer": ("answer_leak", "%"),
    "Tokens": ("tokens", ".1f"),
    "Published coverage": ("published_coverage", "%"),
}
_TEACHER = {
    "Wrong responses": ("delta_wrong", "+.3f"),
    "Right ones, placebo": ("delta_right", "+.3f"),
    "Difference": ("delta_gap", "+.3f"),
    "Published (wrong ones)": ("published_delta_gap", "+.3f"),
}
_VALIDATION = {name.replace("_", " ").capitalize(): (name, ".1f") for name in _CURVE} | {
    "Rewards from grpo's, at most": (_APART, ".3f")
}
#: Left out where no row has one.
_WHERE_KNOWN = ("published_coverage", "published_delta_gap", "published_peak", "published_final", _APART)


def _of_run(metrics: Sequence[Mapping[str, Any]], plain: Sequence[Mapping[str, Any]] | None = None) -> dict[str, float]:
    """The columns of one run; those that it has nothing for are left out. plain: metrics of grpo, with its seed."""
    found = {}
    asked = series(metrics, _ASKED)
    steps = [record for record in metrics if record["step"] in asked] if asked else metrics
    if rewards := series(steps, _REWARD):
        found["wrong"] = 1 - float(np.mean(list(rewards.values())))
    for metric, column in (_OF_CRITIC | _OF_TEACHER).items():
        if values := list(series(steps, metric).values()):
            found[column] = float(np.mean(values))
    validated = next((name for record in metrics for name in record if name.startswith("val/")), None)
    if validated is not None and (curve := series(metrics, validated)):
        found |= {"peak": 100 * max(curve.values()), "final": 100 * curve[max(curve)]}
    if plain is not None:
        own, others = series(metrics, _REWARD), series(plain, _REWARD)
        if shared := own.keys() & others.keys():
            found[_APART] = max(abs(own[step] - others[step]) for step in shared)
    return found


def _interval(values: Sequence[float]) -> tuple[float, float]:
    """Student's interval of a mean over seeds; nan of fewer than two, and of some that are all alike."""
    if len(set(values)) < 2:
        return math.nan, math.nan
    half = stdtrit(len(values) - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / math.sqrt(len(values))
    return float(np.mean(values) - half), float(np.mean(values) + half)


def _view(title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, tuple[str, str]]) -> View:
    kept = {
        heading: (name, form)
        for heading, (name, form) in columns.items()
        if name not in _WHERE_KNOWN or not all(math.isnan(row[name]) for row in rows)
    }
    return View(title, "Variant", list(kept), [_row(row, kept) for row in rows])


def _row(row: Mapping[str, Any], columns: Mapping[str, tuple[str, str]]) -> Row:
    cells: list[Cell] = []
    for name, form in columns.values():
        cell = number_cell(100 * row[name], ".1f") if form == "%" else number_cell(row[name], form)
        if name == _GAP:
            cell = replace(cell, detail=bounds(*(row[each] for each in _OVER_SEEDS), "{:+.3f}"))
        cells.append(cell)
    return Row(row["variant"], cells)
