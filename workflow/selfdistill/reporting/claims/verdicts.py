"""Words a verdict: of a part on one block, and of a claim over all its parts and blocks."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfdistill.evaluation.comparisons import holm
from selfdistill.reporting.claims.intervals import TAIL

REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE = "reproduced", "not reproduced", "inconclusive"
SEEN, UNSEEN = "seen in one run", "not seen in one run"
UNINFORMATIVE, PREMISE, NOT_RUN = "uninformative", "premise not met", "not run"
#: Of a part.
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, SEEN, UNSEEN, UNINFORMATIVE, PREMISE, NOT_RUN)

HOLDS, MIXED, FAILS, OPEN, HALF_SEEN = "holds", "mixed", "fails", "open", "seen in part in one run"
#: Of a claim.
CLAIM_VERDICTS = (HOLDS, MIXED, FAILS, OPEN, SEEN, HALF_SEEN, UNSEEN, PREMISE, NOT_RUN)

POINTS, FACTOR = "points", "factor"

#: What one run says in place of what several do.
OF_ONE_RUN = {REPRODUCED: SEEN, NOT_REPRODUCED: UNSEEN}


@dataclass
class Judged:
    """A part's verdict on a block, and what it rests on.

    Attributes:
        verdict: of an accuracy, on these very problems where there is an interval for them.
        statistic, unit, value, low, high: what was measured, with its 95 % interval.
        seeds: of the trained variant with the fewest.
        inside: how many seeds lie in the range, "3 of 3"; empty for accuracies.
        why: in phrases.
        p_value: one-sided, of "reproduced" and "not reproduced".
        of_kind, low_kind, high_kind: of an accuracy, verdict and interval for other problems of this kind.
        needs: seeds that would decide it, if it is open (inf: no number; nan: not known).
    """

    verdict: str
    statistic: str
    unit: str
    value: float
    low: float
    high: float
    seeds: int
    why: list[str]
    inside: str = ""
    p_value: float = math.nan
    of_kind: str = ""
    low_kind: float = math.nan
    high_kind: float = math.nan
    needs: float = math.nan


def of_one_run(found: Judged) -> Judged:
    """A verdict that rests on one seed speaks of that run."""
    if found.seeds == 1:
        found.verdict, found.of_kind = (OF_ONE_RUN.get(verdict, verdict) for verdict in (found.verdict, found.of_kind))
        found.p_value = math.nan
    return found


def corrected(verdicts: Sequence[str], p_values: Sequence[float]) -> list[bool]:
    """Says which verdicts of one claim hold beside all others: "reproduced" and "not reproduced" by Holm, each apart.

    What was judged otherwise counts in the family, and is never significant. A verdict without a p-value is no test: a
    collapse that was seen in most runs.
    """
    family = [verdict for verdict in verdicts if verdict not in (NOT_RUN, PREMISE)]
    held = [True] * len(verdicts)
    for side in (REPRODUCED, NOT_REPRODUCED):
        places = [n for n, verdict in enumerate(verdicts) if verdict == side and not math.isnan(p_values[n])]
        others = [0.5] * (len(family) - len(places))
        adjusted = holm([*(p_values[n] for n in places), *others])
        for n, p_value in zip(places, adjusted[: len(places)], strict=True):
            held[n] = bool(p_value <= TAIL)
    return held


def of_claim(verdicts: Sequence[str], held: Sequence[bool]) -> str:
    """Return one verdict of all parts of a claim on all blocks that it is asked of.

    * holds: every part is reproduced. All must be, so each at its own level is enough.
    * fails, mixed: parts are refuted that stay so with Holm's correction over the claim's parts; mixed where others
      are reproduced and stay so.
    * seen, seen in part, not seen in one run: nothing is judged by more than one run, and nothing is left open.
    * premise not met: of all that was run.
    * open: all else, parts that were not run included.
    """
    asked = [verdict for verdict in verdicts if verdict != PREMISE]
    judged = [verdict for verdict in asked if verdict != NOT_RUN]
    if not judged:
        return PREMISE if len(asked) < len(verdicts) else NOT_RUN
    sure = {verdict for verdict, holds in zip(verdicts, held, strict=True) if holds}
    if NOT_REPRODUCED in sure:
        return MIXED if REPRODUCED in sure else FAILS
    if set(asked) == {REPRODUCED}:
        return HOLDS
    of_one_run = {*judged}
    if of_one_run <= {SEEN, UNSEEN} and NOT_RUN not in asked:
        return HALF_SEEN if len(of_one_run) == 2 else of_one_run.pop()
    return OPEN


def counted(verdicts: Sequence[str]) -> str:
    """`3 reproduced, 1 inconclusive`, in the order of the vocabulary."""
    counts = Counter(verdicts)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])


#: What a reason says of a part that is open -> why it is, in a word or two; the first that is said counts.
_BECAUSE = {
    "may not show the fault": "premise open",
    "collapse in": "some seeds collapsed",
    "failed": "seeds failed",
    "too early to tell": "grpo's run too short",
    "ended by step": "run too short",
    "has no number": "numbers missing",
    "which has not": "numbers missing",
    "go unseen": "numbers missing",
    "begins at 0": "no ratio",
    "at the floor in": "reward at the floor",
    "on the way": "some seeds fell on the way",
    "alike": "seeds all alike",
    "the same (": "grpo may do the same",
    "partly": "interval too wide",
}


def open_because(rows: Sequence[Mapping[str, Any]]) -> str:
    """Why the inconclusive parts are so: `3 interval too wide, 1 run too short`."""
    whys = [row["why"] for row in rows if row["verdict"] == INCONCLUSIVE]
    counts = Counter(next((word for text, word in _BECAUSE.items() if text in why), "no interval") for why in whys)
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


def ends_named(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns which benchmarks keep uninformative parts from being judged, each reason once."""
    whys = [phrase for row in rows if row["verdict"] == UNINFORMATIVE for phrase in row["why"].split("; ")]
    ends = ("at the ceiling", "at the floor", "without any difference")
    return list(dict.fromkeys(phrase for phrase in whys if phrase.endswith(ends)))


def would_decide(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns what an open claim waits for, from its parts' rows: the runs that are missing, or a number of seeds."""
    waiting = [float(row["needs"]) for row in rows if row["verdict"] in (INCONCLUSIVE, SEEN, UNSEEN)]
    known = [need for need in waiting if math.isfinite(need)]
    never = sum(map(math.isinf, waiting))
    if not known:
        if any(row["verdict"] == NOT_RUN for row in rows):
            return "the runs that are missing would decide it"
        return "no number of seeds would decide it" if never else ""
    least, most = (f"{round(bound):d}" for bound in (min(known), max(known)))
    return (
        f"{least if least == most else f'{least} to {most}'} seeds would decide "
        f"{f'{len(known)} of its {len(waiting)} open parts, none the others' if never else 'it'}"
    )
