"""Judges a pre-flight: its measures beside their limits, as its rule writes them and training requires them."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import write_json
from selfdistill.json_files import read_object

_WORDS = {"least": "at least", "most": "at most"}


@dataclass(frozen=True)
class Finding:
    """A measure beside one of its limits.

    Attributes:
        context, measure: which.
        bound: "least" or "most".
        limit: what it must not be below, or above.
        found: what it is; None where it could not be measured, which meets no limit.
    """

    context: str
    measure: str
    bound: str
    limit: float
    found: float | None

    @property
    def met(self) -> bool:
        """Returns whether the measure keeps to the limit."""
        if self.found is None:
            return False
        return self.found >= self.limit if self.bound == "least" else self.found <= self.limit

    @property
    def said(self) -> str:
        """Returns the finding in words."""
        found = "not measured" if self.found is None else f"{self.found:.3f}"
        return f"{self.context}: {self.measure} is {found}, expected {_WORDS[self.bound]} {self.limit:g}"


def judge(rows: Sequence[Mapping[str, Any]], limits: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Finding]:
    """Return every limit with what was found.

    Args:
        rows: of `run_preflight`.
        limits: context -> measure -> bound -> limit.
    """
    by_context = {row["context"]: row for row in rows}
    return [
        Finding(context, measure, bound, float(limit), by_context[context].get(measure))
        for context, measures in limits.items()
        for measure, bounds in measures.items()
        for bound, limit in bounds.items()
    ]


def write_preflight(
    path: str | os.PathLike, of: Mapping[str, str], rows: Sequence[Mapping[str, Any]], findings: Sequence[Finding]
) -> None:
    """Write a pre-flight as JSON: whose it is, its rows, its findings, and whether all limits are met.

    Args:
        path: of the file.
        of: task, model and variant.
        rows: of `run_preflight`.
        findings: of `judge`.
    """
    found = [{**asdict(each), "met": each.met, "said": each.said} for each in findings]
    passed = all(each.met for each in findings)
    write_json(Path(path), {**of, "rows": list(rows), "findings": found, "passed": passed})


def check_verdict(path: str | os.PathLike, *, refuse: bool, report: Callable[[str], None]) -> None:
    """Report a verdict, and raise UserError where a limit is not met and `refuse` is set."""
    findings = read_object(path, "run this pre-flight again")["findings"]
    broken = [each["said"] for each in findings if not each["met"]]
    if not broken:
        report(f"pre-flight: all {len(findings)} limits are met ({path})")
        return
    told = f"{path}: the base model's teacher fails {len(broken)} of {len(findings)} limits: {'; '.join(broken)}"
    if refuse:
        raise UserError(
            f"{told}; take another base model or other contexts, or set the task's preflight.refuse: false to train "
            "all the same"
        )
    report(f"warning: {told}; training goes on, as the task's preflight.refuse says")
