"""Judges claims on training curves, with their controls and premises, and contrasts of two variants."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from selfdistill.reporting.claims.inputs import ClaimInputs, NotRunError, Trace
from selfdistill.reporting.claims.intervals import UNANIMOUS, alike, apart, gap_over_seeds
from selfdistill.reporting.claims.measures import NAMES, Bound, bounds_of, log, measure, seeds_for, spread_of
from selfdistill.reporting.claims.predicates import CHANGE, COLLAPSED, CONTROLS, LENGTH, Against, Curve, Word
from selfdistill.reporting.claims.soundness import BLANK, ENOUGH, collapse, empty, left_open, silent, whole
from selfdistill.reporting.claims.verdicts import (
    FACTOR,
    INCONCLUSIVE,
    NOT_REPRODUCED,
    POINTS,
    PREMISE,
    REPRODUCED,
    SEEN,
    UNSEEN,
    Judged,
    of_one_run,
)

_ALL = "seeds, though an interval over them does not tell it"


def judge_curve(curve: Curve, block: ClaimInputs, steps: float, premise: Curve | None = None) -> Judged:
    """Return the verdict on a word of a curve.

    Args:
        curve: variant, metric and word.
        block: what was run.
        steps: that its runs should have had.
        premise: a fault of another variant without which the word says nothing.

    Raises:
        NotRunError: what it needs is not there.
    """
    block.need(curve.variant)
    if (unmet := _unmet(premise, block, steps)) is not None:
        return unmet
    traces = block.traces(curve.variant, curve.metric)
    bounds = bounds_of(curve.word, list(traces.values()))
    found = _described(curve, bounds)
    reached = _settled(found, bounds, curve.word)
    found.why += _lacking(block, curve.variant, curve.metric, traces)
    lasting = curve.word.of == "end"
    if not curve.word.fault:
        # That something went wrong is seen in part of a run.
        if reached is not False or lasting:
            whole(found, curve.variant, traces, block, steps)
        collapse(found, curve.variant, block)
        if lasting:
            _returned(found, traces, curve.word)
        if premise is not None:  # a fault that one run shows is removed in one run, however many do without it
            found.seeds = min(found.seeds, len(block.traces(premise.variant, premise.metric)))
        return of_one_run(found)
    if not reached or lasting:
        whole(found, curve.variant, traces, block, steps, tolerance=BLANK)
    if lasting:
        _vanished(found, traces, curve.metric)
    if found.verdict == REPRODUCED:
        _controlled(found, curve, block, bounds[0])
    return of_one_run(found)


def judge_against(against: Against, block: ClaimInputs, steps: float, premise: Curve | None = None) -> Judged:
    """The verdict on a measure of a curve over that of another variant's; arguments and errors as `judge_curve`."""
    block.need(against.variant, against.other)
    if (unmet := _unmet(premise, block, steps)) is not None:
        return unmet
    traces = {name: block.traces(name, against.metric) for name in (against.variant, against.other)}
    ours, theirs = ([measure(trace, against.of) for trace in of.values()] for of in traces.values())
    gap, above, below = gap_over_seeds(ours, theirs), log(against.above), log(against.below)
    seeds, needs = min(len(ours), len(theirs)), seeds_for(gap.value, spread_of(ours, theirs), above, below)
    statistic = f"{against.metric}, {NAMES[against.of]}, {against.variant} / {against.other}"
    numbers = [math.exp(bound) for bound in (gap.value, *gap.bounds())]
    found = Judged(INCONCLUSIVE, statistic, FACTOR, *numbers, seeds, [], needs=needs)
    side = apart(ours, theirs)
    if math.isnan(gap.value):
        found.why.append("it begins at 0, so there is no ratio")
    elif seeds == 1:
        found.verdict = REPRODUCED if above < gap.value < below else NOT_REPRODUCED
    elif gap.inside(above, below):
        found.verdict, found.p_value = REPRODUCED, gap.p_value(lambda level: gap.inside(above, below, level))
    elif gap.outside(above, below):
        found.verdict, found.p_value = NOT_REPRODUCED, gap.p_value(lambda level: gap.outside(above, below, level))
    elif side and 0.0 in (above, below):  # one side of no difference: that all lie apart tells it too
        found.verdict = REPRODUCED if (side > 0) == (above == 0.0) else NOT_REPRODUCED
        found.p_value = 1 / math.comb(len(ours) + len(theirs), len(ours))
    if not found.why:
        found.why.append(_where(found, above, below))
    for name, of in traces.items():
        found.why += _lacking(block, name, against.metric, of)
        if name == against.variant or premise is None:
            whole(found, name, of, block, steps)
    return of_one_run(collapse(found, against.variant, block) if against.healthy else found)


def _described(curve: Curve, bounds: Sequence[Bound]) -> Judged:
    """Returns what was measured; of two bounds the measure that went the further."""
    shown = max(bounds, key=lambda bound: abs(np.nan_to_num(np.mean(bound.values), nan=0.0)))
    values, family = shown.values, shown.family
    numbers = (family.value, *family.bounds())
    unit = POINTS if shown.of == "fall" else FACTOR
    numbers = [100 * number if unit == POINTS else math.exp(number) for number in numbers]
    found = Judged(INCONCLUSIVE, f"{curve.metric}, {NAMES[shown.of]}", unit, *numbers, len(values), [])
    found.inside = f"{sum(_held(bounds))} of {len(values)}"
    found.needs = max(seeds_for(b.family.value, spread_of(b.values), b.above, b.below) for b in bounds)
    return found


def _held(bounds: Sequence[Bound]) -> list[bool]:
    """For each seed whether all bounds hold."""
    return [all(map(Bound.holds, bounds, values)) for values in zip(*(bound.values for bound in bounds), strict=True)]


def _settled(found: Judged, bounds: Sequence[Bound], word: Word) -> bool | None:
    """Judges whether the seeds lie in the range: True, False, or None for open. Sets verdict, p-value and reason.

    All of three seeds or more are enough to show a fault, if clearly so, of whose size they do not tell much: sizes so
    unlike that their interval is wide, or all alike.
    """
    n, held, reached, p_value = found.seeds, _held(bounds), None, math.nan
    wanted = (bounds[0].above, bounds[0].below) if word.of == "fall" else (log(word.above), log(word.below))
    why = None
    if any(math.isnan(value) for bound in bounds for value in bound.values):
        why = "it begins at 0, so there is no ratio"
    elif n == 1:
        reached = held[0]
    elif all(bound.family.inside(bound.above, bound.below) for bound in bounds):
        reached, p_value = True, max(_tail(bound, "inside") for bound in bounds)
    elif any(bound.family.outside(bound.above, bound.below) for bound in bounds):
        reached, p_value = False, min(1.0, len(bounds) * min(_tail(bound, "outside") for bound in bounds))
    elif n >= UNANIMOUS and (
        all(bound.clearly_inside for bound in bounds) if word.fault else any(bound.clearly_outside for bound in bounds)
    ):
        reached, p_value, why = word.fault, 0.5**n, f"{n} of {n} {_ALL}"
    elif all(alike(bound.values) or bound.family.inside(bound.above, bound.below) for bound in bounds):
        what = "there is no interval" if math.isnan(found.low) else "of the other end there is no interval"
        why = f"{what}: all seeds are alike, which tells nothing of their spread"
    if reached is not None:
        found.verdict, found.p_value = (REPRODUCED if reached else NOT_REPRODUCED), p_value
    found.why.append(why or _where(found, *wanted))
    return reached


def _tail(bound: Bound, lies: str) -> float:
    family = bound.family
    return family.p_value(lambda level: getattr(family, lies)(bound.above, bound.below, level))


def _where(found: Judged, above: float, below: float) -> str:
    if found.unit == POINTS:
        wanted = f"below {100 * below:.2g}"
    elif math.isinf(below):
        wanted = f"above {math.exp(above):.3g}"
    else:
        wanted = (
            f"between {math.exp(above):.3g} and {math.exp(below):.3g}"
            if above > -math.inf
            else f"below {math.exp(below):.3g}"
        )
    if found.seeds == 1:
        return f"it lies {wanted}" if found.verdict == REPRODUCED else f"it does not lie {wanted}"
    if found.verdict == REPRODUCED:
        return f"the whole interval lies {wanted}"
    if found.verdict == NOT_REPRODUCED:
        return f"no part of the interval lies {wanted}"
    return "there is no interval" if math.isnan(found.low) else f"the interval lies partly {wanted}"


def _vanished(found: Judged, traces: Mapping[int, Trace], metric: str) -> None:
    """What is left of less than a quarter, or was nothing at some step, has not shrunk but collapsed."""
    gone = [
        seed
        for seed, trace in traces.items()
        if measure(trace, "end") <= log(COLLAPSED) or (metric == LENGTH and empty(trace))
    ]
    if not gone:
        return
    found.why.append(f"collapse in {len(gone)} of {len(traces)} seeds: less than a quarter is left, or nothing was")
    found.verdict = NOT_REPRODUCED if 2 * len(gone) >= len(traces) else INCONCLUSIVE
    found.p_value = math.nan


def _returned(found: Judged, traces: Mapping[int, Trace], word: Word) -> None:
    """What fell clearly out of its range on the way has not been kept, though it came back."""
    lowest = [measure(trace, "lowest") for trace in traces.values()]
    out = [low for low in lowest if low < log(word.above) - math.log(CHANGE)] if word.above < 1 else []
    if out and found.verdict == REPRODUCED:
        found.verdict, found.p_value = (NOT_REPRODUCED if 2 * len(out) >= len(traces) else INCONCLUSIVE), math.nan
        found.why.append(f"but {len(out)} of {len(traces)} seeds were down at {math.exp(min(out)):.2f} x on the way")


def _controlled(found: Judged, curve: Curve, block: ClaimInputs, ours: Bound) -> None:
    """What the control does too is no fault of the variant, unless the variant goes beyond it by the same bound."""
    if curve.variant == block.control:
        return
    try:
        others = list(block.traces(block.control or CONTROLS[0], curve.metric).values())
    except NotRunError:
        found.why.append(f"there are no curves of {CONTROLS[0]} to tell whether it does the same")
        return
    word = replace(curve.word, above=0.0) if curve.word.of == "end" else curve.word  # it may shrink further than ours
    (theirs,) = bounds_of(word, others)
    alone, gap = theirs.family, gap_over_seeds(ours.values, theirs.values)
    single = min(len(ours.values), len(theirs.values)) == 1 or alike(theirs.values) or alike(ours.values)
    free = alone.outside(theirs.above, theirs.below) or (single and not any(map(theirs.holds, theirs.values)))
    least = ENOUGH * min(trace.steps for trace in block.traces(curve.variant, curve.metric).values())
    if ended := [max(trace.curve) for trace in others if max(trace.curve) < least]:
        left_open(found)
        found.why.append(f"but {block.control} ended by step {max(ended)}, too early to tell whether it does the same")
        return
    if free or gap.inside(theirs.above, theirs.below) or (single and theirs.holds(gap.value)):
        return
    same = gap.outside(theirs.above, theirs.below)
    found.verdict = NOT_REPRODUCED if same or single else INCONCLUSIVE
    found.p_value = gap.p_value(lambda level: gap.outside(theirs.above, theirs.below, level)) if same else math.nan
    amount = f"{100 * alone.value:+.1f} points" if word.of == "fall" else f"{math.exp(alone.value):.2f} x"
    found.why.append(f"but {block.control} {'does' if same or single else 'may do'} the same ({amount})")


def _unmet(premise: Curve | None, block: ClaimInputs, steps: float) -> Judged | None:
    """None where the fault shows, or none is asked for; else the verdict that follows."""
    if premise is None:
        return None
    found = judge_curve(premise, block, steps)
    if found.verdict in (REPRODUCED, SEEN):
        return None
    refuted = found.verdict in (NOT_REPRODUCED, UNSEEN)
    found.why.insert(0, f"{premise.variant} {'does' if refuted else 'may'} not show the fault")
    found.statistic = f"{premise.variant}: {found.statistic}"
    found.verdict, found.p_value = (PREMISE if refuted else INCONCLUSIVE), math.nan
    return found


def _lacking(block: ClaimInputs, variant: str, metric: str, there: Collection[int]) -> list[str]:
    """Returns which seeds of a variant have no curve, in a phrase."""
    lost = silent(block, variant, there)
    return [f"{variant} without {lost}, which has not {metric} at two steps"] if lost else []
