"""Tables from draws: main.csv and gains.csv, a row a number."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.evaluation.comparisons import holm, mcnemar, wilson
from selfdistill.evaluation.estimators import Difference, Estimate, interval, paired_difference
from selfdistill.reporting.read.accuracy import REFERENCES, Result, Tasks, VariantScores, benchmark_rows, by_block
from selfdistill.reporting.read.published import FIRST, Published, published_rows, version_of
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.texts import PAPER, RATE, TABLES
from selfdistill.study.matrix import BASE

#: Variants of a block that Holm's correction, at this family-wise rate, cannot tell from its best are called tied.
FAMILY_WISE = 0.05

#: As in the CSV; p-values are rounded last, for corrections are made of them.
P_DIGITS = {"p_value": 4, "p_holm": 4, "p_mcnemar": 4}

PUBLISHED_COLUMNS = ["published", "published_version", "published_difference", "published_within"]
MAIN_COLUMNS = (
    columns(
        "task model variant benchmark metric value low high n_problems n_draws n_seeds distribution counted "
        "response_length truncated low_fixed high_fixed wilson_low wilson_high best"
    )
    + PUBLISHED_COLUMNS
)
GAINS_COLUMNS = columns(
    "task model variant reference benchmark metric value low high n_problems n_draws n_seeds distribution "
    "counted low_fixed high_fixed p_value p_holm p_mcnemar seeds_variant seeds_reference"
)

#: The paper's values are rounded to a tenth of a point. The last digits are those of sums of binary fractions.
_ROUNDING = 0.05 + 1e-9


def main_table(scores: Sequence[VariantScores], tasks: Tasks, version: str = FIRST) -> pd.DataFrame:
    """The long table of main.csv: a row for each variant and benchmark, then its averages.

    version: of the paper, whose values stand beside ours.

    value, low, high in percent (95 % interval, other problems of the same kind; from two seeds on also other seeds);
    low_fixed, high_fixed: the same for just these problems; wilson_low, wilson_high: Wilson's, for one draw a problem
    of one seed on one benchmark, else missing; n_problems, n_draws a problem and seed, n_seeds (in an average: problems
    of all its benchmarks, and the fewest draws); distribution ("in", "out", "both"); counted;
    response_length in tokens and truncated in percent, means over all draws (in an average: of its benchmarks' means);
    best: "best" for the highest value of a task, model and benchmark, "tied" for those that a paired comparison with it
    (Holm over the variants, FAMILY_WISE) does not tell from it, and nothing where all are alike, as one alone is;
    published, published_version: the paper's value, from the latest publication that has it, and that publication;
    published_difference: value minus it; published_within: whether another run like ours may give it (see
    `set_against`).
    """
    marks: dict[tuple[str, str, str, str], str] = {}
    for members in by_block(scores).values():
        marks |= _marks(members, tasks[members[0].task])
    rows = []
    for variant in scores:
        known = published_rows(variant.model, variant.variant, version)
        published = {p.benchmark: p for p in known if p.task == variant.task}
        for benchmark, members, about in benchmark_rows(tasks[variant.task]):
            results = [variant.results[m] for m in members]
            scores, variances = [r.scores for r in results], [r.variances for r in results]
            rows.append(
                {
                    "task": variant.task,
                    "model": variant.model,
                    "variant": variant.variant,
                    "benchmark": benchmark,
                    "metric": tasks[variant.task]["metric"],
                    **_percent(interval(scores)),
                    **_sizes(results),
                    **about,
                    "response_length": _rounded(np.mean([r.draws.n_tokens.mean() for r in results])),
                    "truncated": _rounded(100 * np.mean([r.draws.truncated.mean() for r in results])),
                    **_fixed(interval(scores, problems="fixed", variances=variances)),
                    **_wilson(results),
                    "best": marks[variant.task, variant.model, variant.variant, benchmark],
                }
            )
            rows[-1] |= set_against(rows[-1], published.get(benchmark))
    return pd.DataFrame(rows, columns=MAIN_COLUMNS)


def gains_table(scores: Sequence[VariantScores], tasks: Tasks) -> pd.DataFrame:
    """The long table of gains.csv: each variant minus each reference (base, grpo), paired on the same problems.

    value, low, high in percentage points; n_draws and n_seeds: the fewer of the two sides' (base is not trained: its
    seed does not count); seeds_variant, seeds_reference: of each side. Where one trained side has one seed and the
    other several, it is taken to vary as the other does (`estimators.paired_difference`). p_value: two-sided, of no
    difference; p_holm: the same, corrected for the variants that one task, model, benchmark and reference has;
    p_mcnemar: McNemar's exact test, for one draw a problem of one seed of both on one benchmark, else missing, and not
    corrected; the other columns as in `main_table`. References that were not run have no rows.
    """
    rows = []
    for members in by_block(scores).values():
        by_variant = {variant.variant: variant for variant in members}
        differences = []
        for reference in REFERENCES:
            others = [variant for variant in members if variant.variant not in (BASE, reference)]
            if reference in by_variant:
                differences += difference_rows(others, by_variant[reference], tasks)
        rows += [row for variant in by_variant for row in differences if row["variant"] == variant]
    return pd.DataFrame(rows, columns=GAINS_COLUMNS).round(P_DIGITS)


def main_lead(table: pd.DataFrame) -> str:
    """How to read main.csv; of the paper only where its values stand beside ours."""
    compared = table[table["published"].notna()]
    texts = [TABLES["main"].lead]
    texts += [] if compared.empty else [PAPER]
    at_other_rates = compared[compared["published_version"].map(version_of, na_action="ignore") == FIRST]
    texts += [RATE] if (at_other_rates["task"] == "logic").any() else []
    return " ".join(texts)


def difference_rows(scores: Sequence[VariantScores], reference: VariantScores, tasks: Tasks) -> list[dict[str, Any]]:
    """Rows of GAINS_COLUMNS: each variant minus the reference, all of one task and model; one family for Holm."""
    rows = [row for variant in scores for row in _gain_rows(variant, reference, tasks[variant.task])]
    for benchmark in dict.fromkeys(row["benchmark"] for row in rows):
        family = [row for row in rows if row["benchmark"] == benchmark]
        for row, adjusted in zip(family, holm([row["p_value"] for row in family]), strict=True):
            row["p_holm"] = float(adjusted)
    return rows


def set_against(row: Mapping[str, Any], published: Published | None) -> dict[str, Any]:
    """The columns published, published_version, published_difference and published_within of a row of an estimate.

    published_within: whether the paper's value, of one run on the same problems and rounded to a tenth, is one that
    another run like ours may give. Its own chance counts as ours does, so [low_fixed, high_fixed], the interval of the
    mean of S runs, is stretched by sqrt(1 + S): with one seed by sqrt(2) for another draw of a run, which says nothing
    of another training run. Where the draws tell nothing of these problems alone (one draw of one seed), it is
    [low, high], which allows for other problems but not for the paper's draws: about as wide, with 0.6 of the variance
    between problems. Missing (None) where there is no interval at all.
    """
    if published is None:
        return {}
    gap = published.value - row["value"]
    return {
        "published": published.value,
        "published_version": published.version,
        "published_difference": _rounded(-gap),
        "published_within": _within(gap, row),
    }


def _within(gap: float, row: Mapping[str, Any]) -> bool | None:
    """Whether another run like ours may lie so far from our value; of a difference, each of its sides."""
    bounds, stretch = (row["low_fixed"], row["high_fixed"]), math.sqrt(1 + _seeds(row))
    if math.isnan(bounds[0]):
        bounds, stretch = (row["low"], row["high"]), 1.0
    low, high = (stretch * (bound - row["value"]) for bound in bounds)
    return None if math.isnan(low) else bool(low - _ROUNDING <= gap <= high + _ROUNDING)


def _seeds(row: Mapping[str, Any]) -> float:
    """Runs behind a value; of a difference, the harmonic mean of its sides, which has the variance of both."""
    if "seeds_variant" not in row:
        return row["n_seeds"]
    return 2 / (1 / row["seeds_variant"] + 1 / row["seeds_reference"])


def _marks(members: Sequence[VariantScores], settings: Mapping[str, Any]) -> dict[tuple[str, str, str, str], str]:
    """(task, model, variant, benchmark) -> "best", "tied" or "", for the variants of one task and model."""
    marks = {}
    for benchmark, names, _ in benchmark_rows(settings):
        scores = {v.variant: [v.results[name].scores for name in names] for v in members}
        values = {name: np.mean([s.mean() for s in arrays]) for name, arrays in scores.items()}
        top = max(values, key=values.get)
        best = {variant for variant, value in values.items() if np.isclose(value, values[top], rtol=0, atol=1e-9)}
        others = [variant for variant in values if variant not in best]
        adjusted = holm([_difference(scores, top, variant).p_value for variant in others])
        # A comparison without a p-value tells nothing apart.
        tied = {variant for variant, p in zip(others, adjusted, strict=True) if not p <= FAMILY_WISE}
        for variant in members:
            mark = "best" if variant.variant in best else "tied" if variant.variant in tied else ""
            marks[variant.task, variant.model, variant.variant, benchmark] = (
                mark if others else ""
            )  # all alike: no best
    return marks


def _difference(scores: Mapping[str, Sequence[np.ndarray]], one: str, other: str) -> Difference:
    return paired_difference(scores[one], scores[other], trained=(one != BASE, other != BASE))


def _gain_rows(variant: VariantScores, reference: VariantScores, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for benchmark, members, about in benchmark_rows(settings):
        ours = [variant.results[m] for m in members]
        theirs = [reference.results[m] for m in members]
        scores = [[r.scores for r in side] for side in (ours, theirs)]
        variances = tuple([r.variances for r in side] for side in (ours, theirs))
        trained = (variant.variant != BASE, reference.variant != BASE)
        difference = paired_difference(*scores, trained=trained)
        sides = [_sizes(ours), _sizes(theirs)]
        seeds = [side["n_seeds"] for side in sides]
        rows.append(
            {
                "task": variant.task,
                "model": variant.model,
                "variant": variant.variant,
                "reference": reference.variant,
                "benchmark": benchmark,
                "metric": settings["metric"],
                **_percent(difference),
                "n_problems": sides[0]["n_problems"],
                "n_draws": min(side["n_draws"] for side in sides),
                "n_seeds": min(number for number, counts in zip(seeds, trained, strict=True) if counts),
                **about,
                **_fixed(paired_difference(*scores, problems="fixed", variances=variances, trained=trained)),
                "p_value": difference.p_value,
                "p_mcnemar": _mcnemar(ours, theirs),
                "seeds_variant": seeds[0],
                "seeds_reference": seeds[1],
            }
        )
    return rows


def _percent(estimate: Estimate) -> dict[str, float]:
    shares = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: _rounded(100 * share) for name, share in shares.items()}


def _fixed(estimate: Estimate) -> dict[str, float]:
    return {"low_fixed": _rounded(100 * estimate.low), "high_fixed": _rounded(100 * estimate.high)}


def _wilson(results: Sequence[Result]) -> dict[str, float]:
    """Wilson's interval where it holds: one benchmark, one draw a problem, one seed."""
    if len(results) > 1 or (answers := results[0].answers) is None:
        return {}
    share = wilson(int(answers.sum()), len(answers))
    return {"wilson_low": _rounded(100 * share.low), "wilson_high": _rounded(100 * share.high)}


def _mcnemar(ours: Sequence[Result], theirs: Sequence[Result]) -> float:
    """McNemar's p-value where it holds, as for `_wilson`."""
    answers = [side[0].answers for side in (ours, theirs)]
    return math.nan if len(ours) > 1 or any(side is None for side in answers) else mcnemar(*answers)


def _rounded(number: float) -> float:
    """As in the CSV, so that what is made from the table and what is made from its file never differ in a digit."""
    return round(float(number), 4)


def _sizes(results: Sequence[Result]) -> dict[str, int]:
    return {
        "n_problems": sum(len(r.draws.problems) for r in results),
        "n_draws": min(r.draws.correct.shape[2] for r in results),
        "n_seeds": results[0].draws.correct.shape[0],
    }
