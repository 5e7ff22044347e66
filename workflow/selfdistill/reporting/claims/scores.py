"""Judges claims on accuracies, on these very problems and on other problems of their kind.

The paper's claims are about its benchmarks, so the first is the verdict; where there is no interval for these problems
(one draw of one seed), the second stands for it. Both speak of other training runs from two seeds on.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from selfdistill.evaluation.comparisons import holm
from selfdistill.evaluation.estimators import PROBLEMS, difference_variances, paired_difference
from selfdistill.evaluation.power import ASSUMED_SEED_SD, Design, Variances, estimate, needed
from selfdistill.reporting.claims.inputs import ClaimInputs, NotRunError
from selfdistill.reporting.claims.intervals import TAIL, Family
from selfdistill.reporting.claims.predicates import GainsBeyond, Gap, Highest
from selfdistill.reporting.claims.soundness import named
from selfdistill.reporting.claims.verdicts import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    POINTS,
    REPRODUCED,
    UNINFORMATIVE,
    Judged,
    of_one_run,
)
from selfdistill.reporting.read.accuracy import counted_benchmarks
from selfdistill.study.matrix import BASE

Accuracy = Gap | Highest | GainsBeyond

SAMPLED, FIXED = PROBLEMS
#: A benchmark on which both methods are right, or wrong, on so large a share cannot tell them apart.
END = 0.95
#: More seeds than these are not worth naming.
MOST_SEEDS = 50


@dataclass(frozen=True)
class Comparison:
    """A variant against one other: its gap in points, with problems sampled and fixed."""

    other: str
    kinds: Mapping[str, Family]

    @property
    def value(self) -> float:
        """Returns the gap."""
        return self.kinds[SAMPLED].value


def judge_scores(predicate: Accuracy, block: ClaimInputs) -> Judged:
    """Return the verdict on a statement about accuracies. Raises NotRunError where what it needs is not there."""
    variant = predicate.variant
    there = [other for other in predicate.others if other in block.variants]
    block.need(variant, *([] if there else predicate.others))
    compared = [_compared(predicate, block, other) for other in there]
    judged = {kind: _verdict(predicate, compared, kind) for kind in PROBLEMS}
    # A refutation needs no complete set of others: who is behind one of them is not the highest.
    if there != list(predicate.others) and NOT_REPRODUCED not in [verdict for verdict, *_ in judged.values()]:
        block.need(*predicate.others)
    bounded = not math.isnan(judged[FIXED][1].kinds[FIXED].bounds()[0])
    main = FIXED if bounded else SAMPLED
    verdict, shown, p_value = judged[main]
    if verdict == REPRODUCED:
        p_value = _least_sure(predicate, compared, main)
    of_kind, *_ = judged[SAMPLED]
    these, kind = (shown.kinds[name].bounds() for name in (FIXED, SAMPLED))
    seeds = min(block.variants[name].seeds for name in (variant, *there) if name != BASE)
    found = Judged(verdict, _statistic(predicate), POINTS, shown.value, *these, seeds, [], "", p_value, of_kind, *kind)
    found.needs = _needs(predicate, block, shown)
    found.why.append(_reason(predicate, found, bounded))
    if len(there) > 1:
        found.why.append(_others(compared, shown))
    if absent := [other for other in predicate.others if other not in there]:
        found.why.append(f"without {', '.join(absent)}, which it takes no more to refute it")
    found = _ends(found, predicate, block, shown.other)
    if failed := block.failed(variant):
        found.why.append(f"{named(failed)} of {variant} failed, so this is of those that did not")
        for name in ("verdict", "of_kind"):
            if getattr(found, name) == REPRODUCED:
                setattr(found, name, INCONCLUSIVE)
    found.why += block.incomplete(variant, *there)
    return of_one_run(found)


def saturated(block: ClaimInputs, variant: str, other: str) -> dict[str, str]:
    """Counted benchmark -> why it cannot tell two variants apart: both at one end, or right on the same problems."""
    found = {}
    for name in counted_benchmarks(block.settings):
        ours, theirs = (block.variants[each].results[name].scores.mean(axis=0) for each in (variant, other))
        shares = ours.mean(), theirs.mean()
        if min(shares) >= END:
            found[name] = "at the ceiling"
        elif max(shares) <= 1 - END:
            found[name] = "at the floor"
        elif np.array_equal(ours, theirs):
            found[name] = "without any difference"
    return found


def _compared(predicate: Accuracy, block: ClaimInputs, other: str) -> Comparison:
    """The gap to one other. Gains out of distribution less those in it are a macro average too, of weighted scores."""
    names, weights = counted_benchmarks(block.settings), {}
    if isinstance(predicate, GainsBeyond):
        inside, outside, count = _weights(block)
        # 1 - score turns a gain round and stays a score.
        weights = dict.fromkeys(outside, 1 / len(outside)) | dict.fromkeys(inside, -1 / len(inside))
    scale = 100 * (count if weights else 1)
    both = [[block.variants[variant].results[name] for name in names] for variant in (predicate.variant, other)]
    weighed = [weights.get(name, 1.0) for name in names]
    scores = [[_weighed(r.scores, w) for r, w in zip(side, weighed, strict=True)] for side in both]
    spread = tuple([r.variances * w**2 for r, w in zip(side, weighed, strict=True)] for side in both)
    how = {"variances": spread, "trained": tuple(name != BASE for name in (predicate.variant, other))}
    how["clusters"] = [result.clusters for result in both[0]]
    how["draws"] = min(result.observations for side in both for result in side)
    if all(a.draws.correct.shape == b.draws.correct.shape and len(a.scores) == 1 for a, b in zip(*both, strict=True)):
        pairs = zip(*both, weighed, strict=True)
        how["of_difference"] = [
            difference_variances(a.draws.correct, b.draws.correct, a.metric, a.together) * w**2 for a, b, w in pairs
        ]

    def at(kind: str) -> Callable[[float], tuple[float, float]]:
        def bounds(level: float) -> tuple[float, float]:
            gap = paired_difference(*scores, problems=kind, level=level, **how)
            return scale * gap.low, scale * gap.high

        return bounds

    value = scale * paired_difference(*scores, **how).value
    return Comparison(other, {kind: Family(value, at(kind)) for kind in PROBLEMS})


def _weighed(scores: np.ndarray, weight: float) -> np.ndarray:
    return weight * scores if weight > 0 else -weight * (1 - scores)


def _weights(block: ClaimInputs) -> tuple[list[str], list[str], int]:
    """Benchmarks in and out of distribution, and their number. Raises NotRunError unless there are both."""
    inside, outside = (counted_benchmarks(block.settings, (where,)) for where in ("in", "out"))
    if not inside or not outside:
        raise NotRunError("needs benchmarks in and out of distribution: the task has one kind only")
    return inside, outside, len(inside) + len(outside)


def _verdict(predicate: Accuracy, compared: Sequence[Comparison], kind: str) -> tuple[str, Comparison, float]:
    """Verdict, the comparison that decides, and its p-value.

    All comparisons must hold, so each at its own level is enough (intersection-union); one that fails is enough to
    refute them all, by Holm's correction over them.
    """
    above, below = predicate.above, predicate.below
    families = [each.kinds[kind] for each in compared]
    ahead = [n for n, family in enumerate(families) if not above < family.value < below]
    if ahead:
        tails = [0.5] * len(families)  # of one that is not ahead: no evidence that it is
        for n in ahead:
            tails[n] = families[n].p_value(lambda level, f=families[n]: f.outside(above, below, level))
        adjusted = holm(tails)
        first = min(ahead, key=lambda n: (adjusted[n], tails[n], families[n].value))
        refuted = adjusted[first] <= TAIL
        return NOT_REPRODUCED if refuted else INCONCLUSIVE, compared[first], float(adjusted[first])
    closest = min(compared, key=lambda each: min(each.value - above, below - each.value))
    if not all(family.inside(above, below) for family in families):
        return INCONCLUSIVE, closest, math.nan
    return REPRODUCED, closest, math.nan


def _least_sure(predicate: Accuracy, compared: Sequence[Comparison], kind: str) -> float:
    """The p-value of all comparisons holding: the largest of theirs."""
    above, below = predicate.above, predicate.below
    families = [each.kinds[kind] for each in compared]
    return max(family.p_value(lambda level, f=family: f.inside(above, below, level)) for family in families)


def _statistic(predicate: Accuracy) -> str:
    if isinstance(predicate, GainsBeyond):
        return f"gain over {predicate.other} out of distribution - in distribution"
    best = "best of " if len(predicate.others) > 1 else ""
    return f"average, {predicate.variant} - {best}{', '.join(predicate.others)}"


def _reason(predicate: Accuracy, found: Judged, bounded: bool) -> str:
    above, below = predicate.above, predicate.below
    wanted = f"between {above:g} and {below:g}"
    if math.isinf(above) or math.isinf(below):
        wanted = f"above {above:g}" if math.isinf(below) else f"below {below:g}"
    where = {
        REPRODUCED: f"the whole interval lies {wanted}",
        NOT_REPRODUCED: f"no part of the interval lies {wanted}",
        INCONCLUSIVE: f"the interval lies partly {wanted}",
    }[found.verdict]
    low, high = (found.low, found.high) if bounded else (found.low_kind, found.high_kind)
    if found.verdict == INCONCLUSIVE and ((low > above and high < below) or high <= above or low >= below):
        where = f"no other is told apart from it after Holm's correction (p = {2 * found.p_value:.2g})"
    return where if bounded else f"{where}; one draw of one run has no interval for these problems"


def _others(compared: Sequence[Comparison], shown: Comparison) -> str:
    best = min(compared, key=lambda each: each.value)
    if best is shown:
        return f"the best of them is {best.other}"
    told = f"shown is the gap to {shown.other}, which is the most certainly ahead"
    return f"the best of them is {best.other} ({best.value:+.1f}); {told}"


def _ends(found: Judged, predicate: Accuracy, block: ClaimInputs, other: str) -> Judged:
    """Name benchmarks that cannot tell the two apart; where they are most, what no difference would satisfy is open."""
    dull = saturated(block, predicate.variant, other)
    if not dull:
        return found
    by_reason: dict[str, list[str]] = {}
    for name, reason in dull.items():
        by_reason.setdefault(reason, []).append(name)
    found.why.append("; ".join(f"{', '.join(names)} {reason}" for reason, names in by_reason.items()))
    names = counted_benchmarks(block.settings)
    groups = _weights(block)[:2] if isinstance(predicate, GainsBeyond) else (names,)
    mostly = any(2 * sum(name in dull for name in group) >= len(group) for group in groups)
    if isinstance(predicate, GainsBeyond):
        spoilt = {REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE} if mostly else set()
    elif predicate.tolerant:
        spoilt = {REPRODUCED, INCONCLUSIVE} if mostly else set()
    else:
        spoilt = {NOT_REPRODUCED, INCONCLUSIVE} if len(dull) == len(names) else set()
    # Who is higher where they can differ is no lower, whatever the others say.
    ahead = isinstance(predicate, Gap) and predicate.tolerant and math.isinf(predicate.below)
    lows = {"verdict": found.low_kind if math.isnan(found.low) else found.low, "of_kind": found.low_kind}
    for name, low in lows.items():
        if getattr(found, name) in spoilt and not (ahead and low > 0):
            setattr(found, name, UNINFORMATIVE)
            found.needs = math.nan
    return found


def _needs(predicate: Accuracy, block: ClaimInputs, shown: Comparison) -> float:
    """Seeds with which these problems would decide it, if the true gap is the one that was found."""
    if isinstance(predicate, GainsBeyond):
        return math.nan
    names = counted_benchmarks(block.settings)
    pair = (predicate.variant, shown.other)
    ours, theirs = ([block.variants[each].results[name].draws.correct for name in names] for each in pair)
    found = estimate(ours, theirs, block.settings["metric"])
    if math.isnan(found.seed) or found.seed <= 0:
        trained = sum(each != BASE for each in pair)
        found = Variances(found.problem, found.run, found.draw, trained * ASSUMED_SEED_SD**2)
    distance = min(abs(shown.value - bound) for bound in (predicate.above, predicate.below) if math.isfinite(bound))
    design = Design(tuple(array.shape[-2] for array in ours), ours[0].shape[-1], 1)
    seeds = needed(distance / 100, found, design, problems=FIXED).seeds
    return seeds if seeds <= MOST_SEEDS else math.inf
