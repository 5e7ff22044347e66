"""Opens the files of a run for tables, figures and pages. Callers list the runs; nothing here searches the disk."""

import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.json_files import parsed

_LARGEST = sys.float_info.max


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
        """Returns the run's path under results/runs."""
        return f"{self.task}/{self.model}/{self.variant}/seed{self.seed}"


@dataclass(frozen=True)
class MissingRun:
    """A run that was asked for and has no results.

    Attributes:
        task, model, variant, seed, method: which run it is.
        status: "not run", "not finished" or "failed".
        why: in a line; empty where it is not known.
    """

    task: str
    model: str
    variant: str
    seed: int
    method: str
    status: str
    why: str = ""

    @property
    def cell(self) -> tuple[str, str]:
        """Returns its task and model."""
        return self.task, self.model

    @property
    def told(self) -> str:
        """Returns its status, with the reason where one is known."""
        return f"{self.status}: {self.why}" if self.why else self.status


def check_unique(runs: Sequence[RunFiles]) -> None:
    """Raise UserError if two runs have one name."""
    seen = set()
    for run in runs:
        if run.name in seen:
            raise UserError(f"run {run.name} is listed twice; task, model, variant and seed name one run: rename one")
        seen.add(run.name)


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Return the steps of a metrics.jsonl, in order; a metric that is no finite number (null, NaN, infinity) is None.

    Raises UserError with file and line number: a line that is no JSON object, has no whole number `step`, whose step is
    not the one after the line before (one that is there twice, or is missing; the first is 0 or 1), or with a metric (a
    name with a "/") that is something else than a number.
    """
    steps: list[dict[str, Any]] = []
    try:
        # Not splitlines: it ends lines inside of JSON's texts too, at U+2028 for example.
        lines = Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    except OSError as error:
        raise UserError(f"{path}: cannot read the metrics ({error.strerror}); train this run again") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot read the metrics ({error}); train this run again") from None
    if lines == [""]:
        raise UserError(f"{path}: no steps; expected one JSON object a step")
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        record = parsed(line, where, "expected one object a step")
        step = record.get("step") if isinstance(record, dict) else None
        if type(step) is not int or step < 0:
            raise UserError(f"{where}: expected a JSON object with a whole number 'step' of 0 or more")
        last = steps[-1]["step"] if steps else -1
        if step != last + 1 and not (last == -1 and step == 1):
            found = f"step {step} comes after step {last}" if steps else f"the first step is {step}"
            why = "lines are missing" if step > last else "was it written by two trainers at a time?"
            raise UserError(
                f"{where}: {found}; expected every step once, in rising order, from 0 or 1 on ({why}): train this run "
                "again, or take its file anew"
            )
        steps.append({name: _metric(name, value, where) if "/" in name else value for name, value in record.items()})
    return steps


def series(metrics: Sequence[Mapping[str, Any]], key: str) -> dict[int, float]:
    """Step -> value of one metric, where it was logged as a finite number."""
    found = {record["step"]: number(record.get(key)) for record in metrics}
    return {step: value for step, value in found.items() if value is not None}


def number(value: Any) -> float | None:
    """Return a metric's value where it is a finite number, else None."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _metric(name: str, value: Any, where: str) -> float | None:
    if value is None or (type(value) in (int, float) and -_LARGEST <= value <= _LARGEST):
        return value
    if type(value) in (int, float):  # 1e999 is read as infinity
        return None
    raise UserError(f"{where}: {name} is {value!r}, expected a number (null where it is none)")
