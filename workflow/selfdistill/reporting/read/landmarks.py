"""Reads the points of its curves that the paper names in words (resources/published/landmarks.csv)."""

from typing import Any

from selfdistill.reporting.read.published import FIRST, FOLDER, read_published

FILE = FOLDER / "landmarks.csv"

_COLUMNS = ("version", "claim", "model", "task", "method", "metric", "step", "value", "note")


def landmarks(model: str, task: str, version: str = FIRST) -> list[dict[str, Any]]:
    """The published points of one model and task, in the order of the file; empty for any that the paper does not have.

    version: of the paper. Each point is a dict of `version`, `claim` ("C4"), `model`, `task`, `method` (a variant of
    ours), `metric` (a key of metrics.jsonl), `step` (int; None where it is not said), `value` (in the metric's unit)
    and `note` (what kind of point it is). Points of which the paper does not say the model, those of C11, belong to no
    figure of one.
    """
    return [
        {**row, "step": int(row["step"]) if row["step"] else None, "value": float(row["value"])}
        for row in read_published(FILE, *_COLUMNS)
        if (row["model"], row["task"], row["version"]) == (model, task, version)
    ]
