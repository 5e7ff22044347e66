"""Tables from draws: main.csv and gains.csv, and both cut into blocks shaped like the paper's tables.

Task settings, `tasks`: task -> {metric: "mean@12" | "pass@1", benchmarks: {name: {distribution: "in" | "out",
counted: bool (default true)}}}. Benchmarks that are not counted have rows but enter no average.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.config import BASE
from selfdistill.errors import UserError
from selfdistill.evaluation.comparisons import holm, mcnemar, wilson
from selfdistill.evaluation.draws import DrawMatrix, check_paired, read_draws, stack_seeds, to_matrix
from selfdistill.evaluation.estimators import (
    Difference,
    Estimate,
    interval,
    paired_difference,
    score_variances,
    scores_by_seed,
)
from selfdistill.files import write_text
from selfdistill.reporting.published import Published, published_rows
from selfdistill.reporting.runs import RunFiles, check_unique

Tasks = Mapping[str, Mapping[str, Any]]

#: Methods that every other variant is compared with.
REFERENCES = (BASE, "grpo")

#: Rows that are macro means of benchmarks: name, title, distributions that enter.
AVERAGES = (
    ("average", "Average", ("in", "out")),
    ("average_in", "Average in", ("in",)),
    ("average_out", "Average out", ("out",)),
)


#: Variants of a block that Holm's correction, at this family-wise rate, cannot tell from its best are called tied.
FAMILY_WISE = 0.05

#: As in the CSV; p-values are rounded last, for corrections are made of them.
P_DIGITS = {"p_value": 4, "p_holm": 4, "p_mcnemar": 4}

_SIZES = ("n_problems", "n_draws", "n_seeds", "distribution", "counted")
MAIN_COLUMNS = (
    *("task", "model", "variant", "benchmark", "metric", "value", "low", "high", *_SIZES),
    *("response_length", "truncated", "low_fixed", "high_fixed", "wilson_low", "wilson_high", "best"),
    *("published", "published_version", "published_difference", "published_within"),
)
GAINS_COLUMNS = (
    *("task", "model", "variant", "reference", "benchmark", "metric", "value", "low", "high", *_SIZES),
    *("low_fixed", "high_fixed", "p_value", "p_holm", "p_mcnemar", "seeds_variant", "seeds_reference"),
)

#: The paper's values are rounded to a tenth of a point. The last digits are those of sums of binary fractions.
_ROUNDING = 0.05 + 1e-9

#: Of the runs that were asked for and are not in the tables.
MISSING_COLUMNS = ("task", "model", "variant", "seed", "method", "status", "why")


@dataclass(frozen=True)
class Result:
    """Draws (S seeds x P problems x D draws) of one variant on one benchmark.

    scores: the metric of each seed and problem, [S, P]; variances: of each over other draws, [S, P], nan where unknown.
    """

    draws: DrawMatrix
    scores: np.ndarray
    variances: np.ndarray

    @property
    def by_problem(self) -> np.ndarray:
        """The metric of each problem, averaged over seeds, [P]."""
        return self.scores.mean(axis=0)

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


@dataclass(frozen=True)
class Block:
    """A table as in the paper: one task and model, a row for each variant, a column for each benchmark.

    reference: what the variants are compared with, in gains; columns: benchmark -> title; rows: variant -> benchmark ->
    row of the long table. Of what was asked for and is not there: absent: variant -> "not run", "not finished" or
    "failed"; seeds: variant -> "2 of 3 seeds"; remarks: a line on the reference where it lacks seeds, and on each
    missing run whose reason is known.
    """

    task: str
    model: str
    metric: str
    reference: str | None
    columns: Mapping[str, str]
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]]
    absent: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, str] = field(default_factory=dict)
    remarks: Sequence[str] = ()


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
    for (task, model), members in by_block(groups).items():
        for benchmark in tasks[task]["benchmarks"]:
            check_paired({f"{task}/{model}/{g.variant}/{benchmark}": g.results[benchmark].draws for g in members})
    return groups


def main_table(groups: Sequence[Group], tasks: Tasks) -> pd.DataFrame:
    """The long table of main.csv: a row for each variant and benchmark, then its averages.

    value, low, high in percent (95 % interval, other problems of the same kind; from two seeds on also other seeds);
    low_fixed, high_fixed: the same for just these problems; wilson_low, wilson_high: Wilson's, for one draw a problem
    of one seed on one benchmark, else missing; n_problems, n_draws a problem and seed, n_seeds (in an average: problems
    of all its benchmarks, and the fewest draws); distribution ("in", "out", "both"); counted;
    response_length in tokens and truncated in percent, means over all draws (in an average: of its benchmarks' means);
    best: "best" for the highest value of a task, model and benchmark, "tied" for those that a paired comparison with it
    (Holm over the variants, FAMILY_WISE) does not tell from it, and nothing where all are alike, as one alone is;
    published, published_version: the paper's value, from the latest version of its tables that has it, and that
    version; published_difference: value minus it; published_within: whether another run like ours may give it (see
    `set_against`).
    """
    marks: dict[tuple[str, str, str, str], str] = {}
    for members in by_block(groups).values():
        marks |= _marks(members, tasks[members[0].task])
    rows = []
    for group in groups:
        published = {p.benchmark: p for p in published_rows(group.model, group.variant) if p.task == group.task}
        for benchmark, members, about in benchmark_rows(tasks[group.task]):
            results = [group.results[m] for m in members]
            scores, variances = [r.scores for r in results], [r.variances for r in results]
            rows.append(
                {
                    "task": group.task,
                    "model": group.model,
                    "variant": group.variant,
                    "benchmark": benchmark,
                    "metric": tasks[group.task]["metric"],
                    **_percent(interval(scores)),
                    **_sizes(results),
                    **about,
                    "response_length": _rounded(np.mean([r.draws.n_tokens.mean() for r in results])),
                    "truncated": _rounded(100 * np.mean([r.draws.truncated.mean() for r in results])),
                    **_fixed(interval(scores, problems="fixed", variances=variances)),
                    **_wilson(results),
                    "best": marks[group.task, group.model, group.variant, benchmark],
                }
            )
            rows[-1] |= set_against(rows[-1], published.get(benchmark))
    return pd.DataFrame(rows, columns=list(MAIN_COLUMNS))


def gains_table(groups: Sequence[Group], tasks: Tasks) -> pd.DataFrame:
    """The long table of gains.csv: each variant minus each reference (base, grpo), paired on the same problems.

    value, low, high in percentage points; n_draws and n_seeds: the fewer of the two sides' (base is not trained: its
    seed does not count); seeds_variant, seeds_reference: of each side. Where one trained side has one seed and the
    other several, it is taken to vary as the other does (`estimators.paired_difference`). p_value: two-sided, of no
    difference; p_holm: the same, corrected for the variants that one task, model, benchmark and reference has;
    p_mcnemar: McNemar's exact test, for one draw a problem of one seed of both on one benchmark, else missing, and not
    corrected; the other columns as in `main_table`. References that were not run have no rows.
    """
    rows = []
    for members in by_block(groups).values():
        by_variant = {group.variant: group for group in members}
        found = []
        for reference in REFERENCES:
            others = [group for group in members if group.variant not in ("base", reference)]
            if reference in by_variant:
                found += difference_rows(others, by_variant[reference], tasks)
        rows += [row for variant in by_variant for row in found if row["variant"] == variant]
    return pd.DataFrame(rows, columns=list(GAINS_COLUMNS)).round(P_DIGITS)


def difference_rows(groups: Sequence[Group], reference: Group, tasks: Tasks) -> list[dict[str, Any]]:
    """Rows of GAINS_COLUMNS: each of the groups minus the reference, all of one task and model; one family for Holm."""
    rows = [row for group in groups for row in _gain_rows(group, reference, tasks[group.task])]
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        family = [row for row in rows if row["benchmark"] == benchmark]
        for row, adjusted in zip(family, holm([row["p_value"] for row in family]), strict=True):
            row["p_holm"] = float(adjusted)
    return rows


def write_csv(path: str | os.PathLike, table: pd.DataFrame) -> None:
    """Write a long table; equal draws give equal bytes."""
    write_text(path, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))


def blocks(
    table: pd.DataFrame,
    missing: Sequence[Mapping[str, Any]] = (),
    tasks: Tasks | None = None,
    references: Sequence[str] = REFERENCES,
) -> list[Block]:
    """A main or gains table, cut into the paper's shape: a block for each task, model and, in gains, reference.

    missing: the runs that were asked for and are not in the table (task, model, variant, seed, status, why); a task and
    model of which nothing is there then has a block too, with the columns of `tasks`, and so have those of `references`
    that gains lack.
    """
    found = {cell: part.to_dict("records") for cell, part in table.groupby(["task", "model"], sort=False)}
    made = []
    for cell in dict.fromkeys([*found, *((run["task"], run["model"]) for run in missing)]):
        records, lost = found.get(cell, []), [run for run in missing if (run["task"], run["model"]) == cell]
        named: list[str | None] = [None]
        if "reference" in table.columns:
            asked = {run["variant"] for run in lost}
            named = [
                *dict.fromkeys(row["reference"] for row in records),
                *(name for name in references if name in asked),
            ]
        for reference in dict.fromkeys(named):
            rows = [row for row in records if row.get("reference") == reference]
            made.append(_block(*cell, reference, rows, lost, tasks))
    return made


def column_title(row: Mapping[str, Any]) -> str:
    """A benchmark's heading; says what lies out of distribution and what no average counts."""
    for name, title, _ in AVERAGES:
        if row["benchmark"] == name:
            return title
    if not row["counted"]:
        return f"{row['benchmark']} (not counted)"
    return f"{row['benchmark']} (out)" if row["distribution"] == "out" else row["benchmark"]


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


def by_block(groups: Sequence[Group]) -> dict[tuple[str, str], list[Group]]:
    """(task, model) -> its groups, all in the order given."""
    found: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        found.setdefault((group.task, group.model), []).append(group)
    return found


def set_against(row: Mapping[str, Any], published: Published | None) -> dict[str, Any]:
    """The columns published, published_version, published_difference and published_within of a row of an estimate.

    published_within: whether the paper's value, of one run on the same problems and rounded to a tenth, is one that
    another run like ours may give. Its own chance counts as ours does, so [low_fixed, high_fixed], the interval of the
    mean of S runs, is stretched by sqrt(1 + S): with one seed by sqrt(2) for another draw of a run, which says nothing
    of another training run. Where the draws tell nothing of these problems alone (one draw of one seed), it is
    [low, high], which allows for other problems but not for the paper's draws: about as wide, with 0.6 of the variance
    between problems. Missing (None) where there is no interval at all.
    """
    if published is None:
        return {}
    gap = published.value - row["value"]
    return {
        "published": published.value,
        "published_version": published.version,
        "published_difference": _rounded(-gap),
        "published_within": _within(gap, row),
    }


def _within(gap: float, row: Mapping[str, Any]) -> bool | None:
    """Whether another run like ours may lie so far from our value; of a difference, each of its sides."""
    bounds, stretch = (row["low_fixed"], row["high_fixed"]), math.sqrt(1 + _seeds(row))
    if math.isnan(bounds[0]):
        bounds, stretch = (row["low"], row["high"]), 1.0
    low, high = (stretch * (bound - row["value"]) for bound in bounds)
    return None if math.isnan(low) else bool(low - _ROUNDING <= gap <= high + _ROUNDING)


def _seeds(row: Mapping[str, Any]) -> float:
    """Runs behind a value; of a difference, the harmonic mean of its sides, which has the variance of both."""
    if "seeds_variant" not in row:
        return row["n_seeds"]
    return 2 / (1 / row["seeds_variant"] + 1 / row["seeds_reference"])


def _block(
    task: str,
    model: str,
    reference: str | None,
    records: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, Any]],
    tasks: Tasks | None,
) -> Block:
    columns, rows = {}, {}
    for row in records:
        columns[row["benchmark"]] = column_title(row)
        rows.setdefault(row["variant"], {})[row["benchmark"]] = row
    if not columns and tasks is not None:
        columns = {name: column_title({"benchmark": name, **about}) for name, _, about in benchmark_rows(tasks[task])}
    absent, seeds, remarks = {}, {}, []
    if reference is None:
        shown = missing
    elif rows:
        shown = [run for run in missing if run["variant"] not in ("base", reference)]
    else:  # nothing can be compared with it, whatever else was run
        shown = [run for run in missing if run["variant"] == reference]
    if reference is not None and rows:
        lost = [run for run in missing if run["variant"] == reference]
        if lost:
            there = next(iter(next(iter(rows.values())).values()))["seeds_reference"]
            remarks.append(f"{reference}, with which all are compared: {there} of {there + len(lost)} seeds")
            remarks += _reasons(lost)
    for variant in dict.fromkeys(run["variant"] for run in shown):
        lost = [run for run in shown if run["variant"] == variant]
        if variant in rows:
            there = next(iter(rows[variant].values()))["n_seeds" if reference is None else "seeds_variant"]
            seeds[variant] = f"{there} of {there + len(lost)} seeds"
        else:
            absent[variant] = ", ".join(dict.fromkeys(run["status"] for run in lost))
        remarks += _reasons(lost)
    metric = records[0]["metric"] if records else tasks[task]["metric"] if tasks is not None else ""
    return Block(task, model, metric, reference, columns, rows, absent, seeds, remarks)


def _reasons(lost: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{run['variant']}, seed {run['seed']}: {run['status']}: {run['why']}" for run in lost if run["why"]]


def _result(members: Sequence[RunFiles], benchmark: str, metric: str) -> Result:
    matrices = {}
    for run in members:
        if benchmark not in run.draws:
            raise UserError(f"run {run.name} has no draws of benchmark {benchmark!r}; evaluate it on all benchmarks")
        path = str(run.draws[benchmark])
        matrices[path] = to_matrix(read_draws(path, texts=False))
    draws = stack_seeds(matrices)
    try:
        return Result(draws, scores_by_seed(draws.correct, metric), score_variances(draws.correct, metric))
    except ValueError as error:
        raise UserError(f"{next(iter(matrices))}: {error}; set the task's metric and draws to fit each other") from None


def _marks(members: Sequence[Group], settings: Mapping[str, Any]) -> dict[tuple[str, str, str, str], str]:
    """(task, model, variant, benchmark) -> "best", "tied" or "", for the variants of one task and model."""
    marks = {}
    for benchmark, names, _ in benchmark_rows(settings):
        scores = {group.variant: [group.results[name].scores for name in names] for group in members}
        values = {variant: np.mean([s.mean() for s in found]) for variant, found in scores.items()}
        top = max(values, key=values.get)
        best = {variant for variant, value in values.items() if np.isclose(value, values[top], rtol=0, atol=1e-9)}
        others = [variant for variant in values if variant not in best]
        adjusted = holm([_difference(scores, top, variant).p_value for variant in others])
        # A comparison without a p-value tells nothing apart.
        tied = {variant for variant, p in zip(others, adjusted, strict=True) if not p <= FAMILY_WISE}
        for group in members:
            mark = "best" if group.variant in best else "tied" if group.variant in tied else ""
            marks[group.task, group.model, group.variant, benchmark] = mark if others else ""  # all alike: no best
    return marks


def _difference(scores: Mapping[str, Sequence[np.ndarray]], one: str, other: str) -> Difference:
    return paired_difference(scores[one], scores[other], trained=(one != BASE, other != BASE))


def _gain_rows(group: Group, reference: Group, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for benchmark, members, about in benchmark_rows(settings):
        ours = [group.results[m] for m in members]
        theirs = [reference.results[m] for m in members]
        scores = [[r.scores for r in side] for side in (ours, theirs)]
        variances = tuple([r.variances for r in side] for side in (ours, theirs))
        trained = (group.variant != BASE, reference.variant != BASE)
        difference = paired_difference(*scores, trained=trained)
        sides = [_sizes(ours), _sizes(theirs)]
        seeds = [side["n_seeds"] for side in sides]
        rows.append(
            {
                "task": group.task,
                "model": group.model,
                "variant": group.variant,
                "reference": reference.variant,
                "benchmark": benchmark,
                "metric": settings["metric"],
                **_percent(difference),
                "n_problems": sides[0]["n_problems"],
                "n_draws": min(side["n_draws"] for side in sides),
                "n_seeds": min(number for number, counts in zip(seeds, trained, strict=True) if counts),
                **about,
                **_fixed(paired_difference(*scores, problems="fixed", variances=variances, trained=trained)),
                "p_value": difference.p_value,
                "p_mcnemar": _mcnemar(ours, theirs),
                "seeds_variant": seeds[0],
                "seeds_reference": seeds[1],
            }
        )
    return rows


def _percent(estimate: Estimate) -> dict[str, float]:
    shares = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: _rounded(100 * share) for name, share in shares.items()}


def _fixed(estimate: Estimate) -> dict[str, float]:
    return {"low_fixed": _rounded(100 * estimate.low), "high_fixed": _rounded(100 * estimate.high)}


def _wilson(results: Sequence[Result]) -> dict[str, float]:
    """Wilson's interval where it holds: one benchmark, one draw a problem, one seed."""
    if len(results) > 1 or (answers := results[0].answers) is None:
        return {}
    found = wilson(int(answers.sum()), len(answers))
    return {"wilson_low": _rounded(100 * found.low), "wilson_high": _rounded(100 * found.high)}


def _mcnemar(ours: Sequence[Result], theirs: Sequence[Result]) -> float:
    """McNemar's p-value where it holds, as for `_wilson`."""
    answers = [side[0].answers for side in (ours, theirs)]
    return math.nan if len(ours) > 1 or any(found is None for found in answers) else mcnemar(*answers)


def _rounded(number: float) -> float:
    """As in the CSV, so that what is made from the table and what is made from its file never differ in a digit."""
    return round(float(number), 4)


def _sizes(results: Sequence[Result]) -> dict[str, int]:
    return {
        "n_problems": sum(len(r.draws.problems) for r in results),
        "n_draws": min(r.draws.correct.shape[2] for r in results),
        "n_seeds": results[0].draws.correct.shape[0],
    }
