"""The table of power.csv: how small a difference this study can see, and what seeing a smaller one would take."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from selfdistill.config import BASE
from selfdistill.evaluation.estimators import PROBLEMS
from selfdistill.evaluation.power import Design, Variances, detectable, estimate, needed, seed_variance
from selfdistill.reporting.tables import AVERAGES, REFERENCES, Group, Tasks

#: Differences asked about, in percentage points.
POINTS = (1, 2, 5)

#: Standard deviation of a training run's accuracy around its method's, as a share, where no method has two seeds. An
#: assumption, not a measurement.
ASSUMED_SEED_SD = 0.01

COLUMNS = (
    *("task", "model", "variant", "reference", "benchmark", "metric", "problems"),
    *("n_problems", "n_draws", "n_seeds", "seed_sd", "seed_sd_from", "detectable"),
    *(f"{what}_for_{points}" for points in POINTS for what in ("seeds", "draws")),
)


def power_table(groups: Sequence[Group], tasks: Tasks) -> pd.DataFrame:
    """Each variant against each reference (base, grpo): each benchmark and average, problems sampled and fixed.

    n_problems; n_draws and n_seeds: the fewer of the two methods', the design that is asked about. seed_sd in points,
    of one run of the variant: "measured", or "assumed" where it has one seed (the base model is not trained: 0).
    detectable in points: seen with a chance of 80 % by the 95 % interval; with one seed for these two runs alone.
    seeds_for_<d>, draws_for_<d>: how many of the one, the other as it is, a difference of d points would need; missing
    where no number is enough.
    """
    rows = []
    for reference in (group for group in groups if group.variant in REFERENCES):
        for group in groups:
            if (group.task, group.model) != (reference.task, reference.model):
                continue
            if group.variant not in (BASE, reference.variant):
                rows += _rows(group, reference, tasks[group.task])
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({column: "Int64" for column in COLUMNS if "_for_" in column})


def _rows(group: Group, reference: Group, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    metric = settings["metric"]
    alone = {
        name: estimate([result.draws.correct], [reference.results[name].draws.correct], metric)
        for name, result in group.results.items()
    }
    rows = []
    for name, members in _members(settings):
        ours, measured = _seed_variance(group, members)
        theirs, _ = _seed_variance(reference, members)
        parts = [alone[member] for member in members]
        variances = Variances(
            tuple(part.problem[0] for part in parts),
            tuple(part.run[0] for part in parts),
            tuple(part.draw[0] for part in parts),
            ours + theirs,
        )
        shapes = [side.results[member].draws.correct.shape for side in (group, reference) for member in members]
        design = Design(
            tuple(len(group.results[member].draws.problems) for member in members),
            min(shape[2] for shape in shapes),
            min(shape[0] for shape in shapes),
        )
        for problems in PROBLEMS:
            row = {
                "task": group.task,
                "model": group.model,
                "variant": group.variant,
                "reference": reference.variant,
                "benchmark": name,
                "metric": metric,
                "problems": problems,
                "n_problems": sum(design.benchmarks),
                "n_draws": design.draws,
                "n_seeds": design.seeds,
                "seed_sd": 100 * math.sqrt(ours),
                "seed_sd_from": "measured" if measured else "assumed",
                "detectable": 100 * detectable(variances, design, problems=problems),
            }
            for points in POINTS:
                found = needed(points / 100, variances, design, problems=problems)
                row[f"seeds_for_{points}"], row[f"draws_for_{points}"] = map(_whole, (found.seeds, found.draws))
            rows.append(row)
    return rows


def _seed_variance(group: Group, members: Sequence[str]) -> tuple[float, bool]:
    """Variance of one run's macro average, and whether it was measured."""
    if group.variant == BASE:
        return 0.0, True
    found = seed_variance([group.results[member].scores for member in members])
    return (ASSUMED_SEED_SD**2, False) if math.isnan(found) else (found, True)


def _members(settings: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Each benchmark, and each average with the benchmarks that it counts."""
    benchmarks = settings["benchmarks"]
    found = [(name, [name]) for name in benchmarks]
    for name, _, distributions in AVERAGES:
        counted = [b for b, a in benchmarks.items() if a.get("counted", True) and a["distribution"] in distributions]
        if counted:
            found.append((name, counted))
    return found


def _whole(number: float) -> int | None:
    return None if math.isinf(number) else int(number)
