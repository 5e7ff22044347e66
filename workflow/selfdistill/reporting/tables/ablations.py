"""Computes the tables of the paper's studies: plug-ins, hint settings, variants against their method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.evaluation.comparisons import holm
from selfdistill.reporting.read.accuracy import Tasks, VariantScores, by_block, counted_benchmarks
from selfdistill.reporting.read.published import FIRST, Published, published_ablation, published_gain
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.cells import bounds, gain_cell, p_text, status_of, view_of
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.paper_shape import paper_tables
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.render.texts import DASH
from selfdistill.reporting.tables.accuracy import (
    GAINS_COLUMNS,
    P_DIGITS,
    PUBLISHED_COLUMNS,
    difference_rows,
    main_table,
    run_variance,
    set_against,
)
from selfdistill.study.hint_settings import HINT_SETTINGS, PLUGINS

SETTINGS = ("dataset solution, one-sided", "own rollout, one-sided", "own rollouts, contrastive")
AVERAGE = "average"

PLUGIN_COLUMNS = (
    columns(
        "task model method contrastive one_sided one_sided_run value low high low_fixed high_fixed p_value "
        "p_holm n_problems n_draws n_seeds"
    )
    + PUBLISHED_COLUMNS
)
HINTS_COLUMNS = columns(
    "task model method setting hints variant value low high low_fixed high_fixed gain gain_low gain_high "
    "p_value p_holm n_problems n_draws n_seeds gain_seeds"
)
ABLATIONS_COLUMNS = GAINS_COLUMNS + PUBLISHED_COLUMNS


def plugin_table(scores: Sequence[VariantScores], tasks: Tasks, version: str = FIRST) -> pd.DataFrame:
    """Return the long table of plugin.csv: a row for each method that was run with contrast and one-sided.

    version: of the paper, whose gains stand beside those of its own variants (of the second: `-v2`).

    value, low, high, low_fixed, high_fixed: the average of `contrastive` minus that of `one_sided`, the better of the
    method's one-sided variants that were run (one_sided_run, 1 or 2), in points; n_seeds: the fewer of the two; p_holm:
    over the methods of a task and model; published, published_*: the paper's gain and how ours lies to it, as in
    `tables.set_against`.
    """
    rows = []
    for members in by_block(scores).values():
        run = {variant.variant: variant for variant in members}
        family, spread = [], _run_variance(members, tasks)
        for method, (*one_sided, contrastive) in PLUGINS:
            others = [run[variant] for variant in one_sided if variant in run]
            if others and contrastive in run:
                better = max(others, key=lambda variant: _average(variant, tasks))
                whose = FIRST if contrastive == HINT_SETTINGS[method][-1] else "v2"
                for row in _on_average(run[contrastive], better, tasks):
                    published = published_gain(row["task"], row["model"], method, version)
                    published = published if whose == version else None
                    names = {"method": method, "contrastive": contrastive, "one_sided": better.variant}
                    family.append({**row, **names, "one_sided_run": len(others), **set_against(row, published, spread)})
        rows += _corrected(family)
    return pd.DataFrame(rows, columns=PLUGIN_COLUMNS).round(P_DIGITS)


def hints_table(scores: Sequence[VariantScores], tasks: Tasks) -> pd.DataFrame:
    """Return the long table of hints.csv: the average of each method in each hint setting that was run.

    setting: 1 to 3, hints: in words; value, low, high, low_fixed, high_fixed in percent; gain, gain_low, gain_high:
    minus the method's first setting, paired, in points; gain_seeds: the fewer of the two settings' seeds; p_holm: over
    all gains of a task and model. A method has rows where a setting other than its own was run.
    """
    rows = []
    for members in by_block(scores).values():
        run = {variant.variant: variant for variant in members}
        family = []
        for method, variants in HINT_SETTINGS.items():
            if not any(variant in run for variant in variants if variant != method):
                continue
            for number, variant in enumerate(variants, start=1):
                if variant in run:
                    setting = {"method": method, "setting": number, "hints": SETTINGS[number - 1]}
                    family += _setting_rows(run[variant], run.get(variants[0]), setting, tasks)
        rows += _corrected(family)
    return pd.DataFrame(rows, columns=HINTS_COLUMNS).round(P_DIGITS).astype({"gain_seeds": "Int64"})


def ablations_table(
    scores: Sequence[VariantScores], tasks: Tasks, methods: Mapping[str, str], version: str = FIRST
) -> pd.DataFrame:
    """The long table of ablations.csv: each variant minus the one that it changes, where that was run (`changed_from`).

    methods: variant -> its method. version: of the paper, whose differences stand beside those of rlcsd's ablations,
    as in `tables.main_table`. Columns as in `tables.gains_table`.
    """
    rows = []
    for members in by_block(scores).values():
        spread = _run_variance(members, tasks)
        of = changed_from([variant.variant for variant in members], methods)
        for reference in (variant for variant in members if variant.variant in of.values()):
            changed = [variant for variant in members if of.get(variant.variant) == reference.variant]
            for row in difference_rows(changed, reference, tasks):
                rows.append({**row, **set_against(row, _published_difference(row, version), spread)})
    return pd.DataFrame(rows, columns=ABLATIONS_COLUMNS).round(P_DIGITS)


def changed_from(variants: Sequence[str], methods: Mapping[str, str]) -> dict[str, str]:
    """Variant -> the one that it changes: with the longest name that its own begins with ("rlcsd-v2" of "rlcsd-v2-x"),
    among those that were run; without one, its method as it is. One that changes none of these is left out.

    variants: of one block, in order; methods: variant -> its method.
    """
    found = {}
    for variant in variants:
        shorter = [
            other for other in variants if variant.startswith(f"{other}-") and methods[other] == methods[variant]
        ]
        if whole := max(shorter, key=len, default=methods[variant]):
            found[variant] = whole
    return {variant: whole for variant, whole in found.items() if whole in variants and whole != variant}


def plugin_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """Return a view for each task and model, with a row a method."""
    views = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        rows = [
            Row(
                row["method"],
                [Cell(row["contrastive"]), Cell(row["one_sided"]), gain_cell(row)],
                "" if row["one_sided_run"] == _settings(row["contrastive"]) else "one one-sided setting only",
            )
            for row in part.to_dict("records")
        ]
        for method, variants in PLUGINS:
            lost = [v for v in variants if status_of(missing, task, model, v) != DASH]
            if variants[-1] not in set(part["contrastive"]) and lost:
                rows.append(Row(method, absent=f"{status_of(missing, task, model, lost[0])}: {lost[0]}"))
        views.append(View(f"{task}, {model}", "Method", ["Contrastive", "Better one-sided", "Gain"], rows))
    return views


def hints_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """Return a view for each task and model: methods by hint setting."""
    views = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        rows = []
        for method, settings in part.groupby("method", sort=False):
            of = {row["variant"]: row for row in settings.to_dict("records")}
            cells = [
                _setting_cell(of[v]) if v in of else Cell(status_of(missing, task, model, v))
                for v in HINT_SETTINGS[method]
            ]
            rows.append(Row(method, cells))
        views.append(View(f"{task}, {model}", "Method", list(SETTINGS), rows))
    return views


def ablations_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """Return a view for each task, model and method that has variants."""
    views = []
    for (task, model, method), part in table.groupby(["task", "model", "reference"], sort=False):
        lost = [run for run in missing if (*run.cell, run.method) == (task, model, method)]
        for block in paper_tables(part, lost, tasks, ()):
            views.append(view_of(block, f"{task}, {model}: {block.metric} minus that of {method}", gain_cell))
    return views


def _average(variant: VariantScores, tasks: Tasks) -> float:
    counted = counted_benchmarks(tasks[variant.task])
    return float(np.mean([variant.results[name].scores.mean() for name in counted]))


def _run_variance(members: Sequence[VariantScores], tasks: Tasks) -> float:
    return run_variance(members, counted_benchmarks(tasks[members[0].task]))[0]


def _on_average(variant: VariantScores, reference: VariantScores, tasks: Tasks) -> list[dict[str, Any]]:
    return [row for row in difference_rows([variant], reference, tasks) if row["benchmark"] == AVERAGE]


def _setting_rows(
    variant: VariantScores, first: VariantScores | None, setting: Mapping[str, Any], tasks: Tasks
) -> list[dict[str, Any]]:
    table = main_table([variant], tasks)
    rows = table[table["benchmark"] == AVERAGE].to_dict("records")
    if first is not None and first is not variant:
        for gain in _on_average(variant, first, tasks):
            setting = {
                **setting,
                "gain": gain["value"],
                "gain_low": gain["low"],
                "gain_high": gain["high"],
                "gain_seeds": gain["n_seeds"],
                "p_value": gain["p_value"],
            }
    return [{**row, **setting} for row in rows]


def _corrected(family: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with p_holm of all their p-values."""
    adjusted = holm([row.get("p_value", np.nan) for row in family])
    return [{**row, "p_holm": float(p)} for row, p in zip(family, adjusted, strict=True)]


def _published_difference(row: Mapping[str, Any], version: str) -> Published | None:
    place = row["task"], row["model"]
    changed, plain = (
        published_ablation(*place, row[name], row["benchmark"], version) for name in ("variant", "reference")
    )
    if changed is None or plain is None:
        return None
    difference = round(changed.value - plain.value, 1)
    return Published(*place, row["variant"], row["benchmark"], difference, changed.version)


def _settings(contrastive: str) -> int:
    """Returns how many one-sided settings a contrastive variant stands beside."""
    return next(len(variants) - 1 for _, variants in PLUGINS if variants[-1] == contrastive)


def _setting_cell(row: Mapping[str, Any]) -> Cell:
    gain = "" if pd.isna(row["gain"]) else f"{row['gain']:+.1f}, {p_text(row['p_holm'])}"
    return Cell(f"{row['value']:.1f}", bounds(row["low"], row["high"], "{:.1f}"), gain, order=row["value"])
