"""Computes the tables of searches at test time: discovery@k, costs, and attempts for a level."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.evaluation.discovery import (
    Curve,
    attempt_grid,
    discovery_interval,
    first_passes,
    needed_attempts,
    needed_ratio,
)
from selfdistill.evaluation.estimators import paired_difference
from selfdistill.reporting.read.published_discovery import published_discovery
from selfdistill.reporting.read.searches import Searches
from selfdistill.reporting.render.cells import bounds, or_never
from selfdistill.reporting.render.table import Cell, Row, View

#: Best-of-k from all draws of a question, in closed form.
CLOSED_FORM = "closed_form"
LEVELS = (0.1, 0.22, 0.3, 0.5, 0.7)
#: What a search is called in tables and figures.
TITLES = {
    "self_distillation": "self-distillation",
    "best_of": "best of k, sampled",
    CLOSED_FORM: "best of k, closed form",
    "multi_turn": "multi-turn",
}
COLUMNS = [
    *("task", "model", "set", "search", "attempts", "questions", "seeds", "value", "low", "high"),
    *("held_value", "held_low", "held_high", "gap", "gap_low", "gap_high"),
    *("tokens_read", "tokens_written", "tokens_trained", "updates", "published"),
]
NEEDED_COLUMNS = [
    *("task", "model", "set", "search", "level", "needed", "low", "high"),
    *("ratio", "ratio_low", "ratio_high", "tokens", "published"),
]


def curves(searches: Searches, questions: Sequence[str], *, held_back: bool = False) -> dict[str, Curve]:
    """Return the curve of each search on some questions, and of best-of-k in closed form where there are draws.

    held_back: count passes only where they hold.
    """
    made = {
        search: np.stack([first_passes(frame, questions, held_back=held_back) for frame in seeds.values()])
        for search, seeds in searches.attempts.items()
    }
    # Where all questions pass early, no search makes as many attempts as it might, and its curve is known all the same.
    made_most = max(int(f["attempt"].max()) for seeds in searches.attempts.values() for f in seeds.values())
    grid = attempt_grid(max(searches.budget, made_most))
    found = {search: Curve.of_searches(first, grid) for search, first in made.items()}
    if searches.pool is not None:
        rows = searches.pool.groupby("question")
        passes = rows["held_back" if held_back else "correct"].sum().reindex(list(questions)).astype(float)
        draws = rows.size().reindex(list(questions))
        found[CLOSED_FORM] = Curve.of_draws(passes.to_numpy(), draws.to_numpy(), grid)
    return {search: found[search] for search in TITLES if search in found}


def discovery_table(every: Sequence[Searches]) -> pd.DataFrame:
    """Return a row for each set, search and number of attempts; shares from 0 to 1.

    gap: self-distillation's discovery minus that of the search, paired by question. Tokens and updates are means of a
    question and seed, up to that many attempts.
    """
    rows = [row for searches in every for row in _discovery_rows(searches)]
    return pd.DataFrame(rows, columns=COLUMNS)


def needed_table(every: Sequence[Searches]) -> pd.DataFrame:
    """Return a row for each set, search and level: the attempts that it needs, and how many times self-distillation's.

    A ratio above 1 says that self-distillation needs fewer. Infinite: a level that is not reached. Empty cells: nothing
    to compare, or, of bounds, one question alone.
    """
    return pd.DataFrame([row for searches in every for row in _needed_rows(searches)], columns=NEEDED_COLUMNS)


def discovery_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each set: searches in rows, numbers of attempts in columns; and one of costs at the end."""
    views = []
    for (task, model, name), part in table.groupby(["task", "model", "set"], sort=False):
        most = int(part["attempts"].max())
        shown = [k for k in sorted(map(int, part["attempts"].unique())) if _is_shown(k, most)]
        rows, costs = [], []
        for search, lines in part.groupby("search", sort=False):
            at = {row["attempts"]: row for row in lines.to_dict("records")}
            note = _of(search, lines["seeds"].iloc[0])
            rows.append(Row(TITLES[search], [_share(at.get(k)) for k in shown], note=note))
            last = lines.iloc[-1]
            costs.append(_costs(search, last.to_dict()))
        title = f"{task}, {model}: {name} ({questions_of(part)})"
        views.append(View(title, "Search", [f"{k:,}" for k in shown], rows))
        heads = ["Passes", "Hold", "Tokens read", "written", "trained on", "Updates"]
        views.append(View(f"{title}, at the last number of attempts", "Search", heads, costs))
    return views


def needed_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each set: searches in rows, levels in columns, ratios beside."""
    views = []
    for (task, model, name), part in table.groupby(["task", "model", "set"], sort=False):
        levels = sorted(part["level"].unique())
        rows = []
        for search, lines in part.groupby("search", sort=False):
            at = {row["level"]: row for row in lines.to_dict("records")}
            rows.append(Row(TITLES[search], [_needed(at[level]) for level in levels]))
        columns = [f"{100 * level:.0f} %" for level in levels]
        views.append(View(f"{task}, {model}: {name}, attempts for a level of discovery", "Search", columns, rows))
    return views


def questions_of(part: pd.DataFrame) -> str:
    """Returns how many questions the rows of a set are about, in words."""
    count = int(part["questions"].iloc[0])
    return f"{count} question{'s' if count > 1 else ''}"


def _discovery_rows(searches: Searches) -> Iterator[dict[str, Any]]:
    for name, questions in searches.sets.items():
        if not questions:
            continue
        found, held = curves(searches, questions), curves(searches, questions, held_back=True)
        leader = found.get("self_distillation")
        for search, curve in found.items():
            for place, k in enumerate(curve.grid):
                value, holds = discovery_interval(curve.scores[place]), discovery_interval(held[search].scores[place])
                row = {
                    "task": searches.task,
                    "model": searches.model,
                    "set": name,
                    "search": search,
                    "attempts": int(k),
                    "questions": len(questions),
                    "seeds": curve.scores.shape[1],
                    "value": value.value,
                    "low": value.low,
                    "high": value.high,
                    "held_value": holds.value,
                    "held_low": holds.low,
                    "held_high": holds.high,
                    **_cost(searches, search, questions, int(k)),
                    "published": published_discovery(searches.task, searches.model, name, search, int(k)),
                }
                if leader is not None and search != "self_distillation" and len(questions) > 1:
                    # The closed form has no seeds: all draws of the untrained model are in it.
                    both = [leader.scores[place]], [curve.scores[place]]
                    gap = paired_difference(*both, trained=(True, search != CLOSED_FORM))
                    row |= {"gap": gap.value, "gap_low": gap.low, "gap_high": gap.high}
                yield row


def _cost(searches: Searches, search: str, questions: Sequence[str], k: int) -> dict[str, float]:
    """Means of a question and seed, up to so many attempts; of the closed form what its draws take in the mean."""
    if search == CLOSED_FORM:
        return {}
    frames = searches.attempts[search].values()
    frame = pd.concat(frames)
    frame = frame[frame["question"].isin(list(questions)) & (frame["attempt"] <= k)]
    runs = len(questions) * len(frames)
    sums = {name: frame[name].sum() / runs for name in ("tokens_read", "tokens_written", "tokens_trained")}
    last = pd.concat([f.groupby("question")["updates"].max() for f in _until(frames, questions, k)])
    return sums | {"updates": float(last.sum()) / runs}


def _until(frames: Any, questions: Sequence[str], k: int) -> Iterator[pd.DataFrame]:
    for frame in frames:
        yield frame[frame["question"].isin(list(questions)) & (frame["attempt"] <= k)]


def _needed_rows(searches: Searches) -> Iterator[dict[str, Any]]:
    for name, questions in searches.sets.items():
        if not questions:
            continue
        found = curves(searches, questions)
        leader = found.get("self_distillation")
        for search, curve in found.items():
            for level in LEVELS:
                needed = needed_attempts(curve, level)
                row = {
                    "task": searches.task,
                    "model": searches.model,
                    "set": name,
                    "search": search,
                    "level": level,
                    "needed": needed.value,
                    "low": needed.low,
                    "high": needed.high,
                    "published": published_discovery(searches.task, searches.model, name, search, level=level),
                }
                if np.isfinite(needed.value):
                    cost = _cost(searches, search, questions, int(needed.value))
                    row["tokens"] = sum(cost.get(f"tokens_{kind}", 0) for kind in ("read", "written", "trained"))
                    row["tokens"] = row["tokens"] or np.nan
                if leader is not None and search != "self_distillation":
                    ratio = needed_ratio(leader, curve, level)
                    found_ratio = {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
                    # A pool of fewer draws than the others' budget may have ended too early to say "never".
                    early = curve.grid[-1] < leader.grid[-1]
                    row |= {name: value for name, value in found_ratio.items() if not (early and np.isinf(value))}
                yield row


def _of(search: str, seeds: int) -> str:
    if search == CLOSED_FORM:
        return "from a pool of draws"
    return f"{seeds} seed{'s' if seeds > 1 else ''}"


def _is_shown(k: int, most: int) -> bool:
    return k == most or (k & (k - 1) == 0 and k.bit_length() % 2 == 1)


def _share(row: dict[str, Any] | None) -> Cell:
    if row is None:
        return Cell("")
    beside = "" if pd.isna(row["published"]) else f"{100 * row['published']:.0f}"
    interval = bounds(100 * row["low"], 100 * row["high"], "{:.0f}")
    return Cell(f"{100 * row['value']:.1f}", interval, beside, order=row["value"])


def _costs(search: str, row: dict[str, Any]) -> Row:
    cells = [
        Cell(f"{100 * row[name]:.1f}", bounds(100 * row[low], 100 * row[high], "{:.0f}"), order=row[name])
        for name, low, high in (("value", "low", "high"), ("held_value", "held_low", "held_high"))
    ]
    for name in ("tokens_read", "tokens_written", "tokens_trained", "updates"):
        cells.append(Cell("" if pd.isna(row[name]) else f"{row[name]:,.0f}", order=row[name]))
    return Row(TITLES[search], cells, note=f"{row['attempts']:,} attempts")


def _needed(row: dict[str, Any]) -> Cell:
    if np.isinf(row["needed"]):
        return Cell("not reached")
    compared = np.isfinite(row["ratio"]) and row["ratio"] > 0  # both get there
    ratio = f" ({row['ratio']:.1f} times)" if compared else ""
    interval = "" if pd.isna(row["low"]) else f"[{or_never(row['low'], ',.0f')}, {or_never(row['high'], ',.0f')}]"
    return Cell(f"{row['needed']:,.0f}{ratio}", interval, order=row["needed"])
