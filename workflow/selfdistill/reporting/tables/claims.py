"""The paper's claims C1 to C11 (arXiv 2606.11709) as predicates, each judged on whatever was run of a block.

A part of a claim says of a number that it lies in a range; the verdict is read off the number's 95 % interval:

* reproduced: the whole interval lies in the range;
* not reproduced: the whole interval lies outside, on one side;
* inconclusive: neither, or there is no interval (a curve of one seed, whatever its size, or of seeds all alike);
* not run: what the part needs was not run.

Each method is judged by itself, by its own steps and seeds. A part is asked where the paper makes its claim: of every
task, or of those with one grader (mathematics, Knights and Knaves). Ranges and their reasons: docs/claims.md.
"""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from selfdistill.reporting.render.csv_tables import columns, with_texts
from selfdistill.reporting.render.table import Cell, Row, View
from selfdistill.reporting.tables.accuracy import FAMILY_WISE
from selfdistill.reporting.tables.claim_statistics import (
    FACTOR,
    VALIDATION,
    ClaimInputs,
    Measured,
    NotRunError,
    accuracy_gap,
    change,
    change_against,
    fall,
    gain_beyond,
    least_gap,
    style_over_task,
)
from selfdistill.study.hint_settings import HINT_SETTINGS

REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_RUN = "reproduced", "not reproduced", "inconclusive", "not run"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE, NOT_RUN)

MATHS, LOGIC = ("maths",), ("knights",)
EVERYWHERE = ()

#: A curve has changed when it ends beyond this factor of its beginning, up or down, and is stable within it. The least
#: length that the paper calls changed is 8.8k -> 7.2k (1 / 1.22), the most that it calls kept 8.8k -> 8.0k (1 / 1.10).
CHANGE = 1.15
#: An entropy that rises by less is bounded, by more explodes: one bound for both words, whoever's curve it is. The
#: paper calls 0.29 -> 0.38 (1.31) bounded; it counts 0.35 -> 0.41 (1.17) as exploding, which therefore is none here.
BOUNDED = 1.5
#: Points that a share has to end below its best to have fallen: more than a healthy curve's last tenths differ by.
FALL = 5.0
#: Points that "no worse" allows; at one seed of the paper's benchmarks the interval is some seven points wide.
MARGIN = 1.0
#: Points between two sources of hints that are "little difference": less than most gains of contrast (0.2 to 5.4).
LITTLE = 2.0

ENTROPY, LENGTH, REWARD = "actor/entropy", "response/length_mean", "reward/mean"

#: What rlcsd has to beat: the other rows of the paper's main tables.
RIVALS = ("base", "grpo", "opsd", "sdpo", "srpo", "rlsd")

COLUMNS = columns("claim part statement task model variant statistic unit estimate low high n_seeds verdict why figure")

#: The paper's claims, for readers; PARTS has what is judged of each.
CLAIMS = {
    "C1": "rlcsd has the highest average",
    "C2": "rlcsd is better than the base model and than grpo",
    "C3": "Gains are larger out of distribution",
    "C4": "opsd, sdpo and srpo: entropy explodes, responses grow longer, reward and accuracy fall",
    "C5": "rlsd: responses shrink",
    "C6": "rlcsd keeps entropy and length stable",
    "C7": "Contrast keeps the entropy of opsd bounded",
    "C8": "Contrast removes the shrinkage of rlsd",
    "C9": "Without contrast the responses of rlcsd shrink",
    "C10": "Contrast matters, the source of a one-sided hint little",
    "C11": "The one-sided signal sits on style tokens, the contrastive one less so",
}


@dataclass(frozen=True)
class Part:
    """One statement: that what `measure` finds of a block lies between `above` and `below`, in its unit.

    variant: whose statement it is; others: what it is compared with. families: graders of the tasks that it is about
    (EVERYWHERE: all). figures: names of figures that show it, the first that there is being linked.
    """

    claim: str
    part: str
    statement: str
    variant: str
    measure: Callable[[ClaimInputs], Measured]
    others: tuple[str, ...] = ()
    above: float = -math.inf
    below: float = math.inf
    families: tuple[str, ...] = EVERYWHERE
    figures: tuple[str, ...] = ("dynamics",)

    @property
    def range(self) -> str:
        """In words, in the statistic's unit."""
        if math.isinf(self.below):
            return f"above {self.above:.3g}"
        if math.isinf(self.above):
            return f"below {self.below:.3g}"
        return f"between {self.above:.3g} and {self.below:.3g}"


def _gap(claim: str, part: str, statement: str, variant: str, other: str, **about) -> Part:
    measure = partial(accuracy_gap, variant=variant, other=other)
    return Part(claim, part, statement, variant, measure, (other,), figures=("benchmarks",), **about)


def _best(claim: str, part: str, statement: str, variant: str, others: tuple[str, ...]) -> Part:
    measure = partial(least_gap, variant=variant, others=others)
    return Part(claim, part, statement, variant, measure, others, above=0, figures=("benchmarks",))


def _change(claim: str, part: str, statement: str, variant: str, key: str, **about) -> Part:
    return Part(claim, part, statement, variant, partial(change, variant=variant, key=key), **about)


def _falls(claim: str, part: str, statement: str, variant: str, key: str) -> Part:
    return Part(claim, part, statement, variant, partial(fall, variant=variant, key=key), below=-FALL)


def _against(claim: str, part: str, statement: str, variant: str, other: str, key: str, **about) -> Part:
    measure = partial(change_against, variant=variant, other=other, key=key)
    return Part(claim, part, statement, variant, measure, (other,), **about)


def _collapse(method: str) -> tuple[Part, ...]:
    return (
        _change("C4", "entropy", f"the entropy of {method} explodes", method, ENTROPY, above=BOUNDED),
        _change("C4", "length", f"the responses of {method} grow longer", method, LENGTH, above=CHANGE),
        _falls("C4", "reward", f"the training reward of {method} falls", method, REWARD),
        _falls("C4", "validation", f"the validation accuracy of {method} falls", method, VALIDATION),
    )


def _hint_source(method: str) -> Part:
    solution, own, _ = HINT_SETTINGS[method]
    statement = f"for one-sided {method} the source of hints, solution or own rollout, makes little difference"
    return _gap("C10", "source", statement, own, solution, above=-LITTLE, below=LITTLE)


def _contrast(method: str) -> Part:
    *one_sided, contrastive = HINT_SETTINGS[method]
    statement = f"contrast gains on the better of one-sided {method}'s two settings"
    return _best("C10", "contrast", statement, contrastive, tuple(one_sided))


def _gains_beyond(reference: str) -> Part:
    statement = f"rlcsd gains more on {reference} out of distribution than in distribution"
    measure = partial(gain_beyond, variant="rlcsd", other=reference)
    return Part("C3", reference, statement, "rlcsd", measure, (reference,), 0, families=LOGIC, figures=("benchmarks",))


def _style(part: str, statement: str, signal: str, other: str | None = None, **about) -> Part:
    measure = partial(style_over_task, variant="rlcsd", signal=signal, other=other)
    return Part("C11", part, statement, "rlcsd", measure, figures=("tokens",), **about)


_SHOWN = {"families": MATHS, "figures": ("contrast", "dynamics")}
_STABLE = {"above": 1 / CHANGE, "below": CHANGE, "families": MATHS}
_BOUNDED = {"families": LOGIC, "figures": ("contrast", "dynamics")}

# fmt: off
PARTS: tuple[Part, ...] = (
    _best("C1", "average", "rlcsd has the highest average of its block", "rlcsd", RIVALS),
    _gap("C2", "base", "rlcsd scores higher than base", "rlcsd", "base", above=0),
    _gap("C2", "grpo", "rlcsd scores higher than grpo", "rlcsd", "grpo", above=0, families=LOGIC),
    _gap("C2", "grpo", "rlcsd scores no lower than grpo", "rlcsd", "grpo", above=-MARGIN, families=MATHS),
    *map(_gains_beyond, ("base", "grpo")),
    *(part for method in ("opsd", "sdpo", "srpo") for part in _collapse(method)),
    _change("C5", "length", "the responses of rlsd shrink", "rlsd", LENGTH, below=1 / CHANGE, families=MATHS),
    _change("C6", "entropy", "the entropy of rlcsd is stable", "rlcsd", ENTROPY, **_STABLE),
    _change("C6", "length", "the responses of rlcsd keep their length", "rlcsd", LENGTH, **_STABLE),
    _change("C7", "bounded", "contrast keeps the entropy of opsd bounded", "opsd_ectr", ENTROPY,
            below=BOUNDED, **_BOUNDED),
    _against("C7", "contrast", "with contrast the entropy of opsd rises less", "opsd_ectr", "opsd", ENTROPY,
             below=1, **_BOUNDED),
    _change("C8", "kept", "with contrast rlsd does not shrink", "rlsd_ectr", LENGTH, above=1 / CHANGE, **_SHOWN),
    _against("C8", "contrast", "with contrast the responses of rlsd shrink less", "rlsd_ectr", "rlsd", LENGTH,
             above=1, **_SHOWN),
    *(_change("C9", "length", "without contrast rlcsd shrinks", variant, LENGTH, below=1 / CHANGE, **_SHOWN)
      for variant in HINT_SETTINGS["rlcsd"][:2]),
    *map(_hint_source, HINT_SETTINGS),
    *map(_contrast, HINT_SETTINGS),
    _style("style", "the one-sided signal sits on style tokens", "one_sided_abs_mean", above=1),
    _style("contrast", "the contrastive signal sits on style tokens less", "contrast_abs_mean",
           other="one_sided_abs_mean", below=1),
)
# fmt: on


def claims_table(blocks: Sequence[ClaimInputs], figures: Collection[str] = ()) -> pd.DataFrame:
    """The long table of claims.csv: a row for each part and block, claim by claim.

    estimate, low, high in `unit` (percentage points, or a factor), empty where there is none; n_seeds: of the variant
    with the fewest, 0 where nothing was run; why: in a line, what the verdict rests on, what it cannot say, and what
    is missing; figure: under results/, one of `figures` (paths with or without "results/"), or empty.
    """
    there = {path.removeprefix("results/") for path in figures}
    asked = [(part, block) for part in PARTS for block in blocks if not part.families or block.family in part.families]
    return pd.DataFrame([_row(part, block, there) for part, block in asked], columns=COLUMNS)


def verdict(part: Part, measured: Measured) -> str:
    """Where the interval lies; for a statistic picked out of several also whether it holds for all of them at once."""
    low, high = measured.estimate.low, measured.estimate.high  # nan lies nowhere
    if measured.p_value is not None and not measured.p_value < FAMILY_WISE:
        return INCONCLUSIVE
    if low > part.above and high < part.below:
        return REPRODUCED
    if high <= part.above or low >= part.below:
        return NOT_REPRODUCED
    return INCONCLUSIVE


def claims_views(table: pd.DataFrame) -> list[View]:
    """How many parts have which verdict, then for each block its judged parts; what was not run comes as remarks."""
    table = with_texts(table, "why")
    counts = table["verdict"].value_counts()
    views = [View("Verdicts", "Verdict", ["Parts"], [Row(name, [Cell(str(counts.get(name, 0)))]) for name in VERDICTS])]
    for (task, model), part in table.groupby(["task", "model"], sort=False):
        is_judged = part["verdict"] != NOT_RUN
        judged, absent = (part[is_judged == side].to_dict("records") for side in (True, False))
        rows = [
            Row(
                row["claim"],
                [Cell(text) for text in (row["statement"], estimate_text(row), row["verdict"], row["why"])],
            )
            for row in judged
        ]
        remarks = [f"Not run: {row['claim']}, {row['statement']}: {row['why']}" for row in absent]
        columns = ["Statement", "Estimate", "Verdict", "Why"]
        views.append(View(f"{task}, {model}", "Claim", columns, rows, remarks, prose=True))
    return views


def estimate_text(row: dict) -> str:
    """`+1.0 [-2.5, +4.5] points` or `1.31 [1.20, 1.44] x`; without the interval where there is none."""
    style, unit = (".2f", "x") if row["unit"] == FACTOR else ("+.1f", "points")
    if math.isnan(row["estimate"]):
        return ""
    bounds = "" if math.isnan(row["low"]) else f" [{row['low']:{style}}, {row['high']:{style}}]"
    return f"{row['estimate']:{style}}{bounds} {unit}"


def _row(part: Part, block: ClaimInputs, figures: Collection[str]) -> dict:
    row = {
        "claim": part.claim,
        "part": part.part,
        "statement": part.statement,
        "task": block.task,
        "model": block.model,
        "variant": part.variant,
    }
    try:
        measured = part.measure(block)
    except NotRunError as absence:
        empty = {"statistic": "", "unit": "", "estimate": math.nan, "low": math.nan, "high": math.nan, "n_seeds": 0}
        return row | empty | {"verdict": NOT_RUN, "why": str(absence), "figure": ""}
    judged = verdict(part, measured)
    shown_by = (f"figures/{block.task}/{name}.svg" for name in part.figures)
    return row | {
        "statistic": measured.statistic,
        "unit": measured.unit,
        "estimate": round(measured.estimate.value, 4),  # as in the CSV
        "low": round(measured.estimate.low, 4),
        "high": round(measured.estimate.high, 4),
        "n_seeds": measured.seeds,
        "verdict": judged,
        "why": "; ".join(_reasons(part, block, measured, judged)),
        "figure": next((path for path in shown_by if path in figures), ""),
    }


def _reasons(part: Part, block: ClaimInputs, measured: Measured, judged: str) -> Iterable[str]:
    """What the verdict rests on, what it cannot say, and which seeds are missing."""
    wanted = part.range
    low, high = measured.estimate.low, measured.estimate.high
    if math.isnan(measured.estimate.value):
        yield "a mean is not positive, so there is no ratio"
    elif math.isnan(low) or math.isnan(high):
        yield "there is no interval"
    elif judged == REPRODUCED:
        yield f"the whole interval lies {wanted}"
    elif judged == NOT_REPRODUCED:
        yield f"no part of the interval lies {wanted}"
    elif measured.p_value is not None and not measured.p_value < FAMILY_WISE:
        yield f"not distinguishable after Holm's correction (p = {measured.p_value:.2g})"
    else:
        yield f"the interval lies partly {wanted}"
    if measured.note:
        yield measured.note
    if measured.seeds == 1:
        yield "one seed says nothing of other training runs"
    yield from block.incomplete(part.variant, *part.others)
