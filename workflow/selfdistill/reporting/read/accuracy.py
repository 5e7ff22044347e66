"""Reads the draws of runs by variant, with the benchmarks and averages of each task, for the tables.

Draws are read once (`gather_scores`) and kept as numbers (`write_scores`); tables and claims read these.

Task settings, `tasks`: task -> {metric: "mean@12" | "pass@1", benchmarks: {name: {distribution: "in" | "out",
counted: bool (default true), groups: "strict" | "loose" (where rows are scored in groups)}}}. Benchmarks that are not
counted have rows but enter no average.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import DrawMatrix, check_paired, read_matrix, stack_seeds
from selfdistill.evaluation.estimators import observations, score_variances, scores_by_seed
from selfdistill.evaluation.group_scores import grouped, of_groups
from selfdistill.files import atomic_path
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


_ARRAYS = ("correct", "n_tokens", "truncated")


@dataclass(frozen=True)
class Result:
    """Draws (S seeds x P problems x D draws) of one variant on one benchmark.

    scores: the metric of each seed and problem, [S, P]; variances: of each over other draws, [S, P], nan where unknown.
    """

    draws: DrawMatrix
    metric: str
    scores: np.ndarray
    variances: np.ndarray

    @property
    def clusters(self) -> np.ndarray | None:
        """Returns a number for each problem, equal for variants of one, [P]; None where each is its own."""
        names = self.draws.clusters
        return None if names is None else np.unique(names, return_inverse=True)[1]

    @property
    def together(self) -> np.ndarray | None:
        """Returns the same of problems that are read off the same draws; None where each has draws of its own."""
        return self.clusters if of_groups(self.draws) else None

    @property
    def observations(self) -> int:
        """Independent answers behind each score."""
        return observations(self.draws.correct.shape[2], self.metric)

    @property
    def answers(self) -> np.ndarray | None:
        """Right or wrong, [P], where there is one draw of one seed (pass@1) of problems that are each their own."""
        alone = self.clusters is None or len(np.unique(self.clusters)) == len(self.clusters)
        return self.draws.correct[0, :, 0] if alone and self.draws.correct.shape[::2] == (1, 1) else None


@dataclass(frozen=True)
class VariantScores:
    """The runs of one variant, over its seeds: benchmark -> result, benchmarks in the order of the task's settings."""

    task: str
    model: str
    variant: str
    results: Mapping[str, Result]

    @property
    def seeds(self) -> int:
        """Returns the number of seeds of its draws."""
        return next(iter(self.results.values())).draws.correct.shape[0]


def gather_scores(runs: Sequence[RunFiles], tasks: Tasks) -> list[VariantScores]:
    """Read all draws of the runs; variants in the order in which the runs first name them.

    Raises UserError: a run listed twice, runs of one model that began with unlike weights, a benchmark without a file,
    a file that does not fit the task's metric, seeds or variants of one task and model that were evaluated on different
    problems.
    """
    check_unique(runs)
    check_same_base(runs)
    seeds: dict[tuple[str, str, str], list[RunFiles]] = {}
    for run in runs:
        seeds.setdefault((run.task, run.model, run.variant), []).append(run)
    scores = [
        VariantScores(*cell, {b: _result(members, b, tasks[cell[0]]) for b in tasks[cell[0]]["benchmarks"]})
        for cell, members in seeds.items()
    ]
    for (task, model), members in by_block(scores).items():
        for benchmark in tasks[task]["benchmarks"]:
            check_paired({f"{task}/{model}/{s.variant}/{benchmark}": s.results[benchmark].draws for s in members})
    return scores


def write_scores(path: str | os.PathLike, scores: Sequence[VariantScores]) -> None:
    """Write what draws say of accuracy, length and truncation as parquet: a row for each variant and benchmark."""
    rows = [
        {
            "task": variant.task,
            "model": variant.model,
            "variant": variant.variant,
            "benchmark": benchmark,
            "problems": result.draws.problems,
            "shape": result.draws.correct.shape,
            "clusters": result.draws.clusters,
            **{name: getattr(result.draws, name).ravel() for name in _ARRAYS},
        }
        for variant in scores
        for benchmark, result in variant.results.items()
    ]
    if all(row["clusters"] is None for row in rows):
        rows = [{name: value for name, value in row.items() if name != "clusters"} for row in rows]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)


def read_scores(path: str | os.PathLike, tasks: Tasks) -> list[VariantScores]:
    """Returns what `write_scores` wrote, equal to the last digit. Raises UserError for a file that cannot be read."""
    try:
        table = pq.ParquetFile(path).read()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read as parquet ({error}); delete it, and it is made again") from None
    results: dict[tuple[str, str, str], dict[str, Result]] = {}
    for row in range(len(table)):
        task, model, variant, benchmark, problems, shape = (table[name][row].as_py() for name in table.column_names[:6])
        clusters = table["clusters"][row].as_py() if "clusters" in table.column_names else None
        arrays = {name: table[name][row].values.to_numpy(zero_copy_only=False).reshape(shape) for name in _ARRAYS}
        draws = DrawMatrix(tuple(problems), **arrays, clusters=clusters and tuple(clusters))
        results.setdefault((task, model, variant), {})[benchmark] = _scored(draws, tasks[task]["metric"])
    return [VariantScores(*cell, found) for cell, found in results.items()]


def by_block(scores: Sequence[VariantScores]) -> dict[tuple[str, str], list[VariantScores]]:
    """(task, model) -> its variants, all in the order given."""
    blocks: dict[tuple[str, str], list[VariantScores]] = {}
    for variant in scores:
        blocks.setdefault((variant.task, variant.model), []).append(variant)
    return blocks


def counted_benchmarks(settings: Mapping[str, Any], distributions: Collection[str] = ("in", "out")) -> list[str]:
    """Return the benchmarks of a task that averages are made of."""
    return [
        name
        for name, a in settings["benchmarks"].items()
        if a.get("counted", True) and a["distribution"] in distributions
    ]


def benchmark_rows(settings: Mapping[str, Any]) -> list[tuple[str, list[str], dict[str, Any]]]:
    """Return rows of one variant: name, the benchmarks that enter, distribution and whether it counts."""
    rows = [
        (name, [name], {"distribution": about["distribution"], "counted": about.get("counted", True)})
        for name, about in settings["benchmarks"].items()
    ]
    for name, _, distributions in AVERAGES:
        if members := counted_benchmarks(settings, distributions):
            distribution = "both" if len(distributions) > 1 else distributions[0]
            rows.append((name, members, {"distribution": distribution, "counted": True}))
    return rows


def _result(members: Sequence[RunFiles], benchmark: str, settings: Mapping[str, Any]) -> Result:
    matrices = {}
    for run in members:
        if benchmark not in run.draws:
            raise UserError(f"run {run.name} has no draws of benchmark {benchmark!r}; evaluate it on all benchmarks")
        path = str(run.draws[benchmark])
        matrices[path] = read_matrix(path)
        if rule := settings["benchmarks"][benchmark].get("groups"):
            matrices[path] = grouped(matrices[path], rule)
    draws = stack_seeds(matrices)
    try:
        return _scored(draws, settings["metric"])
    except ValueError as error:
        raise UserError(f"{next(iter(matrices))}: {error}; set the task's metric and draws to fit each other") from None


def _scored(draws: DrawMatrix, metric: str) -> Result:
    scores = scores_by_seed(draws.correct, metric)
    bare = Result(draws, metric, scores, np.full(scores.shape, np.nan))
    return replace(bare, variances=score_variances(draws.correct, metric, bare.together))
