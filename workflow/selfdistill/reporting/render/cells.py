"""Formats rows of long tables for readers, whatever the format."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from selfdistill.reporting.read.accuracy import Tasks
from selfdistill.reporting.read.runs import MissingRun
from selfdistill.reporting.render.paper_shape import PaperTable, paper_tables
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.render.texts import CONTAMINATION, DASH

#: Competitions of two years, equally hard by intent; the earlier one has been on the web for longer.
AIME = ("aime24", "aime25")


def main_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """A view for each task and model of main.csv, and of `missing`; and where it has two years of AIME, one of them."""
    views = []
    for block in paper_tables(table, missing, tasks):
        views.append(view_of(block, f"{block.task}, {block.model}: {block.metric}", main_cell))
        if all(year in block.columns for year in AIME) and block.rows:
            views.append(_aime_view(block))
    return views


def _aime_view(block: PaperTable) -> View:
    """The earlier AIME minus the later one, with an interval: they have other problems, so the two are independent."""
    rows = []
    for variant, cells in block.rows.items():
        earlier, later = (cells[year] for year in AIME)
        gap = earlier["value"] - later["value"]
        # Each bound by the two sides that make it so (Newcombe 1998): intervals of shares are not symmetric.
        low = gap - math.hypot(earlier["value"] - earlier["low"], later["high"] - later["value"])
        high = gap + math.hypot(earlier["high"] - earlier["value"], later["value"] - later["low"])
        found = Cell(f"{gap:+.1f}", bounds(low, high, "{:+.1f}"), order=gap)
        rows.append(Row(variant, [Cell(f"{r['value']:.1f}", order=r["value"]) for r in (earlier, later)] + [found]))
    heads = [*AIME, "earlier minus later"]
    return View(f"{block.task}, {block.model}: two years of AIME", "Variant", heads, rows, [CONTAMINATION])


def gains_views(table: pd.DataFrame, missing: Sequence[MissingRun], tasks: Tasks) -> list[View]:
    """Return a view for each task, model and reference of gains.csv, and of `missing`."""
    return [
        view_of(block, f"{block.task}, {block.model}: {block.metric} minus that of {block.reference}", gain_cell)
        for block in paper_tables(table, missing, tasks)
    ]


def main_cell(row: Mapping[str, Any]) -> Cell:
    """Return a row of main.csv: value, interval, mark, and the paper's value beside it."""
    published = row["published"]
    known = not pd.isna(published)
    return Cell(
        f"{row['value']:.1f}",
        bounds(row["low"], row["high"], "{:.1f}"),
        f"paper {published:.1f}" if known else "",
        is_outside(row),
        row["best"] if isinstance(row["best"], str) else "",  # an empty field of the CSV is read back as nan
        not row["counted"],
        row["value"],
    )


def gain_cell(row: Mapping[str, Any]) -> Cell:
    """A row of gains.csv, or of another difference: value, interval, adjusted p-value, the paper's where it has one."""
    notes = [] if math.isnan(row["p_holm"]) else [p_text(row["p_holm"])]
    known = "published" in row and not pd.isna(row["published"])
    notes += [f"paper {row['published']:+.1f}"] if known else []
    return Cell(
        f"{row['value']:+.1f}",
        bounds(row["low"], row["high"], "{:+.1f}"),
        "; ".join(notes),
        known and is_outside(row),
        quiet=not row.get("counted", True),
        order=row["value"],
    )


def number_cell(value: Any, style: str) -> Cell:
    """Return a number in this style, sorted by its value; a dash where there is none."""
    return Cell(DASH) if pd.isna(value) else Cell(format(value, style), order=float(value))


def is_outside(row: Mapping[str, Any]) -> bool:
    """Returns whether the paper's value is known not to fit; not where there is none, or nothing to judge it by."""
    return not pd.isna(row["published_within"]) and not row["published_within"]


def bounds(low: float, high: float, shape: str) -> str:
    """Return an interval as text; nothing where there is none."""
    return "" if math.isnan(low) or math.isnan(high) else f"[{shape.format(low)}, {shape.format(high)}]"


def or_never(number: float, shape: str) -> str:
    """Return a number as text, in the shape of `format`; "never" for an infinite one."""
    return "never" if math.isinf(number) else format(number, shape)


def p_text(p_value: float) -> str:
    """Return a p-value as text."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def status_of(missing: Sequence[MissingRun], task: str, model: str, variant: str) -> str:
    """Why a variant is not there: "not run", "not finished", "failed", or a dash where it was not asked for."""
    return next((run.status for run in missing if (*run.cell, run.variant) == (task, model, variant)), DASH)


def view_of(block: PaperTable, title: str, cell: Callable[[Mapping[str, Any]], Cell]) -> View:
    """Return a table of the paper's shape as a view; cell: what a row of its long table looks like."""
    rows = [
        Row(variant, [cell(cells[benchmark]) for benchmark in block.columns], note=block.seeds.get(variant, ""))
        for variant, cells in block.rows.items()
    ]
    return View(title, "Variant", list(block.columns.values()), [*rows, *absent_rows(block)], block.remarks)


def absent_rows(block: PaperTable) -> list[Row]:
    """Return a row for each variant of which nothing is there."""
    return [Row(variant, absent=status) for variant, status in block.absent.items()]
