"""What the paper says of its curves: single points of them, resources/published/landmarks.csv."""

import csv
import functools
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.reporting.read.published import FOLDER

FILE = FOLDER / "landmarks.csv"

_COLUMNS = ("claim", "model", "task", "method", "metric", "step", "value", "note")


def landmarks(model: str, task: str) -> list[dict[str, Any]]:
    """The published points of one model and task, in the order of the file; empty for any that the paper does not have.

    Each is a dict of `claim` ("C4"), `model`, `task`, `method` (a variant of ours), `metric` (a key of metrics.jsonl),
    `step` (int; None where it is not said), `value` (in the metric's unit) and `note` (what kind of point it is).
    Points of which the paper does not say the model, those of C11, belong to no figure of one.
    """
    return [dict(point) for point in _points(FILE) if (point["model"], point["task"]) == (model, task)]


@functools.cache
def _points(path: Path) -> tuple[dict[str, Any], ...]:
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except OSError as error:
        raise UserError(f"{path}: cannot read the published landmarks ({error.strerror}); restore the file") from None
    if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise UserError(f"{path}: expected the columns {', '.join(_COLUMNS)}; restore the file")
    return tuple(_point(row, f"{path}, line {number}") for number, row in enumerate(rows, start=2))


def _point(row: dict[str, str], where: str) -> dict[str, Any]:
    try:
        return {**row, "step": int(row["step"]) if row["step"] else None, "value": float(row["value"])}
    except (TypeError, ValueError):
        raise UserError(f"{where}: step must be a whole number or empty, value a number; correct this row") from None
