"""Finds faults in a run's metrics: updates that were not made, numbers that are not finite."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfdistill.reporting.read.runs import RunFiles, read_metrics
from selfdistill.runs.metrics import NONFINITE, SKIPPED


@dataclass(frozen=True)
class Health:
    """Counts over a run.

    Attributes:
        skipped: updates that were not made, of any reason.
        nonfinite: of these, updates whose gradient was not finite.
        undefined: steps with a metric that is no finite number: curves have gaps there.
    """

    skipped: int
    nonfinite: int
    undefined: int


def health(metrics: Sequence[Mapping[str, Any]]) -> Health:
    """Return the counts of a run with these metrics (`runs.read_metrics`)."""
    return Health(
        skipped=int(sum(record.get(SKIPPED) or 0 for record in metrics)),
        nonfinite=int(sum(record.get(NONFINITE) or 0 for record in metrics)),
        undefined=sum(any(value is None for name, value in record.items() if "/" in name) for record in metrics),
    )


def health_remarks(runs: Sequence[RunFiles]) -> list[str]:
    """Return a line for each run with an update that was not finite, or with a metric that is no finite number.

    Updates that are skipped because no token carries a loss are no fault; they are counted beside accuracy.
    Raises UserError for metrics that cannot be read.
    """
    remarks = []
    for run in runs:
        if run.metrics is None:
            continue
        total = health(read_metrics(run.metrics))
        counts = {
            "update was skipped as not finite|updates were skipped as not finite": total.nonfinite,
            "step has a metric that is no finite number|steps have a metric that is no finite number": total.undefined,
        }
        parts = [f"{n} {what.split('|')[n != 1]}" for what, n in counts.items() if n]
        if parts:
            remarks.append(f"{run.name}: {', '.join(parts)}")
    return remarks
