"""What tables are made of: the draws of runs, variant by variant, and the benchmarks and averages that a task has.

Task settings, `tasks`: task -> {metric: "mean@12" | "pass@1", benchmarks: {name: {distribution: "in" | "out",
counted: bool (default true)}}}. Benchmarks that are not counted have rows but enter no average.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import DrawMatrix, check_paired, read_matrix, stack_seeds
from selfdistill.evaluation.estimators import score_variances, scores_by_seed
from selfdistill.reporting.read.provenance import check_same_base
from selfdistill.reporting.read.runs import RunFiles, check_unique
from selfdistill.study.matrix import BASE

Tasks = Mapping[str, Mapping[str, Any]]

#: Methods that every other variant is compared with.
REFERENCES = (BASE, "grpo")

#: Rows that are macro means of benchmarks: name, title, distributions that enter.
AVERAGES = (
    ("average", "Average", ("in", "out")),
    ("average_in", "Average in", ("in",)),
    ("average_out", "Average out", ("out",)),
)


@dataclass(frozen=True)
class Result:
    """Draws (S seeds x P problems x D draws) of one variant on one benchmark.

    scores: the metric of each seed and problem, [S, P]; variances: of each over other draws, [S, P], nan where unknown.
    """

    draws: DrawMatrix
    scores: np.ndarray
    variances: np.ndarray

    @property
    def answers(self) -> np.ndarray | None:
        """Right or wrong, [P], where there is one draw of one seed (pass@1); else None."""
        return self.draws.correct[0, :, 0] if self.draws.correct.shape[::2] == (1, 1) else None


@dataclass(frozen=True)
class Group:
    """The runs of one variant, over its seeds: benchmark -> result, benchmarks in the order of the task's settings."""

    task: str
    model: str
    variant: str
    results: Mapping[str, Result]


def read_groups(runs: Sequence[RunFiles], tasks: Tasks) -> list[Group]:
    """Read all draws of the runs; groups in the order in which the runs first name them.

    Raises UserError: a run listed twice, runs of one model that began with unlike weights, a benchmark without a file,
    a file that does not fit the task's metric, seeds or variants of one task and model that were evaluated on different
    problems.
    """
    check_unique(runs)
    check_same_base(runs)
    seeds: dict[tuple[str, str, str], list[RunFiles]] = {}
    for run in runs:
        seeds.setdefault((run.task, run.model, run.variant), []).append(run)
    groups = [
        Group(task, model, variant, {b: _result(members, b, tasks[task]["metric"]) for b in tasks[task]["benchmarks"]})
        for (task, model, variant), members in seeds.items()
    ]
    for (task, model), members in by_block(groups).items():
        for benchmark in tasks[task]["benchmarks"]:
            check_paired({f"{task}/{model}/{g.variant}/{benchmark}": g.results[benchmark].draws for g in members})
    return groups


def by_block(groups: Sequence[Group]) -> dict[tuple[str, str], list[Group]]:
    """(task, model) -> its groups, all in the order given."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        found.setdefault((group.task, group.model), []).append(group)
    return found


def benchmark_rows(settings: Mapping[str, Any]) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Rows of one variant: name, the benchmarks that enter, distribution and whether it counts."""
    about = {
        name: {"distribution": benchmark["distribution"], "counted": benchmark.get("counted", True)}
        for name, benchmark in settings["benchmarks"].items()
    }
    rows = [(name, [name], about[name]) for name in about]
    for name, _, distributions in AVERAGES:
        members = [b for b, a in about.items() if a["counted"] and a["distribution"] in distributions]
        if members:
            distribution = "both" if len(distributions) > 1 else distributions[0]
            rows.append((name, members, {"distribution": distribution, "counted": True}))
    return rows


def _result(members: Sequence[RunFiles], benchmark: str, metric: str) -> Result:
    matrices = {}
    for run in members:
        if benchmark not in run.draws:
            raise UserError(f"run {run.name} has no draws of benchmark {benchmark!r}; evaluate it on all benchmarks")
        path = str(run.draws[benchmark])
        matrices[path] = read_matrix(path)
    draws = stack_seeds(matrices)
    try:
        return Result(draws, scores_by_seed(draws.correct, metric), score_variances(draws.correct, metric))
    except ValueError as error:
        raise UserError(f"{next(iter(matrices))}: {error}; set the task's metric and draws to fit each other") from None
