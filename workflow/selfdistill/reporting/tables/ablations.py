"""Tables of the paper's studies: contrast plugged into other methods, hint settings, variants against their method."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.evaluation.comparisons import holm
from selfdistill.reporting.read.accuracy import Group, Tasks, by_block
from selfdistill.reporting.read.published import Published, published_ablation, published_gain
from selfdistill.reporting.render.cells import DASH, UNEQUAL, bounds, gain_cell, is_outside, p_text, status_of, view_of
from selfdistill.reporting.render.paper_shape import blocks
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.tables.accuracy import GAINS_COLUMNS, P_DIGITS, difference_rows, main_table, set_against
from selfdistill.study.hint_settings import HINT_SETTINGS

SETTINGS = ("dataset solution, one-sided", "own rollout, one-sided", "own rollouts, contrastive")
AVERAGE = "average"

_ESTIMATE = ("value", "low", "high", "low_fixed", "high_fixed")
_SIZES = ("n_problems", "n_draws", "n_seeds")
_PUBLISHED = ("published", "published_version", "published_difference", "published_within")
PLUGIN_COLUMNS = (
    *("task", "model", "method", "contrastive", "one_sided", "one_sided_run"),
    *(*_ESTIMATE, "p_value", "p_holm", *_SIZES, *_PUBLISHED),
)
HINTS_COLUMNS = (
    *("task", "model", "method", "setting", "hints", "variant", *_ESTIMATE),
    *("gain", "gain_low", "gain_high", "p_value", "p_holm", *_SIZES, "gain_seeds"),
)
ABLATIONS_COLUMNS = (*GAINS_COLUMNS, *_PUBLISHED)

_OVER = "95 % interval over problems and, from two seeds on, over seeds"
PLUGIN_LEAD = (
    "What contrast adds to the average of a method, in percentage points, over the better of its one-sided settings "
    f"(chosen by the same draws, so the gain is rather too small than too large); paired, {_OVER}; p after Holm over "
    f"the methods of a task and model. {UNEQUAL}"
)
HINTS_LEAD = (
    f"Average in percent by hint setting, with the {_OVER}; below it, the difference to the method's first setting in "
    f"points, p after Holm over all differences of a task and model. {UNEQUAL}"
)
ABLATIONS_LEAD = (
    f"Each variant minus its method as it is, in percentage points; paired, {_OVER}; p after Holm over the variants of "
    f"a column. {UNEQUAL}"
)
NO_PLUGIN = "No method was run both with contrast and without."
NO_HINTS = "None of the variants that differ in their hints was run."
NO_ABLATIONS = "No variant was run beside the method that it changes."


def plugin_table(groups: Sequence[Group], tasks: Tasks) -> pd.DataFrame:
    """The long table of plugin.csv: a row for each method that was run with contrast and one-sided.

    value, low, high, low_fixed, high_fixed: the average of `contrastive` minus that of `one_sided`, the better of the
    method's one-sided variants that were run (one_sided_run, 1 or 2), in points; n_seeds: the fewer of the two; p_holm:
    over the methods of a task and model; published, published_*: the paper's gain and how ours lies to it, as in
    `tables.set_against`.
    """
    rows = []
    for members in by_block(groups).values():
        there = {group.variant: group for group in members}
        family = []
        for method, (*one_sided, contrastive) in HINT_SETTINGS.items():
            found = [there[variant] for variant in one_sided if variant in there]
            if found and contrastive in there:
                better = max(found, key=lambda group: _average(group, tasks))
                for row in _on_average(there[contrastive], better, tasks):
                    published = published_gain(row["task"], row["model"], method)
                    names = {"method": method, "contrastive": contrastive, "one_sided": better.variant}
                    family.append({**row, **names, "one_sided_run": len(found), **set_against(row, published)})
        rows += _corrected(family)
    return pd.DataFrame(rows, columns=list(PLUGIN_COLUMNS)).round(P_DIGITS)


def hints_table(groups: Sequence[Group], tasks: Tasks) -> pd.DataFrame:
    """The long table of hints.csv: the average of each method in each hint setting that was run.

    setting: 1 to 3, hints: in words; value, low, high, low_fixed, high_fixed in percent; gain, gain_low, gain_high:
    minus the method's first setting, paired, in points; gain_seeds: the fewer of the two settings' seeds; p_holm: over
    all gains of a task and model. A method has rows where a setting other than its own was run.
    """
    rows = []
    for members in by_block(groups).values():
        there = {group.variant: group for group in members}
        family = []
        for method, variants in HINT_SETTINGS.items():
            if not any(variant in there for variant in variants if variant != method):
                continue
            for number, variant in enumerate(variants, start=1):
                if variant in there:
                    setting = {"method": method, "setting": number, "hints": SETTINGS[number - 1]}
                    family += _setting_rows(there[variant], there.get(variants[0]), setting, tasks)
        rows += _corrected(family)
    return pd.DataFrame(rows, columns=list(HINTS_COLUMNS)).round(P_DIGITS).astype({"gain_seeds": "Int64"})


def ablations_table(groups: Sequence[Group], tasks: Tasks, methods: Mapping[str, str]) -> pd.DataFrame:
    """The long table of ablations.csv: each variant minus the method that it changes, where that was run as it is.

    methods: variant -> its method. Columns as in `tables.gains_table`, and on the averages of rlcsd's ablations the
    paper's difference, as in `tables.main_table`.
    """
    rows = []
    for members in by_block(groups).values():
        for reference in (group for group in members if methods[group.variant] == group.variant):
            changed = [g for g in members if g is not reference and methods[g.variant] == reference.variant]
            for row in difference_rows(changed, reference, tasks):
                rows.append({**row, **set_against(row, _published_difference(row))})
    return pd.DataFrame(rows, columns=list(ABLATIONS_COLUMNS)).round(P_DIGITS)


def plugin_views(table: pd.DataFrame, missing: Sequence[Mapping[str, Any]]) -> list[View]:
    """A view for each task and model, with a row a method."""
    views = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        rows = [
            Row(
                row["method"],
                [Cell(row["contrastive"]), Cell(row["one_sided"]), _compared(row)],
                "" if row["one_sided_run"] == 2 else "one one-sided setting only",
            )
            for row in part.to_dict("records")
        ]
        for method in HINT_SETTINGS:
            lost = [v for v in HINT_SETTINGS[method] if status_of(missing, task, model, v) != DASH]
            if method not in set(part["method"]) and lost:
                rows.append(Row(method, absent=f"{status_of(missing, task, model, lost[0])}: {lost[0]}"))
        views.append(View(f"{task}, {model}", "Method", ["Contrastive", "Better one-sided", "Gain"], rows))
    return views


def hints_views(table: pd.DataFrame, missing: Sequence[Mapping[str, Any]]) -> list[View]:
    """A view for each task and model: methods by hint setting."""
    views = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        rows = []
        for method, found in part.groupby("method", sort=False):
            there = {row["variant"]: row for row in found.to_dict("records")}
            rows.append(
                Row(
                    method,
                    [
                        _setting_cell(there[v]) if v in there else Cell(status_of(missing, task, model, v))
                        for v in HINT_SETTINGS[method]
                    ],
                )
            )
        views.append(View(f"{task}, {model}", "Method", list(SETTINGS), rows))
    return views


def ablations_views(table: pd.DataFrame, missing: Sequence[Mapping[str, Any]], tasks: Tasks) -> list[View]:
    """A view for each task, model and method that has variants."""
    views = []
    for (task, model, method), part in table.groupby(["task", "model", "reference"], sort=False):
        lost = [run for run in missing if (run["task"], run["model"], run["method"]) == (task, model, method)]
        for block in blocks(part, lost, tasks, ()):
            views.append(view_of(block, f"{task}, {model}: {block.metric} minus that of {method}", _compared))
    return views


def _average(group: Group, tasks: Tasks) -> float:
    counted = [name for name, about in tasks[group.task]["benchmarks"].items() if about.get("counted", True)]
    return float(np.mean([group.results[name].scores.mean() for name in counted]))


def _on_average(group: Group, reference: Group, tasks: Tasks) -> list[dict[str, Any]]:
    return [row for row in difference_rows([group], reference, tasks) if row["benchmark"] == AVERAGE]


def _setting_rows(group: Group, first: Group | None, setting: Mapping[str, Any], tasks: Tasks) -> list[dict[str, Any]]:
    table = main_table([group], tasks)
    rows = table[table["benchmark"] == AVERAGE].to_dict("records")
    compared = _on_average(group, first, tasks) if first is not None and first is not group else []
    gains = [
        {
            "gain": g["value"],
            "gain_low": g["low"],
            "gain_high": g["high"],
            "gain_seeds": g["n_seeds"],
            "p_value": g["p_value"],
        }
        for g in compared
    ]
    return [{**row, **setting, **(gains[0] if gains else {})} for row in rows]


def _corrected(family: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with p_holm of all their p-values."""
    adjusted = holm([row.get("p_value", np.nan) for row in family])
    return [{**row, "p_holm": float(p)} for row, p in zip(family, adjusted, strict=True)]


def _published_difference(row: Mapping[str, Any]) -> Published | None:
    changed, plain = (published_ablation(row["task"], row["model"], row[name]) for name in ("variant", "reference"))
    if changed is None or plain is None or row["benchmark"] != AVERAGE:
        return None
    difference = round(changed.value - plain.value, 1)
    return Published(row["task"], row["model"], row["variant"], AVERAGE, difference, changed.version)


def _compared(row: Mapping[str, Any]) -> Cell:
    """A difference with the paper's."""
    cell = gain_cell(row)
    if pd.isna(row["published"]):
        return cell
    beside = f"{cell.beside}; paper {row['published']:+.1f}"
    return Cell(cell.text, cell.detail, beside, is_outside(row), quiet=cell.quiet, order=cell.order)


def _setting_cell(row: Mapping[str, Any]) -> Cell:
    gain = "" if pd.isna(row["gain"]) else f"{row['gain']:+.1f}, {p_text(row['p_holm'])}"
    return Cell(f"{row['value']:.1f}", bounds(row["low"], row["high"], "{:.1f}"), gain, order=row["value"])
