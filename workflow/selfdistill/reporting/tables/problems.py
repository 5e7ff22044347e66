"""Computes problems.csv, how hard single problems are, and flips.csv, which of them one variant alone solves."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.reporting.read.accuracy import REFERENCES, Result, Tasks, VariantScores, by_block
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.paper_shape import column_title
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.tables.accuracy import rounded
from selfdistill.study.matrix import BASE

#: Percent of a problem's draws that are right: problems.csv says how many problems reach each.
REACHED = tuple(range(10, 101, 10))
#: Share of problems that are never, or always, solved from which on a benchmark hardly tells methods apart.
AT_AN_END = 0.9
FLOOR, CEILING = "floor", "ceiling"
#: A problem flips where one variant solves it in at least SOLVED of the draws, and the other in at most UNSOLVED.
SOLVED, UNSOLVED = 2 / 3, 1 / 3

PROBLEMS_COLUMNS = columns("task model variant benchmark n_problems n_answers never always end") + [
    f"at_least_{percent}" for percent in REACHED
]
FLIPS_COLUMNS = columns("task model variant reference benchmark problem variant_right reference_right flip")


def problems_table(scores: Sequence[VariantScores], tasks: Tasks) -> pd.DataFrame:
    """Return how hard the problems are: a row for each variant and benchmark.

    n_answers: to each problem, over draws and seeds; never, always: percent of the problems that none, or all, of them
    solved; end: "floor" or "ceiling" where that is AT_AN_END or more; at_least_<k>: percent of the problems that k % of
    the answers or more solved (the performance profile).
    """
    rows = []
    for variant in scores:
        for benchmark, result in variant.results.items():
            right = _right(result)
            ends = {FLOOR: np.mean(right == 0), CEILING: np.mean(right == 1)}
            rows.append(
                {
                    "task": variant.task,
                    "model": variant.model,
                    "variant": variant.variant,
                    "benchmark": benchmark,
                    "n_problems": len(right),
                    "n_answers": result.draws.correct[:, 0].size,
                    "never": rounded(100 * ends[FLOOR]),
                    "always": rounded(100 * ends[CEILING]),
                    "end": next((end for end, share in ends.items() if share >= AT_AN_END), ""),
                    **{f"at_least_{k}": rounded(100 * np.mean(right >= k / 100 - 1e-9)) for k in REACHED},
                }
            )
    return pd.DataFrame(rows, columns=PROBLEMS_COLUMNS)


def flips_table(scores: Sequence[VariantScores], tasks: Tasks) -> pd.DataFrame:
    """Returns which problems flip between a variant and a reference (base, grpo): a row a problem.

    variant_right, reference_right: percent of the answers; flip: "gained" or "lost".
    """
    rows = []
    for members in by_block(scores).values():
        by_variant = {variant.variant: variant for variant in members}
        for name in (name for name in REFERENCES if name in by_variant):
            for variant in members:
                if variant.variant not in (BASE, name):
                    rows += _flips(variant, by_variant[name])
    return pd.DataFrame(rows, columns=FLIPS_COLUMNS)


def problems_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """Return a view for each task and model: problems never and always solved, by benchmark."""
    views = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        heads = _heads(part, tasks[task])
        rows = []
        for variant, of_variant in part.groupby("variant", sort=False):
            found = {row["benchmark"]: row for row in of_variant.to_dict("records")}
            rows.append(Row(variant, [_ends_cell(found[name]) for name in heads]))
        views.append(View(f"{task}, {model}: problems never and always solved", "Variant", list(heads.values()), rows))
    return views


def flips_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """Return a view for each task, model and reference: how many problems flipped, by benchmark."""
    views = []
    for (task, model, reference), part in table.groupby(["task", "model", "reference"], sort=False):
        heads = _heads(part, tasks[task])
        rows = []
        for variant, of_variant in part.groupby("variant", sort=False):
            counts = of_variant.groupby(["benchmark", "flip"]).size()
            rows.append(Row(variant, [_flips_cell(counts, name) for name in heads]))
        title = f"{task}, {model}: problems gained and lost against {reference}"
        views.append(View(title, "Variant", list(heads.values()), rows))
    return views


def _right(result: Result) -> np.ndarray:
    """Share of the answers to each problem that are right, [P]."""
    return result.draws.correct.mean(axis=(0, 2))


def _flips(variant: VariantScores, reference: VariantScores) -> list[dict[str, Any]]:
    rows = []
    for benchmark, result in variant.results.items():
        ours, theirs = _right(result), _right(reference.results[benchmark])
        for flip, higher, lower in (("gained", ours, theirs), ("lost", theirs, ours)):
            for place in np.flatnonzero((higher >= SOLVED - 1e-9) & (lower <= UNSOLVED + 1e-9)):
                rows.append(
                    {
                        "task": variant.task,
                        "model": variant.model,
                        "variant": variant.variant,
                        "reference": reference.variant,
                        "benchmark": benchmark,
                        "problem": result.draws.problems[place],
                        "variant_right": rounded(100 * ours[place]),
                        "reference_right": rounded(100 * theirs[place]),
                        "flip": flip,
                    }
                )
    return rows


def _heads(part: pd.DataFrame, settings: Mapping[str, Any]) -> dict[str, str]:
    """Benchmark -> heading, of the benchmarks that the table has, in the task's order."""
    there = set(part["benchmark"])
    return {
        name: column_title({"benchmark": name, "counted": True, **about})
        for name, about in settings["benchmarks"].items()
        if name in there
    }


def _ends_cell(row: Mapping[str, Any]) -> Cell:
    end = row["end"] if isinstance(row["end"], str) else ""  # an empty field of the CSV is read back as nan
    return Cell(f"{row['never']:.0f} / {row['always']:.0f}", beside=end, order=row["always"] - row["never"])


def _flips_cell(counts: pd.Series, benchmark: str) -> Cell:
    gained, lost = (int(counts.get((benchmark, flip), 0)) for flip in ("gained", "lost"))
    return Cell(f"+{gained} \u2212{lost}", order=gained - lost)
