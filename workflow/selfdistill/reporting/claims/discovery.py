"""Judges SDPO's claims on test time (arXiv 2601.20802), DISC-1 to DISC-5, on the tables of searches.

They are about sets of questions by name, and are asked of any study that has these sets: what is found on a toy says
nothing about the paper's questions. An interval that lies on one side decides; passes that do not hold are counted as
passes, as in the paper, and DISC-5 asks how many there are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from selfdistill.reporting.claims.verdicts import INCONCLUSIVE, NOT_REPRODUCED, NOT_RUN, REPRODUCED
from selfdistill.reporting.render.cells import bounds, or_never
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.study.discovery import BEST_OF, MULTI_TURN, SELF_DISTILLATION


@dataclass(frozen=True)
class SearchClaim:
    """A statement on two searches, or on the passes of one, on a set of questions.

    Attributes:
        name, sentence, published: of the claim.
        set: of questions.
        search, other: that are compared; without another one it is about passes that do not hold.
        level: where attempts for a level are compared, the level; else discovery at the last number of attempts.
    """

    name: str
    sentence: str
    published: str
    set: str
    search: str = SELF_DISTILLATION
    other: str = ""
    level: float | None = None


_RATIO = "ratio of attempts"


# fmt: off
CLAIMS = (
    SearchClaim("DISC-1", "self-distillation discovers more of the very hard questions than best-of-k",
                "0.53 against 0.41 within 2,750 attempts", "very_hard", other=BEST_OF),
    SearchClaim("DISC-2", "self-distillation discovers more of the very hard questions than a dialogue",
                "0.53 against 0.35 within 2,750 attempts", "very_hard", other=MULTI_TURN),
    SearchClaim("DISC-3", "self-distillation discovers more of the hard questions than best-of-k",
                "0.78 against 0.72 within 2,750 attempts", "hard", other=BEST_OF),
    SearchClaim("DISC-4", "for 22 % of the very hard questions self-distillation needs fewer attempts than best-of-k",
                "500 against 1,500: three times fewer", "very_hard", other=BEST_OF, level=0.22),
    SearchClaim("DISC-5", "all passes of self-distillation hold on the held-back tests",
                "not tried", "hard"),
)
# fmt: on
COLUMNS = ["claim", "sentence", "task", "model", "set", "statistic", "value", "low", "high", "verdict", "published"]


def claims_on_searches(discovery: pd.DataFrame, needed: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each claim and each task and model; shares and ratios, with their 95 % intervals.

    Args:
        discovery: rows of tables.discovery.discovery_table.
        needed: rows of tables.discovery.needed_table.
    """
    blocks = discovery[["task", "model"]].drop_duplicates().to_dict("records")
    rows = []
    for claim in CLAIMS:
        for block in blocks:
            own = [t[(t["task"] == block["task"]) & (t["model"] == block["model"])] for t in (discovery, needed)]
            statistic, value, low, high, edge = _measured(claim, *own)
            about = {"claim": claim.name, "sentence": claim.sentence, **block, "set": claim.set, "statistic": statistic}
            verdict = judged(low, high, edge) if statistic else NOT_RUN
            rows.append(
                about | {"value": value, "low": low, "high": high, "verdict": verdict, "published": claim.published}
            )
    return pd.DataFrame(rows, columns=COLUMNS)


def judged(low: float, high: float, edge: float) -> str:
    """Return whether an interval lies above an edge (reproduced), below it, or on both sides, as one without bounds."""
    if low > edge:
        return REPRODUCED
    return NOT_REPRODUCED if high < edge else INCONCLUSIVE


def search_claims_views(table: pd.DataFrame) -> list[View]:
    """Return a view for each task and model: a claim a row."""
    views = []
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        rows: Sequence[Row] = [
            Row(
                row["claim"],
                [
                    Cell(row["sentence"]),
                    Cell(row["published"]),
                    _cell(row),
                    Cell("" if pd.isna(row["statistic"]) else row["statistic"]),
                    Cell(row["verdict"]),
                ],
            )
            for row in part.to_dict("records")
        ]
        columns = ["The paper says", "Published", "Measured", "Of what", "Verdict"]
        views.append(View(f"{task}, {model}", "Claim", columns, rows, prose=True))
    return views


def _measured(
    claim: SearchClaim, discovery: pd.DataFrame, needed: pd.DataFrame
) -> tuple[str, float, float, float, float]:
    """Returns what was measured, its interval, and the edge that decides; no words where set or search is not there."""
    unknown = (math.nan, math.nan, math.nan)
    row = _row(discovery, claim.set, claim.other or claim.search)
    if row is None or _row(discovery, claim.set, claim.search) is None:
        return ("", *unknown, 0.0)
    if claim.level is not None:
        row = _row(needed[needed["level"].sub(claim.level).abs() < 1e-9], claim.set, claim.other)
        measured = unknown if row is None else (row["ratio"], row["ratio_low"], row["ratio_high"])
        return (f"{_RATIO} for {100 * claim.level:.0f} %", *measured, 1.0)
    if not claim.other and not row["value"]:
        return (f"no pass within {int(row['attempts']):,} attempts", *unknown, 0.0)
    if claim.other:
        said = f"difference within {int(row['attempts']):,} attempts"
        return (said, row["gap"], row["gap_low"], row["gap_high"], 0.0)
    lost = row["held_value"] - row["value"]
    said = f"passes that hold minus passes, within {int(row['attempts']):,} attempts"
    return said, lost, lost, lost, -1e-12


def _row(table: pd.DataFrame, name: str, search: str) -> pd.Series | None:
    found = table[(table["set"] == name) & (table["search"] == search)]
    return None if found.empty else found.iloc[-1]


def _cell(row: dict[str, Any]) -> Cell:
    """What was measured: differences with their sign, ratios as times. A count of the passes at hand has no interval.

    An infinite ratio: the level is not reached.
    """
    if pd.isna(row["value"]):
        return Cell("")
    if str(row["statistic"]).startswith(_RATIO):
        said = "never" if math.isinf(row["value"]) else f"{row['value']:.1f} times"
        interval = "" if pd.isna(row["low"]) else f"[{or_never(row['low'], '.1f')}, {or_never(row['high'], '.1f')}]"
        return Cell(said, interval, order=min(row["value"], 1e9))
    interval = "" if row["low"] == row["high"] else bounds(row["low"], row["high"], "{:+.2f}")
    return Cell(f"{row['value']:+.2f}", interval, order=row["value"])
