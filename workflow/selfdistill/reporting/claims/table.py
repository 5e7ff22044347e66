"""Writes claims.csv, its views, and the one row that a claim has on the first page."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.inputs import ClaimInputs
from selfdistill.reporting.claims.judge import judge
from selfdistill.reporting.claims.predicates import Claim, Part
from selfdistill.reporting.claims.verdicts import (
    FACTOR,
    NOT_REPRODUCED,
    NOT_RUN,
    OPEN,
    PREMISE,
    REPRODUCED,
    corrected,
    counted,
    ends_named,
    of_claim,
    open_because,
    would_decide,
)
from selfdistill.reporting.render.csv_tables import columns, with_texts
from selfdistill.reporting.render.table import Cell, Row, View

COLUMNS = columns(
    "claim paper part statement task model variant statistic unit estimate low high low_kind high_kind n_seeds inside "
    "verdict of_kind corrected needs why figure"
)
_ROUNDED = ("value", "low", "high", "low_kind", "high_kind", "needs")


def claims_table(
    blocks: Sequence[ClaimInputs], figures: Collection[str] = (), claims: Sequence[Claim] = CLAIMS
) -> pd.DataFrame:
    """Return the long table of claims.csv: a row for each part and block that it is asked of, claim by claim.

    Columns beside what identifies a part:

    * estimate, low, high in `unit` (percentage points, or a factor), empty where there is none; of accuracies low and
      high speak of these very problems, low_kind and high_kind of others of their kind.
    * n_seeds: of the variant with the fewest, 0 where nothing was run; inside: how many of a curve's lie in the range.
    * verdict; of_kind: that of an accuracy for other problems of this kind.
    * corrected: whether "reproduced" or "not reproduced" stays so by Holm over all parts and blocks of its claim.
    * needs: seeds that would decide what is open, inf where no number would.
    * why: in a line, what the verdict rests on, what it cannot say, and what is missing.
    * figure: under results/, one of `figures` (paths with or without "results/"), or empty.
    """
    there = {path.removeprefix("results/") for path in figures}
    rows = []
    for claim in claims:
        asked = [(p, b) for p in claim.parts for b in blocks if p.asked(b.family, b.planned)]
        judged = [judge(part, claim, block) for part, block in asked]
        held = corrected([found.verdict for found in judged], [found.p_value for found in judged])
        for (part, block), found, sure in zip(asked, judged, held, strict=True):
            rows.append(_row(claim, part, block, found, there) | {"corrected": sure})
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(claim: Claim, part: Part, block: ClaimInputs, found: Any, figures: Collection[str]) -> dict[str, Any]:
    numbers = {name: round(getattr(found, name), 4) for name in _ROUNDED}  # as in the CSV
    shown_by = (f"figures/{block.task}/{name}.svg" for name in part.figures)
    return {
        "claim": claim.name,
        "paper": claim.paper,
        "part": part.name,
        "statement": part.statement,
        "task": block.task,
        "model": block.model,
        "variant": part.variant,
        "statistic": found.statistic,
        "unit": found.unit,
        "estimate": numbers.pop("value"),
        **numbers,
        "n_seeds": found.seeds,
        "inside": found.inside,
        "verdict": found.verdict,
        "of_kind": found.of_kind,
        "why": "; ".join(filter(None, found.why)),
        "figure": "" if found.verdict == NOT_RUN else next((path for path in shown_by if path in figures), ""),
    }


def summaries(table: pd.DataFrame, claims: Sequence[Claim] = CLAIMS) -> list[dict[str, Any]]:
    """Return one row a claim, those that are asked of no block included.

    Each is a dict of `name`, `paper`, `sentence`, `published` (version -> the paper's number), `verdict`, `kind` (that
    on other problems of this kind; empty for curves), `seeds` and `ours` (of its judged parts, a line for each of the
    first), `why`, `parts` (all of its rows of the table).
    """
    table = with_texts(table, *_TEXTS)
    return [_summary(claim, table[table["claim"] == claim.name].to_dict("records")) for claim in claims]


_TEXTS = ("statement", "statistic", "unit", "why", "figure", "inside", "of_kind")
#: Parts whose estimates stand in a claim's row, at most, and as many more as need no line to say so.
_SHOWN = 3


def _summary(claim: Claim, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    verdicts, held = [row["verdict"] for row in rows], [bool(row["corrected"]) for row in rows]
    verdict = of_claim(verdicts, held)
    scores = [row for row in rows if row["of_kind"]]
    kind = of_claim([row["of_kind"] for row in scores], [True] * len(scores)) if scores else ""
    judged = [row for row in rows if row["verdict"] != NOT_RUN]
    several = len({row["model"] for row in judged}) > 1
    ours = list(
        dict.fromkeys(
            f"{row['task']}{', ' + row['model'] if several else ''}: {_subject(claim, row)}{estimate_text(row)}"
            for row in judged
        )
    )
    more = [f"and {len(ours) - _SHOWN} more"] if len(ours) > _SHOWN + 1 else []
    return {
        "name": claim.name,
        "paper": claim.paper,
        "sentence": claim.sentence,
        "published": claim.published,
        "verdict": verdict,
        "kind": kind,
        "seeds": sorted({int(row["n_seeds"]) for row in judged}),
        "ours": ours[: _SHOWN if more else None] + more,
        "why": "; ".join(_reasons(verdict, rows, verdicts, held)),
        "parts": rows,
    }


def _subject(claim: Claim, row: Mapping[str, Any]) -> str:
    """Returns which part of a claim a number is of, where it has several."""
    if row["verdict"] == PREMISE:
        return f"{row['statistic'].partition(':')[0]} "
    if len(claim.parts) == 1:
        return ""
    return f"{row['part']} " if len({part.variant for part in claim.parts}) == 1 else f"{row['variant']} {row['part']} "


def _reasons(
    verdict: str, rows: Sequence[Mapping[str, Any]], verdicts: Sequence[str], held: Sequence[bool]
) -> Iterable[str]:
    if not rows:
        yield "no block of the matrix has what it asks for"
        return
    whys = {row["why"] for row in rows}
    if len(whys) == 1:
        yield whys.pop()
    else:
        because = open_because(rows)
        yield f"of {len(rows)} parts: {counted(verdicts)}{f' ({because})' if because else ''}"
        yield from ends_named(rows)
    alone = sum(v in (REPRODUCED, NOT_REPRODUCED) and not sure for v, sure in zip(verdicts, held, strict=True))
    if alone:
        yield f"{alone} of them by themselves only, not beside the others (Holm)"
    if verdict == OPEN and (decides := would_decide(rows)):
        yield decides


def claims_views(table: pd.DataFrame, claims: Sequence[Claim] = CLAIMS) -> list[View]:
    """Return one row a claim, then for each block its judged parts; what was not run comes as remarks."""
    table = with_texts(table, *_TEXTS)
    heads = ["The paper's number", "Ours", "Seeds", "Verdict", "On others of this kind", "Why"]
    rows = []
    for each in summaries(table, claims):
        published = "; ".join(f"{version}: {text}" if version else text for version, text in each["published"].items())
        seeds = ", ".join(map(str, each["seeds"]))
        cells = [published, "; ".join(each["ours"]), seeds, each["verdict"], each["kind"], each["why"]]
        rows.append(Row(f"{each['name']} {each['sentence']}", list(map(Cell, cells))))
    views = [View("Claims", "Claim", heads, rows, prose=True)]
    heads = ["Statement", "Estimate", "Verdict", "On others of this kind", "Why"]
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        is_judged = part["verdict"] != NOT_RUN
        judged, absent = (part[is_judged == side].to_dict("records") for side in (True, False))
        texts = [(row["statement"], estimate_text(row), row["verdict"], row["of_kind"], row["why"]) for row in judged]
        rows = [Row(row["claim"], list(map(Cell, cells))) for row, cells in zip(judged, texts, strict=True)]
        remarks = [f"Not run: {row['claim']}, {row['statement']}: {row['why']}" for row in absent]
        views.append(View(f"{task}, {model}", "Claim", heads, rows, remarks, prose=True))
    return views


def estimate_text(row: Mapping[str, Any]) -> str:
    """`+1.0 [-2.5, +4.5] points` or `1.31 [1.20, 1.44] x`; without the interval where there is none."""
    style, unit = (".2f", "x") if row["unit"] == FACTOR else ("+.1f", "points")
    if math.isnan(row["estimate"]):
        return ""
    low, high = row["low"], row["high"]
    if math.isnan(low) and not math.isnan(row.get("low_kind", math.nan)):
        low, high = row["low_kind"], row["high_kind"]
    bounds = "" if math.isnan(low) else f" [{low:{style}}, {high:{style}}]"
    return f"{row['estimate']:{style}}{bounds} {unit}"
