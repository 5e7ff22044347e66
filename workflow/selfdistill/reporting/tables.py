"""Tables from draws: main.csv, gains.csv, and both as Markdown shaped like the paper's tables.

Task settings, `tasks`: task -> {metric: "mean@12" | "pass@1", benchmarks: {name: {distribution: "in" | "out",
counted: bool (default true)}}}. Benchmarks that are not counted have rows but enter no average.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import DrawMatrix, check_paired, read_draws, stack_seeds, to_matrix
from selfdistill.evaluation.estimators import Estimate, interval, paired_difference, score_by_problem
from selfdistill.files import write_text
from selfdistill.reporting.runs import RunFiles, check_unique

Tasks = Mapping[str, Mapping[str, Any]]

#: Methods that every other variant is compared with.
REFERENCES = ("base", "grpo")

#: Rows that are macro means of benchmarks: name, title, distributions that enter.
AVERAGES = (
    ("average", "Average", ("in", "out")),
    ("average_in", "Average in", ("in",)),
    ("average_out", "Average out", ("out",)),
)


@dataclass(frozen=True)
class Result:
    """Draws (S seeds x P problems x D draws) of one variant on one benchmark, and the metric of each problem, [P]."""

    draws: DrawMatrix
    scores: np.ndarray


@dataclass(frozen=True)
class Group:
    """The runs of one variant, over its seeds: benchmark -> result, benchmarks in the order of the task's settings."""

    task: str
    model: str
    variant: str
    results: Mapping[str, Result]


@dataclass(frozen=True)
class Block:
    """A table as in the paper: one task and model, a row for each variant, a column for each benchmark.

    reference: what the variants are compared with, in gains; columns: benchmark -> title; rows: variant -> benchmark ->
    row of the long table.
    """

    task: str
    model: str
    metric: str
    reference: str | None
    columns: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]]


def read_groups(runs: Sequence[RunFiles], tasks: Tasks) -> list[Group]:
    """Read all draws of the runs; groups in the order in which the runs first name them.

    Raises UserError: a run listed twice, a benchmark without a file, a file that does not fit the task's metric, seeds
    or variants of one task and model that were evaluated on different problems.
    """
    check_unique(runs)
    seeds: dict[tuple[str, str, str], list[RunFiles]] = {}
    for run in runs:
        seeds.setdefault((run.task, run.model, run.variant), []).append(run)
    groups = [
        Group(task, model, variant, {b: _result(members, b, tasks[task]["metric"]) for b in tasks[task]["benchmarks"]})
        for (task, model, variant), members in seeds.items()
    ]
    for (task, model), members in _by_block(groups).items():
        for benchmark in tasks[task]["benchmarks"]:
            check_paired({f"{task}/{model}/{g.variant}/{benchmark}": g.results[benchmark].draws for g in members})
    return groups


def main_table(groups: Sequence[Group], tasks: Tasks) -> pd.DataFrame:
    """The long table of main.csv: a row for each variant and benchmark, then its averages.

    value, low, high in percent (95 % interval by problem); n_problems, n_draws a problem and seed, n_seeds (in an
    average: problems of all its benchmarks, and the fewest draws); distribution ("in", "out", "both"); counted;
    response_length in tokens and truncated in percent, means over all draws (in an average: of its benchmarks' means).
    """
    rows = []
    for group in groups:
        for benchmark, members, about in _rows(tasks[group.task]):
            results = [group.results[m] for m in members]
            rows.append(
                {
                    "task": group.task,
                    "model": group.model,
                    "variant": group.variant,
                    "benchmark": benchmark,
                    "metric": tasks[group.task]["metric"],
                    **_percent(interval([r.scores for r in results])),
                    **_sizes(results),
                    **about,
                    "response_length": _rounded(np.mean([r.draws.n_tokens.mean() for r in results])),
                    "truncated": _rounded(100 * np.mean([r.draws.truncated.mean() for r in results])),
                }
            )
    return pd.DataFrame(rows)


def gains_table(groups: Sequence[Group], tasks: Tasks) -> pd.DataFrame:
    """The long table of gains.csv: each variant minus each reference (base, grpo), paired on the same problems.

    value, low, high in percentage points; the other columns as in `main_table`, n_seeds being those of the variant.
    References that were not run have no rows.
    """
    rows = []
    for members in _by_block(groups).values():
        by_variant = {group.variant: group for group in members}
        for group in members:
            for reference in REFERENCES:
                if reference in by_variant and group.variant not in ("base", reference):
                    rows += _gain_rows(group, by_variant[reference], tasks[group.task])
    columns = ["task", "model", "variant", "reference", "benchmark", "metric", "value", "low", "high"]
    columns += ["n_problems", "n_draws", "n_seeds", "distribution", "counted"]
    return pd.DataFrame(rows, columns=columns)


def write_csv(path: str | os.PathLike, table: pd.DataFrame) -> None:
    """Write a long table; equal draws give equal bytes."""
    write_text(path, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


def blocks(table: pd.DataFrame) -> list[Block]:
    """A main or gains table, cut into the paper's shape: a block for each task, model and, in gains, reference."""
    made = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        records = part.to_dict("records")
        for reference in dict.fromkeys(row.get("reference") for row in records):
            columns, rows = {}, {}
            for row in records:
                if row.get("reference") == reference:
                    columns[row["benchmark"]] = column_title(row)
                    rows.setdefault(row["variant"], {})[row["benchmark"]] = row
            made.append(Block(task, model, part["metric"].iloc[0], reference, columns, rows))
    return made


def column_title(row: Mapping[str, Any]) -> str:
    """A benchmark's heading; says what lies out of distribution and what no average counts."""
    for name, title, _ in AVERAGES:
        if row["benchmark"] == name:
            return title
    if not row["counted"]:
        return f"{row['benchmark']} (not counted)"
    return f"{row['benchmark']} (out)" if row["distribution"] == "out" else row["benchmark"]


def main_markdown(table: pd.DataFrame) -> str:
    """The main table as Markdown, one block for each task and model, `value [low, high]` in percent."""
    return _markdown(table, "percent, 95 % interval by problem", _cell)


def gains_markdown(table: pd.DataFrame) -> str:
    """The gains as Markdown, one block for each task and model, `+value [low, high]` in percentage points."""
    return _markdown(table, "paired difference in percentage points, 95 % interval by problem", _signed_cell)


def _markdown(table: pd.DataFrame, unit: str, cell: Callable[[Mapping[str, Any]], str]) -> str:
    parts = []
    for block in blocks(table):
        what = block.metric if block.reference is None else f"{block.metric} minus that of {block.reference}"
        lines = [f"### {block.task}, {block.model}: {what} ({unit})", ""]
        lines.append(f"| | {' | '.join(block.columns.values())} |")
        lines.append("|---" + "|---:" * len(block.columns) + "|")
        lines += [
            f"| {label} | {' | '.join(cell(row[benchmark]) for benchmark in block.columns)} |"
            for label, row in block.rows.items()
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _cell(row: Mapping[str, Any]) -> str:
    return f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def _signed_cell(row: Mapping[str, Any]) -> str:
    return f"{row['value']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"


def _result(members: Sequence[RunFiles], benchmark: str, metric: str) -> Result:
    matrices = {}
    for run in members:
        if benchmark not in run.draws:
            raise UserError(f"run {run.name} has no draws of benchmark {benchmark!r}; evaluate it on all benchmarks")
        path = str(run.draws[benchmark])
        matrices[path] = to_matrix(read_draws(path))
    draws = stack_seeds(matrices)
    try:
        return Result(draws, score_by_problem(draws.correct, metric))
    except ValueError as error:
        raise UserError(f"{next(iter(matrices))}: {error}; set the task's metric and draws to fit each other") from None


def _by_block(groups: Sequence[Group]) -> dict[tuple[str, str], list[Group]]:
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        found.setdefault((group.task, group.model), []).append(group)
    return found


def _rows(settings: Mapping[str, Any]) -> list[tuple[str, list[str], dict[str, Any]]]:
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


def _gain_rows(group: Group, reference: Group, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for benchmark, members, about in _rows(settings):
        ours = [group.results[m] for m in members]
        theirs = [reference.results[m] for m in members]
        difference = paired_difference([r.scores for r in ours], [r.scores for r in theirs])
        rows.append(
            {
                "task": group.task,
                "model": group.model,
                "variant": group.variant,
                "reference": reference.variant,
                "benchmark": benchmark,
                "metric": settings["metric"],
                **_percent(difference),
                **_sizes(ours),
                **about,
            }
        )
    return rows


def _percent(estimate: Estimate) -> dict[str, float]:
    shares = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: _rounded(100 * share) for name, share in shares.items()}


def _rounded(number: float) -> float:
    """As in the CSV, so that what is made from the table and what is made from its file never differ in a digit."""
    return round(float(number), 4)


def _sizes(results: Sequence[Result]) -> dict[str, int]:
    return {
        "n_problems": sum(len(r.draws.problems) for r in results),
        "n_draws": min(r.draws.correct.shape[2] for r in results),
        "n_seeds": results[0].draws.correct.shape[0],
    }
