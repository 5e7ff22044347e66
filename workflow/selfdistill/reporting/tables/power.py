"""Computes power.csv: the smallest difference that this study can see, and what a smaller one would take."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from selfdistill.evaluation.estimators import PROBLEMS
from selfdistill.evaluation.power import Design, Variances, detectable, estimate, needed
from selfdistill.reporting.read.accuracy import REFERENCES, Tasks, VariantScores, benchmark_rows, by_block
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.cells import number_cell
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.paper_shape import column_title
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.render.texts import DASH
from selfdistill.reporting.tables.accuracy import run_variance
from selfdistill.study.matrix import BASE

#: Differences asked about, in percentage points.
POINTS = (1, 2, 5)

#: What is asked of an average: which problems it speaks of, of what there would be more, and that in words.
_QUESTIONS = (
    ("fixed", "seeds", "on these problems"),
    ("sampled", "seeds", "on problems of this kind"),
    ("sampled", "problems", "on problems of this kind, with as many seeds"),
)

COLUMNS = columns(
    "task model variant reference benchmark metric problems n_problems n_draws n_seeds seed_sd seed_sd_from detectable"
) + [f"{what}_for_{points}" for points in POINTS for what in ("seeds", "problems")]


def power_table(scores: Sequence[VariantScores], tasks: Tasks) -> pd.DataFrame:
    """Return each variant against each reference (base, grpo): each benchmark and average, problems sampled and fixed.

    n_problems; n_draws and n_seeds: the fewer of the two methods', the design that is asked about. seed_sd in points,
    of one run of any trained variant of the task and model (the base model's is 0): "measured", pooled over them all,
    or "assumed" (`power.believed_seed_variance`).
    detectable in points: seen with a chance of 80 % by the 95 % interval; with one seed for these two runs alone, and
    missing for one draw of one seed on fixed problems, which has no interval.
    seeds_for_<d>: how many, all else as it is, a difference of d points would need; problems_for_<d>: how many
    problems; missing where no number is enough, and problems where they do not answer the question (problems fixed, one
    seed).
    """
    rows = []
    for members in by_block(scores).values():
        settings = tasks[members[0].task]
        spreads = {name: run_variance(members, counted) for name, counted, _ in benchmark_rows(settings)}
        for reference in (variant for variant in members if variant.variant in REFERENCES):
            for variant in members:
                if variant.variant not in (BASE, reference.variant):
                    rows += _rows(variant, reference, settings, spreads)
    return pd.DataFrame(rows, columns=COLUMNS).astype({name: "Int64" for name in COLUMNS if "_for_" in name})


def power_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """Views for each task, model and reference of power.csv: by benchmark, and for each question what averages need.

    What is missing has no row here: nothing can be said of its spread.
    """
    views = []
    for (task, model, reference), part in table.groupby(["task", "model", "reference"], sort=False):
        rows = {(row["variant"], row["benchmark"], row["problems"]): row for row in part.to_dict("records")}
        variants = list(dict.fromkeys(part["variant"]))
        columns = {name: {"benchmark": name, **about} for name, _, about in benchmark_rows(tasks[task])}
        least = [
            Row(v, [_least(*(rows[v, name, kind] for kind in PROBLEMS), c["counted"]) for name, c in columns.items()])
            for v in variants
        ]
        of = " (of these two runs)" if part["n_seeds"].eq(1).all() else ""
        title = f"{task}, {model}: least difference to {reference} that is seen{of}"
        views.append(View(title, "Variant", [column_title(c) for c in columns.values()], least, _assumed(part)))
        if "average" not in columns:
            continue
        for kind, what, question in _QUESTIONS:
            heads = [f"{_number(points, 'point')}" for points in POINTS]
            asked = {v: rows[v, "average", kind] for v in variants}
            if what == "problems":
                asked = {v: row for v, row in asked.items() if row["n_seeds"] > 1}
            found = [Row(v, [_needed(row, what, points) for points in POINTS]) for v, row in asked.items()]
            if found:
                title = f"{task}, {model}: {what} that a difference of averages to {reference} needs, {question}"
                views.append(View(title, "Variant", heads, found))
    return views


def _rows(
    variant: VariantScores,
    reference: VariantScores,
    settings: Mapping[str, Any],
    spreads: Mapping[str, tuple[float, bool]],
) -> list[dict[str, Any]]:
    alone = {
        name: estimate([result.draws.correct], [reference.results[name].draws.correct], settings["metric"])
        for name, result in variant.results.items()
    }
    rows = []
    for name, members, _ in benchmark_rows(settings):
        ours, measured = spreads[name]
        between = ours + (0.0 if reference.variant == BASE else ours)
        terms = (tuple(getattr(alone[m], term)[0] for m in members) for term in ("problem", "run", "draw"))
        variances = Variances(*terms, between)
        shapes = [side.results[member].draws.correct.shape for side in (variant, reference) for member in members]
        sizes = tuple(len(variant.results[member].draws.problems) for member in members)
        design = Design(sizes, draws=min(shape[2] for shape in shapes), seeds=min(shape[0] for shape in shapes))
        for problems in PROBLEMS:
            row = {
                "task": variant.task,
                "model": variant.model,
                "variant": variant.variant,
                "reference": reference.variant,
                "benchmark": name,
                "metric": settings["metric"],
                "problems": problems,
                "n_problems": sum(sizes),
                "n_draws": design.draws,
                "n_seeds": design.seeds,
                "seed_sd": 100 * math.sqrt(ours),
                "seed_sd_from": "measured" if measured else "assumed",
                "detectable": 100 * detectable(variances, design, problems=problems),
            }
            for points in POINTS:
                numbers = needed(points / 100, variances, design, problems=problems)
                for what in ("seeds", "problems"):
                    number = getattr(numbers, what)
                    row[f"{what}_for_{points}"] = int(number) if math.isfinite(number) else None
            rows.append(row)
    return rows


def _least(sampled: Mapping[str, Any], fixed: Mapping[str, Any], counted: bool) -> Cell:
    cell = number_cell(sampled["detectable"], ".1f")
    return Cell(cell.text, f"({number_cell(fixed['detectable'], '.1f').text})", quiet=not counted, order=cell.order)


def _needed(row: Mapping[str, Any], what: str, points: int) -> Cell:
    number = row[f"{what}_for_{points}"]
    return Cell(DASH) if pd.isna(number) else Cell(f"{number:,.0f}", order=float(number))


def _number(number: float, name: str) -> str:
    return f"{number:,.0f} {name if number == 1 else name + 's'}"


def _assumed(part: pd.DataFrame) -> list[str]:
    """On which columns the spread between training runs is assumed, in a line."""
    assumed = part[part["seed_sd_from"] == "assumed"]
    if assumed.empty:
        return []
    names = dict.fromkeys(assumed["benchmark"])
    of = "all columns" if set(names) == set(part["benchmark"]) else ", ".join(names)
    return [f"the spread between training runs is assumed, {assumed['seed_sd'].iloc[0]:.1f} points, in {of}"]
