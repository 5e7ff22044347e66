"""The table of power.csv: how small a difference this study can see, and what seeing a smaller one would take."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from selfdistill.evaluation.estimators import PROBLEMS
from selfdistill.evaluation.power import Design, Variances, detectable, estimate, needed, pooled_seed_variance
from selfdistill.reporting.read.accuracy import AVERAGES, REFERENCES, Group, Tasks, by_block
from selfdistill.study.matrix import BASE

#: Differences asked about, in percentage points.
POINTS = (1, 2, 5)

#: Standard deviation of a training run's accuracy around its method's, as a share, where too few seeds tell it. An
#: assumption, not a measurement.
ASSUMED_SEED_SD = 0.01

#: Seeds of a block beyond each method's first that a spread below the assumed one needs to be believed. With fewer the
#: estimate is too often far too small, or 0: from three seeds of one method in 30 to 50 of 100 studies.
ENOUGH_SEEDS = 10

COLUMNS = (
    *("task", "model", "variant", "reference", "benchmark", "metric", "problems"),
    *("n_problems", "n_draws", "n_seeds", "seed_sd", "seed_sd_from", "detectable"),
    *(f"{what}_for_{points}" for points in POINTS for what in ("seeds", "draws")),
)


def power_table(groups: Sequence[Group], tasks: Tasks) -> pd.DataFrame:
    """Each variant against each reference (base, grpo): each benchmark and average, problems sampled and fixed.

    n_problems; n_draws and n_seeds: the fewer of the two methods', the design that is asked about. seed_sd in points,
    of one run of any trained variant of the task and model (the base model's is 0): "measured", pooled over them all,
    or "assumed", ASSUMED_SEED_SD, where that is more and they have fewer than ENOUGH_SEEDS, or none has two seeds.
    detectable in points: seen with a chance of 80 % by the 95 % interval; with one seed for these two runs alone, and
    missing for one draw of one seed on fixed problems, which has no interval.
    seeds_for_<d>, draws_for_<d>: how many of the one, the other as it is, a difference of d points would need; missing
    where no number is enough.
    """
    rows = []
    for members in by_block(groups).values():
        settings = tasks[members[0].task]
        spreads = {name: _seed_variance(members, counted) for name, counted in _members(settings)}
        for reference in (group for group in members if group.variant in REFERENCES):
            for group in members:
                if group.variant not in (BASE, reference.variant):
                    rows += _rows(group, reference, settings, spreads)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({column: "Int64" for column in COLUMNS if "_for_" in column})


def _rows(
    group: Group, reference: Group, settings: Mapping[str, Any], spreads: Mapping[str, tuple[float, bool]]
) -> list[dict[str, Any]]:
    metric = settings["metric"]
    alone = {
        name: estimate([result.draws.correct], [reference.results[name].draws.correct], metric)
        for name, result in group.results.items()
    }
    rows = []
    for name, members in _members(settings):
        ours, measured = spreads[name]
        theirs = 0.0 if reference.variant == BASE else ours
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


def _seed_variance(groups: Sequence[Group], members: Sequence[str]) -> tuple[float, bool]:
    """Variance of one run's macro average of these benchmarks in a block, and whether it was measured."""
    trained = [group for group in groups if group.variant != BASE]
    found = pooled_seed_variance([[group.results[member].scores for member in members] for group in trained])
    assumed = ASSUMED_SEED_SD**2
    believed = found.value > assumed or found.freedom >= ENOUGH_SEEDS  # nan, of no seeds, is neither
    return (max(found.value, 0.0), True) if believed else (assumed, False)


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
