"""Reads the published numbers of the TC-RLSD note, by this project's names of tasks and variants.

Accuracies are of one draw a problem; the note says neither of which problems nor how many. Those that its data point to
(docs/critiques.md): MATH-500 for the runs on gsm8k_level1, MATH's test of 5,000 for those on MATH.
"""

from dataclasses import dataclass

from selfdistill.reporting.read.published import FOLDER, read_published

FILE = FOLDER / "tc_rlsd.csv"
#: Task -> problems of the set that the note's accuracies are of, as inferred.
PROBLEMS = {"gsm8k_level1": 500, "math_lighteval": 5000}
#: What every row is compared with.
CONTROL = "grpo"


@dataclass(frozen=True)
class PublishedRun:
    """A row of the note.

    Attributes:
        task, variant: by our names.
        peak, final: percent of problems.
        delta_gap: mean log-ratio, in nats, as the note has it; None where it is not said.
        coverage: share of rollouts with a critique, lowest and highest; None where it is not said.
    """

    task: str
    variant: str
    peak: float
    final: float
    delta_gap: float | None
    coverage: tuple[float, float] | None


def published_critiques() -> list[PublishedRun]:
    """Return all rows. Raises UserError for a file that was edited wrongly."""
    columns = ("task", "variant", "peak_percent", "final_percent", "delta_gap", "coverage_low", "coverage_high")
    found = []
    for row in read_published(FILE, *columns):
        gap, low, high = (float(row[name]) if row[name] else None for name in columns[4:])
        coverage = None if low is None or high is None else (low, high)
        peak, final = float(row["peak_percent"]), float(row["final_percent"])
        found.append(PublishedRun(row["task"], row["variant"], peak, final, gap, coverage))
    return found


def published_critique(task: str, variant: str) -> PublishedRun | None:
    """Return the row of a task and variant, None where the note has none."""
    return next((row for row in published_critiques() if (row.task, row.variant) == (task, variant)), None)
