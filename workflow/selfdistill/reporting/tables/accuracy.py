"""Computes main.csv and gains.csv from draws, a row a number."""

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

from selfdistill.evaluation.comparisons import holm, mcnemar, wilson
from selfdistill.evaluation.estimators import (
    LEVEL,
    Difference,
    Estimate,
    difference_variances,
    interval,
    paired_difference,
    scores_by_seed,
)
from selfdistill.evaluation.power import believed_seed_variance, pooled_seed_variance
from selfdistill.evaluation.variance import Term
from selfdistill.reporting.read.accuracy import REFERENCES, Result, Tasks, VariantScores, benchmark_rows, by_block
from selfdistill.reporting.read.published import FIRST, Published, published_rows, version_of
from selfdistill.reporting.render.csv_tables import columns
from selfdistill.reporting.render.texts import PAPER, RATE, TABLES, THESE_RUNS
from selfdistill.study.matrix import BASE

#: Variants of a block that Holm's correction over all its pairs, at this family-wise rate, cannot tell from its best
#: are called tied.
FAMILY_WISE = 0.05

#: As in the CSV; p-values are rounded last, for corrections are made of them.
P_DIGITS = {"p_value": 4, "p_holm": 4, "p_mcnemar": 4}

PUBLISHED_COLUMNS = ["published", "published_version", "published_difference", "published_within"]
MAIN_COLUMNS = (
    columns(
        "task model variant benchmark metric value low high n_problems n_draws n_seeds distribution counted "
        "response_length truncated truncated_wrong truncated_right low_fixed high_fixed wilson_low wilson_high "
        "by_seed best best_of"
    )
    + PUBLISHED_COLUMNS
)
GAINS_COLUMNS = columns(
    "task model variant reference benchmark metric value low high n_problems n_draws n_seeds distribution "
    "counted low_fixed high_fixed p_value p_holm p_mcnemar seeds_variant seeds_reference"
)

#: The paper's values are rounded to a tenth of a point. The last digits are those of sums of binary fractions.
_ROUNDING = 0.05 + 1e-9
_QUANTILE = NormalDist().inv_cdf((1 + LEVEL) / 2)

OF_METHODS, OF_RUNS = "methods", "these runs"


def main_table(scores: Sequence[VariantScores], tasks: Tasks, version: str = FIRST) -> pd.DataFrame:
    """Return the long table of main.csv: a row for each variant and benchmark, then its averages.

    version: of the paper, whose values stand beside ours.

    value, low, high in percent (95 % interval, other problems of the same kind; from two seeds on also other seeds);
    low_fixed, high_fixed: the same for just these problems; wilson_low, wilson_high: Wilson's, for one draw a problem
    of one seed on one benchmark, else missing; n_problems (groups, where they are scored), n_draws a problem and seed,
    n_seeds (in an average: problems of all its benchmarks, and the fewest draws); distribution ("in", "out", "both");
    counted; response_length in tokens and truncated in percent, means over all draws (in an average: of its
    benchmarks' means); truncated_wrong, truncated_right: the value if all truncated draws were wrong, and if all were
    right; by_seed: the value of each seed, where there are several;
    best: "best" for the highest value of a task, model and benchmark, "tied" for those that paired comparisons (Holm
    over all pairs of the variants, FAMILY_WISE) do not tell from it, and nothing at all where it is told from none;
    best_of: what that speaks of, "methods", or "these runs" where one was trained with one seed only;
    published, published_version: the paper's value, from the latest publication that has it, and that publication;
    published_difference: value minus it; published_within: whether another run like ours may give it (see
    `set_against`).
    """
    marks: dict[tuple[str, str, str, str], str] = {}
    spreads: dict[tuple[str, str, str], float] = {}
    for cell, members in by_block(scores).items():
        marks |= _marks(members, tasks[cell[0]])
        spreads |= {(*cell, name): run_variance(members, parts)[0] for name, parts, _ in benchmark_rows(tasks[cell[0]])}
    of_methods = {cell: _several_seeds(members) for cell, members in by_block(scores).items()}
    rows = []
    for variant in scores:
        cell = variant.task, variant.model
        known = published_rows(variant.model, variant.variant, version)
        published = {p.benchmark: p for p in known if p.task == variant.task}
        for benchmark, members, about in benchmark_rows(tasks[variant.task]):
            results = [variant.results[m] for m in members]
            mark = marks[*cell, variant.variant, benchmark]
            rows.append(
                {
                    "task": variant.task,
                    "model": variant.model,
                    "variant": variant.variant,
                    "benchmark": benchmark,
                    "metric": tasks[variant.task]["metric"],
                    **_percent(level(results)),
                    **_sizes(results),
                    **about,
                    "response_length": rounded(np.mean([r.draws.n_tokens.mean() for r in results])),
                    "truncated": rounded(100 * np.mean([r.draws.truncated.mean() for r in results])),
                    **_truncated(results),
                    **_fixed(level(results, "fixed")),
                    **_wilson(results),
                    "by_seed": _by_seed(results),
                    "best": mark,
                    "best_of": (OF_METHODS if of_methods[cell] else OF_RUNS) if mark else "",
                }
            )
            rows[-1] |= set_against(rows[-1], published.get(benchmark), spreads[*cell, benchmark])
    return pd.DataFrame(rows, columns=MAIN_COLUMNS)


def gains_table(scores: Sequence[VariantScores], tasks: Tasks) -> pd.DataFrame:
    """Return the long table of gains.csv: each variant minus each reference (base, grpo), paired on the same problems.

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
    """How to read main.csv; of the paper only where its values stand beside ours, of runs where marks are of them."""
    compared = table[table["published"].notna()]
    texts = [TABLES["main"].lead]
    texts += [THESE_RUNS] if (table["best_of"] == OF_RUNS).any() else []
    texts += [] if compared.empty else [PAPER]
    at_other_rates = compared[compared["published_version"].map(version_of, na_action="ignore") == FIRST]
    texts += [RATE] if (at_other_rates["task"] == "logic").any() else []
    return " ".join(texts)


def difference_rows(scores: Sequence[VariantScores], reference: VariantScores, tasks: Tasks) -> list[dict[str, Any]]:
    """Rows of GAINS_COLUMNS: each variant minus the reference, all of one task and model; one family for Holm."""
    rows = [row for variant in scores for row in _gain_rows(variant, reference, tasks[variant.task])]
    for benchmark, names, _ in benchmark_rows(tasks[reference.task]) if scores else ():
        family = [row for row in rows if row["benchmark"] == benchmark]
        for row, adjusted in zip(family, holm(family_p(scores, reference, names)), strict=True):
            row["p_holm"] = float(adjusted)
    return rows


def family_p(scores: Sequence[VariantScores], reference: VariantScores, names: Sequence[str]) -> list[float]:
    """p-values of several variants against a reference, for a correction.

    The least of them is often of a pair whose few seeds agree by chance. So runs are taken to vary at least as those of
    all these variants do, and none is smaller than the pair's own.
    """
    of_runs = pooled_seed_variance(_of_trained([*scores, reference], names))
    found = [[difference(v, reference, names, of_runs=least).p_value for least in (None, of_runs)] for v in scores]
    return [float(np.max(pair)) for pair in found]  # nan if one is


def level(results: Sequence[Result], problems: str = "sampled") -> Estimate:
    """Return the macro average of a variant's results, with its interval."""
    scores, variances = [r.scores for r in results], [r.variances for r in results]
    how = {"draws": min(r.observations for r in results), "clusters": [r.clusters for r in results]}
    return interval(scores, problems=problems, variances=variances, **how)


def difference(
    variant: VariantScores,
    reference: VariantScores,
    members: Sequence[str],
    problems: str = "sampled",
    of_runs: Term | None = None,
) -> Difference:
    """The macro average of a variant over these benchmarks minus that of a reference, paired on the same problems.

    With the problems fixed and one seed of each, draws of the same number are taken in pairs. of_runs: as in
    `estimators.paired_difference`.
    """
    sides = [[side.results[member] for member in members] for side in (variant, reference)]
    variances = of_difference = None
    if problems == "fixed":
        variances = tuple([r.variances for r in side] for side in sides)
        if all(a.draws.correct.shape == b.draws.correct.shape for a, b in zip(*sides, strict=True)):
            pairs = zip(*sides, strict=True)
            of_difference = [
                difference_variances(a.draws.correct, b.draws.correct, a.metric, a.together) for a, b in pairs
            ]
    return paired_difference(
        *([r.scores for r in side] for side in sides),
        problems=problems,
        variances=variances,
        of_difference=of_difference,
        draws=min(r.observations for side in sides for r in side),
        clusters=[r.clusters for r in sides[0]],
        trained=(variant.variant != BASE, reference.variant != BASE),
        of_runs=of_runs,
    )


def run_variance(members: Sequence[VariantScores], benchmarks: Sequence[str]) -> tuple[float, bool]:
    """Return the variance of one training run's macro average in a block, and whether it was measured (or is assumed).

    `power.believed_seed_variance` of the variants that were trained.
    """
    return believed_seed_variance(_of_trained(members, benchmarks))


def _of_trained(members: Sequence[VariantScores], benchmarks: Sequence[str]) -> list[list[np.ndarray]]:
    return [[v.results[name].scores for name in benchmarks] for v in members if v.variant != BASE]


def set_against(row: Mapping[str, Any], published: Published | None, of_runs: float) -> dict[str, Any]:
    """The columns published, published_version, published_difference and published_within of a row of an estimate.

    published_within: whether the paper's value, of one run on the same problems and rounded to a tenth, is one that
    another run like ours may give. Its own chance counts as ours does, so [low_fixed, high_fixed], the interval of the
    mean of S runs, is stretched by sqrt(1 + S). With one seed that is another draw of a run, and `of_runs`, the
    variance of a training run (`run_variance`), is added for ours and for the paper's. Where the draws tell nothing of
    these problems alone (one draw of one seed), it is [low, high] in place of a stretched interval, which allows for
    other problems but not for the paper's draws: about as wide, with 0.6 of the variance between problems. Missing
    (None) where there is no interval at all.
    """
    if published is None:
        return {}
    gap = published.value - row["value"]
    return {
        "published": published.value,
        "published_version": published.version,
        "published_difference": rounded(-gap),
        "published_within": _within(gap, row, of_runs),
    }


def _within(gap: float, row: Mapping[str, Any], of_runs: float) -> bool | None:
    """Returns whether another run like ours may lie so far from our value; of a difference, each of its sides."""
    bounds, stretch = (row["low_fixed"], row["high_fixed"]), math.sqrt(1 + _seeds(row))
    if math.isnan(bounds[0]):
        bounds, stretch = (row["low"], row["high"]), 1.0
    trained = sum(row.get(side) not in (None, BASE) for side in ("variant", "reference"))
    widened = 100 * _QUANTILE * math.sqrt(2 * trained * of_runs) if _seeds(row) == 1 else 0.0
    below, above = (math.hypot(stretch * (bound - row["value"]), widened) for bound in bounds)
    return None if math.isnan(below) else bool(-below - _ROUNDING <= gap <= above + _ROUNDING)


def _seeds(row: Mapping[str, Any]) -> float:
    """Runs behind a value; of a difference, the harmonic mean of its sides, which has the variance of both."""
    if "seeds_variant" not in row:
        return row["n_seeds"]
    return 2 / (1 / row["seeds_variant"] + 1 / row["seeds_reference"])


def _several_seeds(members: Sequence[VariantScores]) -> bool:
    """Returns whether all variants that were trained were trained more than once."""
    return all(variant.seeds > 1 for variant in members if variant.variant != BASE)


def _marks(members: Sequence[VariantScores], settings: Mapping[str, Any]) -> dict[tuple[str, str, str, str], str]:
    """(task, model, variant, benchmark) -> "best", "tied" or "", for the variants of one task and model."""
    marks = {}
    for benchmark, names, _ in benchmark_rows(settings):
        values = [np.mean([v.results[name].scores.mean() for name in names]) for v in members]
        apart = told_apart(members, names)
        top = int(np.argmax(values))
        best = {place for place, value in enumerate(values) if np.isclose(value, values[top], rtol=0, atol=1e-9)}
        for place, variant in enumerate(members):
            mark = "best" if place in best else "" if apart[top, place] else "tied"
            marks[variant.task, variant.model, variant.variant, benchmark] = mark if apart[top].any() else ""
    return marks


def told_apart(members: Sequence[VariantScores], names: Sequence[str]) -> np.ndarray:
    """Returns which variants of a block are told apart on these benchmarks, [V, V]: Holm over all pairs, FAMILY_WISE.

    The smallest of many p-values is of a pair whose few seeds seem to agree by chance, so all of the block's seeds say
    by how much runs vary at least.
    """
    of_runs = pooled_seed_variance(_of_trained(members, names))
    pairs = itertools.combinations(members, 2)
    return told_apart_by([difference(*pair, names, of_runs=of_runs).p_value for pair in pairs], len(members))


def told_apart_by(p_values: Sequence[float], count: int) -> np.ndarray:
    """Returns what is told apart, from the p-values of all pairs of `count`, in the order of itertools.combinations."""
    apart = np.zeros((count, count), dtype=bool)
    for (one, other), p_value in zip(itertools.combinations(range(count), 2), holm(p_values), strict=True):
        apart[one, other] = apart[other, one] = p_value <= FAMILY_WISE  # nan tells nothing apart
    return apart


def _gain_rows(variant: VariantScores, reference: VariantScores, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for benchmark, members, about in benchmark_rows(settings):
        ours = [variant.results[m] for m in members]
        theirs = [reference.results[m] for m in members]
        trained = (variant.variant != BASE, reference.variant != BASE)
        gap = difference(variant, reference, members)
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
                **_percent(gap),
                "n_problems": sides[0]["n_problems"],
                "n_draws": min(side["n_draws"] for side in sides),
                "n_seeds": min(number for number, counts in zip(seeds, trained, strict=True) if counts),
                **about,
                **_fixed(difference(variant, reference, members, "fixed")),
                "p_value": gap.p_value,
                "p_mcnemar": _mcnemar(ours, theirs),
                "seeds_variant": seeds[0],
                "seeds_reference": seeds[1],
            }
        )
    return rows


def _percent(estimate: Estimate) -> dict[str, float]:
    shares = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: rounded(100 * share) for name, share in shares.items()}


def _fixed(estimate: Estimate) -> dict[str, float]:
    return {"low_fixed": rounded(100 * estimate.low), "high_fixed": rounded(100 * estimate.high)}


def _truncated(results: Sequence[Result]) -> dict[str, float]:
    """The macro average if all truncated draws were wrong, and if all were right."""
    answers = {
        "truncated_wrong": [r.draws.correct & ~r.draws.truncated for r in results],
        "truncated_right": [r.draws.correct | r.draws.truncated for r in results],
    }
    metric = results[0].metric
    return {
        name: rounded(100 * np.mean([scores_by_seed(c, metric).mean() for c in found]))
        for name, found in answers.items()
    }


def _by_seed(results: Sequence[Result]) -> str:
    """The macro average of each seed in percent, with spaces between them; nothing for one seed."""
    values = 100 * np.mean([r.scores.mean(axis=1) for r in results], axis=0)
    return " ".join(f"{rounded(value):g}" for value in values) if len(values) > 1 else ""


def _wilson(results: Sequence[Result]) -> dict[str, float]:
    """Wilson's interval where it holds: one benchmark, one draw a problem, one seed."""
    if len(results) > 1 or (answers := results[0].answers) is None:
        return {}
    share = wilson(int(answers.sum()), len(answers))
    return {"wilson_low": rounded(100 * share.low), "wilson_high": rounded(100 * share.high)}


def _mcnemar(ours: Sequence[Result], theirs: Sequence[Result]) -> float:
    """McNemar's p-value where it holds, as for `_wilson`."""
    answers = [side[0].answers for side in (ours, theirs)]
    return math.nan if len(ours) > 1 or any(side is None for side in answers) else mcnemar(*answers)


def rounded(number: float) -> float:
    """Rounds as the CSV does, so that what is made from the table and from its file never differs in a digit."""
    return round(float(number), 4)


def _sizes(results: Sequence[Result]) -> dict[str, int]:
    return {
        "n_problems": sum(len(r.draws.problems if r.together is None else np.unique(r.together)) for r in results),
        "n_draws": min(r.draws.correct.shape[2] for r in results),
        "n_seeds": results[0].draws.correct.shape[0],
    }
