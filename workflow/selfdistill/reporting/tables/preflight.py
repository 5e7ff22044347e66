"""Computes preflight.csv: what base models make of contexts before any training."""

import os
from collections.abc import Sequence

import pandas as pd

from selfdistill.errors import UserError
from selfdistill.json_files import read_object
from selfdistill.reporting.render.cells import bounds, number_cell
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.study.matrix import BASE
from selfdistill.study.preflight import CONTRAST, MEASURES, STUDENT

#: Measure -> title and format; shares are shown in percent.
_ANSWERS = {
    "student_accuracy": "Student",
    "accuracy": "With the context",
    "gap": "Gap over all",
    "hinted_share": "Have a context",
}
_CONTRAST = {
    "plain_accuracy": "Right answers",
    "direct_share": "Without working",
    "slip_share": "Wrong by a slip",
    "follows_right": "Follows a right hint",
    "follows_wrong": "A wrong one",
    "slip_auc": "Evidence finds the slip (AUC)",
    "slip_evidence": "Evidence there, nats",
}
_TOKENS = {
    "argmax_right": ("Right one is likeliest", "%"),
    "right_probability": ("Its probability", ".3f"),
    "log_ratio": ("Wrong one, log-ratio", "+.2f"),
    "elsewhere": ("Change elsewhere", ".3f"),
    "divergence": ("Divergence", ".3f"),
    "divergence_elsewhere": ("Divergence elsewhere", ".4f"),
}
_DELTAS = {
    "delta_wrong": "Wrong responses",
    "delta_right": "Right ones, placebo",
    "delta_gap": "Difference",
    "delta_gap_alike": "Of those that begin alike",
    "delta_first": "Wrong, first token",
    "delta_answer": "Wrong, answer",
    "delta_answer_right": "Right, answer, placebo",
}
COLUMNS = ["task", "model", "variant", "context", "rollouts", "rollouts_with_place", *MEASURES, "not_met"]


def preflight_table(files: Sequence[str | os.PathLike]) -> pd.DataFrame:
    """Return a row for each context of each pre-flight; `not_met` says which limits it breaks.

    Raises UserError for a file that does not hold a pre-flight.
    """
    rows = []
    for path in files:
        found = read_object(path, "run this pre-flight again")
        try:
            of = {name: found[name] for name in ("task", "model", "variant")}
            broken = [each for each in found["findings"] if not each["met"]]
            for row in found["rows"]:
                said = [each["said"].partition(": ")[2] for each in broken if each["context"] == row["context"]]
                rows.append({**of, **row, "not_met": "; ".join(said)})
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: key {error} is missing; run this pre-flight again") from None
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(MEASURES, float))


def preflight_views(table: pd.DataFrame) -> list[View]:
    """Return for each task and model a view of answers, one of tokens where first wrong ones are known, and one of what
    contexts do to wrong and right responses where right ones read them too.
    """
    views = []
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        of = f"{task}, {model}"
        lines = [_answers(row) for row in rows.to_dict("records") if row["context"] != CONTRAST]
        views.append(View(f"{of}: right answers", "Context", list(_ANSWERS.values()), lines))
        told = rows[rows["context"] == CONTRAST].to_dict("records")
        if told:
            views.append(
                View(f"{of}: can it tell methods apart", "", list(_CONTRAST.values()), list(map(_contrast, told)))
            )
        placed = rows[rows["argmax_right"].notna()]
        if len(placed):
            lines = [_tokens(row) for row in placed.to_dict("records")]
            titles = [title for title, _ in _TOKENS.values()]
            views.append(View(f"{of}: the first wrong token", "Context", titles, lines))
        compared = rows[rows["delta_gap"].notna()]
        if len(compared):
            lines = [
                Row(row["context"], [number_cell(row[name], "+.3f") for name in _DELTAS])
                for row in compared.to_dict("records")
            ]
            title = f"{of}: log-probs under a context minus the student's, nats a token"
            views.append(View(title, "Context", list(_DELTAS.values()), lines))
    return views


def _answers(row: dict) -> Row:
    if row["context"] == STUDENT:  # reads no context, so it stands in the student's column
        row = {**row, "student_accuracy": row["accuracy"], "accuracy": float("nan")}
    cells = {name: number_cell(100 * row[name], ".1f") for name in _ANSWERS}
    if not pd.isna(row["gap"]):
        interval = bounds(100 * row["gap_low"], 100 * row["gap_high"], "{:+.1f}")
        cells["gap"] = Cell(f"{100 * row['gap']:+.1f}", interval, order=row["gap"])
    return Row(row["context"], list(cells.values()), note=_note(row, row["rollouts"], "responses"))


def _contrast(row: dict) -> Row:
    cells = [number_cell(row[name], "+.2f" if name == "slip_evidence" else ".2f") for name in _CONTRAST]
    return Row(row["context"], cells, note=_note(row, row["rollouts"], "rollouts"))


def _tokens(row: dict) -> Row:
    cells = [
        number_cell(100 * row[name], ".1f") if form == "%" else number_cell(row[name], form)
        for name, (_, form) in _TOKENS.items()
    ]
    return Row(row["context"], cells, note=_note(row, row["rollouts_with_place"], "tokens"))


def _note(row: dict, count: int, what: str) -> str:
    """How many, of which variant's first step, and which limits are not met."""
    first_step = "" if row["variant"] == BASE else "all of a first step's "
    broken = "" if pd.isna(row["not_met"]) or not row["not_met"] else f"; limit not met: {row['not_met']}"
    return f"{first_step}{count:,} {what}{broken}"
