"""Computes tables of diagnoses: how far a teacher is from the untrained student, and on which tokens (docs/opd.md)."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.table import Row, View
from selfdistill.reporting.tokens.classes import NAMES, PARTITIONS
from selfdistill.reporting.tokens.tables import written
from selfdistill.runs.records import DIAGNOSIS

#: Length of the published lists.
LISTED = 15
_CELL = ["task", "model", "teacher"]
_SHARES = [f"{name}_share_{partition}" for partition in PARTITIONS for name in ("style", "task")]
COLUMNS = [
    *_CELL,
    *("rollouts", "tokens", "accuracy", "kl_mean", "kl_first_share", "overlap", "student_mass", "teacher_mass"),
    *_SHARES,
]
CLASS_COLUMNS = [*_CELL, "partition", "token_class", "tokens", "kl_mean", "kl_sum", "kl_share"]
TOKEN_COLUMNS = [*_CELL, "rank", "token", *(f"class_{name}" for name in PARTITIONS), "count", "kl_mean"]
_READ = ("prompt", "correct", "tokens", "divergences", "overlap", "student_mass", "teacher_mass")


@dataclass(frozen=True)
class Found:
    """Holds what a diagnosis found, token by token.

    Attributes:
        task, model, teacher: which it is.
        rollouts: how many.
        accuracy: share of them that are right.
        tokens: one row a token: token, kl (nats), first (whether it begins its rollout), overlap, student_mass,
            teacher_mass.
    """

    task: str
    model: str
    teacher: str
    rollouts: int
    accuracy: float
    tokens: pd.DataFrame

    @property
    def cell(self) -> dict[str, str]:
        """Returns which it is, as columns."""
        return {"task": self.task, "model": self.model, "teacher": self.teacher}


def read_diagnosis(path: str | os.PathLike, task: str, model: str, teacher: str) -> Found:
    """Read a file of `training.diagnosis`. Raises UserError for one that cannot be read."""
    try:
        table = pq.read_table(path, columns=list(_READ)).cast(pa.schema([DIAGNOSIS.field(name) for name in _READ]))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise UserError(
            f"{path}: cannot be read as a diagnosis ({error}); expected parquet with the columns {', '.join(_READ)}: "
            "delete it, and it is made again"
        ) from None
    lengths = np.asarray(table["tokens"].combine_chunks().value_lengths())
    begins = np.cumsum(lengths) - lengths
    flat = {name: table[name].combine_chunks().flatten() for name in ("tokens", *_READ[3:])}
    if len({len(column) for column in flat.values()}) > 1:
        raise UserError(f"{Path(path)}: its columns are not as long as 'tokens'; delete it, and it is made again")
    tokens = pd.DataFrame({"token": flat["tokens"].to_pylist(), "kl": np.asarray(flat["divergences"], dtype=float)})
    for name in ("overlap", "student_mass", "teacher_mass"):
        tokens[name] = np.asarray(flat[name], dtype=float)
    tokens["first"] = np.isin(np.arange(len(tokens)), begins[lengths > 0])
    accuracy = float(np.mean(np.asarray(table["correct"]))) if len(table) else float("nan")
    return Found(task, model, teacher, len(table), accuracy, tokens)


def diagnosis_table(found: Sequence[Found]) -> pd.DataFrame:
    """Return a row for each: COLUMNS.

    accuracy: of the student's rollouts, percent. kl_mean: KL(student, teacher), nats a token. kl_first_share: share of
    its sum that is at the first tokens. overlap: share of the likely ids of one that are the other's too; student_mass
    and teacher_mass: what each gives to the ids in both sets. <class>_share_<partition>: share of the sum on a class of
    tokens.
    """
    rows = []
    for each in found:
        tokens, total = each.tokens, each.tokens["kl"].sum()
        row = {
            **each.cell,
            "rollouts": each.rollouts,
            "tokens": len(tokens),
            "accuracy": 100 * each.accuracy,
            "kl_mean": tokens["kl"].mean(),
            "kl_first_share": tokens.loc[tokens["first"], "kl"].sum() / total if total else np.nan,
            **{name: tokens[name].mean() for name in ("overlap", "student_mass", "teacher_mass")},
        }
        classes = diagnosis_classes([each]).set_index(["partition", "token_class"])["kl_share"]
        for partition in PARTITIONS:
            row |= {f"{name}_share_{partition}": classes[partition, name] for name in ("style", "task")}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def diagnosis_classes(found: Sequence[Found]) -> pd.DataFrame:
    """Return a row for each diagnosis, partition and class: CLASS_COLUMNS; kl_mean is over the class's tokens, nats."""
    rows = []
    for each in found:
        total = each.tokens["kl"].sum()
        for partition, of_text in PARTITIONS.items():
            grouped = each.tokens["kl"].groupby(each.tokens["token"].map(of_text))
            counts, sums = grouped.size(), grouped.sum()
            for name in NAMES[partition]:
                count, whole = int(counts.get(name, 0)), float(sums.get(name, 0.0))
                row = {**each.cell, "partition": partition, "token_class": name, "tokens": count}
                row |= {"kl_mean": whole / count if count else np.nan, "kl_sum": whole}
                rows.append(row | {"kl_share": whole / total if total else np.nan})
    return pd.DataFrame(rows, columns=CLASS_COLUMNS)


def diagnosis_tokens(found: Sequence[Found], least_count: int, listed: int = LISTED) -> pd.DataFrame:
    """The types of tokens with the largest mean divergence of each diagnosis: TOKEN_COLUMNS, the first being rank 1.

    Args:
        found: diagnoses.
        least_count: a type that occurs less often is left out.
        listed: types of each, at most.

    Returns:
        Tokens are written as in JSON, without the quotes. Ties go to the more frequent one.
    """
    rows = []
    for each in found:
        grouped = each.tokens["kl"].groupby(each.tokens["token"])
        types = pd.DataFrame({"count": grouped.size(), "kl_mean": grouped.mean()}).reset_index()
        types = types[types["count"] >= least_count]
        ranked = types.sort_values(["kl_mean", "count", "token"], ascending=[False, False, True]).head(listed)
        for rank, line in enumerate(ranked.itertuples(), start=1):
            classes = {f"class_{name}": of_text(line.token) for name, of_text in PARTITIONS.items()}
            row = {**each.cell, "rank": rank, "token": written(line.token), **classes}
            rows.append(row | {"count": line.count, "kl_mean": line.kl_mean})
    return pd.DataFrame(rows, columns=TOKEN_COLUMNS)


_TITLES = {
    "accuracy": ("Student, %", ".1f"),
    "kl_mean": ("KL, nats a token", ".3f"),
    "kl_first_share": ("At the first token", ".2f"),
    "overlap": ("Overlap", ".2f"),
    "student_mass": ("Student's mass there", ".3f"),
    "teacher_mass": ("Teacher's", ".3f"),
    "style_share_paper": ("Style (paper)", ".2f"),
    "task_share_paper": ("Task (paper)", ".2f"),
    "style_share_ours": ("Style (ours)", ".2f"),
    "task_share_ours": ("Task (ours)", ".2f"),
}


def diagnosis_views(table: pd.DataFrame) -> list[View]:
    """Return one view of each task and model: its teachers."""
    views = []
    for (task, model), rows in table.groupby(["task", "model"], sort=False):
        lines = [
            Row(each["teacher"], [number_cell(each[name], style) for name, (_, style) in _TITLES.items()])
            for each in rows.to_dict("records")
        ]
        views.append(View(f"{task}, {model}", "Teacher", [title for title, _ in _TITLES.values()], lines))
    return views
