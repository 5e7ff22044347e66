"""Computes pooled.csv: what all blocks (a task and a model each) say together of each variant."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.evaluation.comparisons import holm
from selfdistill.evaluation.estimators import Difference
from selfdistill.evaluation.pooled import Block, improvement, pooled_difference, rank_intervals
from selfdistill.reporting.read.accuracy import REFERENCES, Tasks, VariantScores, by_block, counted_benchmarks
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.cells import bounds, gain_cell
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.render.texts import DASH
from selfdistill.reporting.tables.accuracy import FAMILY_WISE, P_DIGITS, difference, rounded, told_apart_by
from selfdistill.study.matrix import BASE

ALL = "all tasks"
COLUMNS = columns(
    "scope variant reference n_blocks n_seeds value low high p_value p_holm ahead told_ahead told_behind improvement "
    "improvement_low improvement_high n_ranked rank rank_low rank_high"
)

#: (task, model) -> variant -> its scores.
_Blocks = Mapping[tuple[str, str], Mapping[str, VariantScores]]


def pooled_table(scores: Sequence[VariantScores], tasks: Tasks) -> pd.DataFrame:
    """Return each variant against each reference (base, grpo), over the models of each task and over all tasks.

    scope: a task that several models were run on, or ALL where there are several tasks. n_blocks: blocks in which both
    were run; n_seeds: the fewest. value, low, high: the mean over these blocks of the difference of their averages, in
    points; other problems of these kinds and, from two seeds on, other seeds. p_holm: over the variants of a scope and
    reference. ahead: blocks in which the average is higher; told_ahead, told_behind: blocks in which that is more than
    chance (Holm over these blocks, FAMILY_WISE). improvement: `pooled.improvement`, a share. rank: of its mean average
    among the n_ranked variants that all blocks of the scope have, with `pooled.rank_intervals`; missing for others.
    """
    blocks = {cell: {v.variant: v for v in members} for cell, members in by_block(scores).items()}
    scopes = {task: [cell for cell in blocks if cell[0] == task] for task, _ in blocks}
    if len(scopes) > 1:
        scopes[ALL] = list(blocks)
    rows = []
    for scope, cells in scopes.items():
        if len(cells) > 1:
            rows += _scope_rows(scope, {cell: blocks[cell] for cell in cells}, tasks)
    made = pd.DataFrame(rows, columns=COLUMNS).round(P_DIGITS)
    return made.astype(dict.fromkeys(["n_ranked", "rank", "rank_low", "rank_high"], "Int64"))


def pooled_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """Return a view for each scope."""
    views = []
    for scope, part in table.groupby("scope", sort=False):
        references = list(dict.fromkeys(part["reference"]))
        heads = ["Rank", *(f"{head} {name}" for name in references for head in ("Minus", "Blocks ahead of", "Beats"))]
        rows = []
        for variant, of_variant in part.groupby("variant", sort=False):
            found = {row["reference"]: row for row in of_variant.to_dict("records")}
            cells = [_rank_cell(next(iter(found.values())))]
            for reference in references:
                cells += _cells(found[reference]) if reference in found else [Cell(DASH)] * 3
            rows.append(Row(variant, cells))
        views.append(View(f"{scope}: {part['n_blocks'].max()} blocks together", "Variant", heads, rows))
    return views


def _scope_rows(scope: str, blocks: _Blocks, tasks: Tasks) -> list[dict[str, Any]]:
    variants = list(dict.fromkeys(name for members in blocks.values() for name in members))
    ranks, rows = _ranks(blocks, variants, tasks), []
    for reference in REFERENCES:
        family = []
        for variant in variants:
            both = [cell for cell, members in blocks.items() if variant in members and reference in members]
            if variant in (BASE, reference) or not both:
                continue
            pairs = [(blocks[cell][variant], blocks[cell][reference]) for cell in both]
            gap, better = _pooled(pairs, tasks), improvement([_block(*pair, tasks) for pair in pairs])
            family.append(
                {
                    "scope": scope,
                    "variant": variant,
                    "reference": reference,
                    "n_blocks": len(both),
                    "n_seeds": min(side.seeds for pair in pairs for side in pair if side.variant != BASE),
                    "value": rounded(100 * gap.value),
                    "low": rounded(100 * gap.low),
                    "high": rounded(100 * gap.high),
                    "p_value": gap.p_value,
                    **_block_counts(pairs, tasks),
                    "improvement": rounded(better.value),
                    "improvement_low": rounded(better.low),
                    "improvement_high": rounded(better.high),
                    **ranks.get(variant, {}),
                }
            )
        for row, adjusted in zip(family, holm([row["p_value"] for row in family]), strict=True):
            rows.append({**row, "p_holm": float(adjusted)})
    return sorted(rows, key=lambda row: variants.index(row["variant"]))


def _block(ours: VariantScores, theirs: VariantScores, tasks: Tasks) -> Block:
    names = counted_benchmarks(tasks[ours.task])
    sides = ([side.results[name].scores for name in names] for side in (ours, theirs))
    # Problems are the same in two blocks of one task where they have the same names.
    problems = repr([ours.task, *(ours.results[name].draws.problems for name in names)])
    clusters = [ours.results[name].clusters for name in names]
    return Block(problems, *sides, (ours.variant != BASE, theirs.variant != BASE), clusters)


def _pooled(pairs: Sequence[tuple[VariantScores, VariantScores]], tasks: Tasks) -> Difference:
    return pooled_difference([_block(*pair, tasks) for pair in pairs])


def _block_counts(pairs: Sequence[tuple[VariantScores, VariantScores]], tasks: Tasks) -> dict[str, int]:
    gaps = [difference(*pair, counted_benchmarks(tasks[pair[0].task])) for pair in pairs]
    told = [p <= FAMILY_WISE for p in holm([gap.p_value for gap in gaps])]
    return {
        "ahead": sum(gap.value > 0 for gap in gaps),
        "told_ahead": sum(known and gap.value > 0 for known, gap in zip(told, gaps, strict=True)),
        "told_behind": sum(known and gap.value < 0 for known, gap in zip(told, gaps, strict=True)),
    }


def _ranks(blocks: _Blocks, variants: Sequence[str], tasks: Tasks) -> dict[str, dict[str, int]]:
    """Variant -> the columns of its rank, for the variants that all blocks have."""
    ranked = [variant for variant in variants if all(variant in members for members in blocks.values())]
    if len(ranked) < 2:
        return {}
    values = [np.mean([_average(m[v], tasks) for m in blocks.values()]) for v in ranked]
    pairs = [[(m[a], m[b]) for m in blocks.values()] for a, b in itertools.combinations(ranked, 2)]
    apart = told_apart_by([_pooled(pair, tasks).p_value for pair in pairs], len(ranked))
    made = {}
    for variant, (rank, low, high) in zip(ranked, rank_intervals(values, apart), strict=True):
        made[variant] = {"n_ranked": len(ranked), "rank": rank, "rank_low": low, "rank_high": high}
    return made


def _average(variant: VariantScores, tasks: Tasks) -> float:
    return float(np.mean([variant.results[name].scores.mean() for name in counted_benchmarks(tasks[variant.task])]))


def _rank_cell(row: Mapping[str, Any]) -> Cell:
    if pd.isna(row["rank"]):
        return Cell(DASH)
    return Cell(f"{row['rank']} of {row['n_ranked']}", f"[{row['rank_low']}, {row['rank_high']}]", order=row["rank"])


def _cells(row: Mapping[str, Any]) -> list[Cell]:
    told = [f"{row[f'told_{side}']} told {side}" for side in ("ahead", "behind") if row[f"told_{side}"]]
    better = f"{100 * row['improvement']:.0f} %"
    interval = bounds(*(100 * row[f"improvement_{end}"] for end in ("low", "high")), "{:.0f}")
    return [
        gain_cell(row),
        Cell(f"{row['ahead']} of {row['n_blocks']}", beside="; ".join(told), order=row["ahead"]),
        Cell(better, interval, order=row["improvement"]),
    ]
