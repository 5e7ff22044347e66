"""How the main table and the gains look to readers, whatever the format: blocks of the paper's shape."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from selfdistill.reporting.read.accuracy import Tasks
from selfdistill.reporting.render.paper_shape import Block, blocks
from selfdistill.reporting.render.table import TIED_SIGN, Cell, Row, View

#: How to read the tables, for above them.
_INTERVAL = "95 % interval: other problems of the same kind and, from two seeds on, other seeds"
_OURS = (
    f"Percent, with the {_INTERVAL}. Bold: the best of a column; {TIED_SIGN}: not told apart from it (paired on the "
    "same problems, Holm over the column, 5 %)."
)
UNEQUAL = (
    "Where one of the two was trained with one seed and the other with several, it is taken to vary as the other does; "
    "base, which is not trained, has no seeds."
)
MAIN_LEAD = (
    f"{_OURS} Paper: its published value, from the latest version of its tables; ! where another run like ours on the "
    "same problems would hardly give it (by the interval for these problems, where there is one, and as much chance in "
    "the paper's run as in one of ours)."
)
#: Of the tables that have the paper's logic results.
RATE = (
    "On logic the paper trained rlcsd with five times the learning rate of the other methods (5e-6): its value stands "
    "beside rlcsd, at the common rate, and beside rlcsd-lr5e6, which is trained as the paper's was."
)
GAINS_LEAD = (
    f"Paired differences on the same problems in percentage points, with the {_INTERVAL}; p: two-sided, after Holm "
    f"over the variants of a column. {UNEQUAL}"
)
NOTHING = "Nothing was run."
NO_REFERENCE = "Neither base nor grpo was run beside another variant, so there is nothing to compare."
DASH = "\u2013"


def main_lead(table: pd.DataFrame) -> str:
    """How to read main.csv; of the paper only where its values stand beside ours."""
    compared = table[table["published"].notna()]
    if compared.empty:
        return _OURS
    return f"{MAIN_LEAD} {RATE}" if (compared["task"] == "logic").any() else MAIN_LEAD


def main_views(table: pd.DataFrame, missing: Sequence[Mapping[str, Any]], tasks: Tasks) -> list[View]:
    """A view for each task and model of main.csv, and of `missing` (see `blocks.blocks`)."""
    return [
        view_of(block, f"{block.task}, {block.model}: {block.metric}", main_cell)
        for block in blocks(table, missing, tasks)
    ]


def gains_views(table: pd.DataFrame, missing: Sequence[Mapping[str, Any]], tasks: Tasks) -> list[View]:
    """A view for each task, model and reference of gains.csv, and of `missing`."""
    return [
        view_of(block, f"{block.task}, {block.model}: {block.metric} minus that of {block.reference}", gain_cell)
        for block in blocks(table, missing, tasks)
    ]


def main_cell(row: Mapping[str, Any]) -> Cell:
    """A row of main.csv: value, interval, mark, and the paper's value beside it."""
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
    """A row of gains.csv: difference, interval, adjusted p-value."""
    p_value = "" if math.isnan(row["p_holm"]) else p_text(row["p_holm"])
    detail = bounds(row["low"], row["high"], "{:+.1f}")
    return Cell(f"{row['value']:+.1f}", detail, p_value, quiet=not row.get("counted", True), order=row["value"])


def is_outside(row: Mapping[str, Any]) -> bool:
    """Whether the paper's value is known not to fit; not where there is none, or nothing to judge it by."""
    return not pd.isna(row["published_within"]) and not row["published_within"]


def bounds(low: float, high: float, shape: str) -> str:
    """An interval as text; nothing where there is none."""
    return "" if math.isnan(low) or math.isnan(high) else f"[{shape.format(low)}, {shape.format(high)}]"


def p_text(p_value: float) -> str:
    """A p-value as text."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def status_of(missing: Sequence[Mapping[str, Any]], task: str, model: str, variant: str) -> str:
    """Why a variant is not there: "not run", "not finished", "failed", or a dash where it was not asked for."""
    named = (run for run in missing if (run["task"], run["model"], run["variant"]) == (task, model, variant))
    return next((run["status"] for run in named), DASH)


def view_of(block: Block, title: str, cell: Callable[[Mapping[str, Any]], Cell]) -> View:
    """A block as a view; cell: what a row of its table looks like."""
    rows = [
        Row(variant, [cell(cells[benchmark]) for benchmark in block.columns], note=block.seeds.get(variant, ""))
        for variant, cells in block.rows.items()
    ]
    rows += [Row(variant, absent=status) for variant, status in block.absent.items()]
    return View(title, "Variant", list(block.columns.values()), rows, block.remarks)
