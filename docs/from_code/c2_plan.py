"""The smallest real study that could settle C2 on Qwen3-1.7B: GPU-hours and power, from plan and power module alone."""

import math

from from_code.passages import ROOT
from selfdistill.evaluation.power import BETWEEN, Design, Variances, detectable
from selfdistill.planning.decidable import USUAL
from selfdistill.planning.estimates import benchmark_sizes, evaluation, training
from selfdistill.reporting.archive import study_of
from selfdistill.reporting.read.published import VERSIONS, published_rows
from selfdistill.study.study import Study

_MODEL = "qwen3_1_7b"
_SEEDS = (2, 3, 5, 8, 12, 20)
#: Of a run around its method, in points: half of what is assumed elsewhere, that, and twice.
_SPREADS = (0.5, 1.0, 2.0)


def c2_plan() -> str:
    """Returns, for each task and number of seeds, hours and the least difference of rlcsd and grpo that 80 % see."""
    study = study_of([str(ROOT / "config" / "paper.yaml")])
    lines = [
        "| Task | rlcsd minus grpo, published | Seeds of each | GPU-hours (H20) | Seen at SD 0.5, 1, 2 points |",
        "|---|---|---|---|---|",
    ]
    for task in ("math", "logic"):
        gap, of_pair = _published_gap(task), _hours(study, task)
        for seeds in _SEEDS:
            seen = [_seen(study, task, seeds, spread) for spread in _SPREADS]
            cells = ", ".join(f"**{each:.1f}**" if each <= abs(gap) else f"{each:.1f}" for each in seen)
            lines.append(f"| {task} | {gap:+.1f} | {seeds} | {seeds * of_pair:,.0f} | {cells} |")
    return "\n".join(lines)


def _hours(study: Study, task: str) -> float:
    """Of a seed of grpo and one of rlcsd, with both evaluations."""
    trained = sum(training(study, task, _MODEL, variant).gpu_hours for variant in ("grpo", "rlcsd"))
    return trained + 2 * evaluation(study, task, _MODEL).gpu_hours


def _published_gap(task: str) -> float:
    """In points, of the latest version that has both averages."""
    for version in reversed(VERSIONS):
        found = [_average(task, variant, version) for variant in ("rlcsd", "grpo")]
        if not any(math.isnan(each) for each in found):
            return found[0] - found[1]
    raise LookupError(f"no published averages of {task}, {_MODEL}")


def _average(task: str, variant: str, version: str) -> float:
    cells = [
        cell.value
        for cell in published_rows(_MODEL, variant, version)
        if (cell.task, cell.benchmark) == (task, "average")
    ]
    return cells[0] if cells else math.nan


def _seen(study: Study, task: str, seeds: int, spread: float) -> float:
    """The least difference, in points, on these problems, with 80 % and at 5 %."""
    own = study.config["tasks"][task]
    counted = [name for name, about in study.benchmarks(task).items() if about["counted"] and name in own["benchmarks"]]
    sizes = benchmark_sizes(study, task, counted)
    none, draw = (0.0,) * len(sizes), 2 * (1 - BETWEEN) * USUAL * (1 - USUAL)
    variances = Variances(none, none, (draw,) * len(sizes), 2 * (spread / 100) ** 2)
    return 100 * detectable(variances, Design(tuple(sizes), own["draws"], seeds), problems="fixed")
