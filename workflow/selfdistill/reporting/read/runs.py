"""The files of a run, as tables, figures and pages take them. Callers list the runs; nothing here searches the disk."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError


@dataclass(frozen=True)
class RunFiles:
    """One run (task x model x variant x seed), the method of its variant, and where its files are.

    draws: benchmark -> parquet of draws. metrics, config (the resolved one, YAML), provenance and account (JSON, of the
    training and of the evaluation) and records (of what a teacher said, parquet) are None where there is none: a base
    model has no training and so no metrics.
    """

    task: str
    model: str
    variant: str
    seed: int
    method: str
    draws: Mapping[str, Path]
    metrics: Path | None = None
    config: Path | None = None
    provenance: Path | None = None
    account: Path | None = None
    records: Path | None = None

    @property
    def name(self) -> str:
        """The run's path under results/runs."""
        return f"{self.task}/{self.model}/{self.variant}/seed{self.seed}"


def check_unique(runs: Sequence[RunFiles]) -> None:
    """Raise UserError if two runs have one name."""
    seen = set()
    for run in runs:
        if run.name in seen:
            raise UserError(f"run {run.name} is listed twice; task, model, variant and seed name one run: rename one")
        seen.add(run.name)


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The steps of a metrics.jsonl, in order.

    Raises UserError with file and line number: a line that is no JSON object, has no whole number `step`, or whose step
    is not the one after the line before (one that is there twice, or is missing). The first is 0 or 1.
    """
    steps: list[dict[str, Any]] = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read the metrics ({error.strerror}); train this run again") from None
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}, line {number}: not JSON ({error.msg}); expected one object a step") from None
        step = record.get("step") if isinstance(record, dict) else None
        if type(step) is not int or step < 0:
            raise UserError(f"{path}, line {number}: expected a JSON object with a whole number 'step' of 0 or more")
        last = steps[-1]["step"] if steps else -1
        if step != last + 1 and not (last == -1 and step == 1):
            found = f"step {step} comes after step {last}" if steps else f"the first step is {step}"
            why = "lines are missing" if step > last else "was it written by two trainers at a time?"
            raise UserError(
                f"{path}, line {number}: {found}; expected every step once, in rising order, from 0 or 1 on ({why}): "
                "train this run again, or take its file anew"
            )
        steps.append(record)
    if not steps:
        raise UserError(f"{path}: no steps; expected one JSON object a step")
    return steps


def series(metrics: Sequence[Mapping[str, Any]], key: str) -> dict[int, float]:
    """Step -> value of one metric, where it was logged as a finite number."""
    return {
        record["step"]: float(value)
        for record in metrics
        if isinstance(value := record.get(key), (int, float)) and math.isfinite(value)
    }
