"""Finds what keeps a curve from showing that all went well: runs that are short, have gaps, failed or collapsed."""

import math
from collections.abc import Collection, Mapping

from selfdistill.reporting.claims.inputs import ClaimInputs, NotRunError, Trace
from selfdistill.reporting.claims.measures import falls_and_bests, least_fall, log, measure
from selfdistill.reporting.claims.predicates import BOUNDED, LENGTH, REWARD
from selfdistill.reporting.claims.verdicts import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Judged

#: Share of the planned steps that a run needs before it can show that something does not happen, and the least number.
ENOUGH, LEAST_STEPS = 0.8, 10
#: Share of steps without a number that still lets a run show that a fault is absent.
BLANK = 0.05
#: A run whose reward is never above this has hardly been trained, and shows nothing by staying as it was.
FLOOR = 0.01


def whole(
    found: Judged, variant: str, traces: Mapping[int, Trace], block: ClaimInputs, steps: float, tolerance: float = 0.0
) -> Judged:
    """Leave open what takes whole runs of all seeds where they are not.

    Args:
        found: the verdict so far; reasons are added to it.
        variant: whose runs have to be whole.
        traces: of them.
        block: theirs; its failed seeds count against "reproduced".
        steps: that the runs should have had.
        tolerance: share of steps that may be without a number, if not among the last; then failed seeds are no matter.
    """
    needed = math.ceil(max(ENOUGH * steps, LEAST_STEPS))
    short = {seed: trace.steps for seed, trace in traces.items() if trace.steps < needed}
    if short:
        found.why.append(f"{named(short)} of {variant} ended by step {max(short.values())} of {needed} that it takes")
    blank = {seed: trace for seed, trace in traces.items() if trace.blank}
    for seed, trace in blank.items():
        found.why.append(_blank(variant, seed, trace))
    gaps = any(
        trace.blank_share > tolerance or trace.blank[-1] > (1 - 0.1 * (tolerance > 0)) * trace.steps
        for trace in blank.values()
    )
    absent = silent(block, variant, traces)
    failed = [] if tolerance else block.failed(variant)
    if failed:
        found.why.append(f"{named(failed)} of {variant} failed, which may be how it went wrong")
    if short or gaps or absent or (failed and found.verdict == REPRODUCED):
        left_open(found)
    return found


def collapse(found: Judged, variant: str, block: ClaimInputs) -> Judged:
    """Refute what claims health where most runs collapsed, and leave it open where some did.

    A run has collapsed where its reward fell, or its responses left the band around their first length, on whose upper
    side the control's own growth is allowed.
    """
    faults: dict[int, list[str]] = {}
    unseen = []
    for metric, of_seeds in ((REWARD, _falls), (LENGTH, _lengths)):
        try:
            traces = block.traces(variant, metric)
        except NotRunError:
            unseen.append(f"{variant} has no numbers of {metric}, so a collapse of it would go unseen")
            continue
        if lost := silent(block, variant, traces):
            unseen.append(f"{variant} without {lost}, which has not {metric}: a collapse would go unseen")
        unseen += [_blank(f"{variant}'s {metric}", seed, trace) for seed, trace in traces.items() if trace.blank]
        if metric == REWARD and (idle := [seed for seed, trace in traces.items() if trace.values.max() <= FLOOR]):
            unseen.append(f"the reward of {variant} stays at the floor in {named(idle)}: little there to learn from")
        for seed, what in of_seeds(traces, variant, block).items():
            faults.setdefault(seed, []).append(what)
    if faults:
        seeds = len(block.metrics[variant])
        said = "; ".join(f"seed {seed}: {', '.join(what)}" for seed, what in sorted(faults.items()))
        found.why.append(f"collapse in {len(faults)} of {seeds} seeds ({said})")
        if found.verdict != NOT_REPRODUCED:
            left_open(found)
            found.verdict = NOT_REPRODUCED if 2 * len(faults) >= seeds else INCONCLUSIVE
    elif unseen and found.verdict == REPRODUCED:
        left_open(found)
        found.why += [text for text in unseen if text not in found.why]
    return found


def left_open(found: Judged) -> None:
    """Make a verdict inconclusive for a reason that no number of further seeds is known to remove."""
    found.verdict, found.p_value, found.needs = INCONCLUSIVE, math.nan, math.nan


def silent(block: ClaimInputs, variant: str, there: Collection[int]) -> str:
    """The seeds of a variant that have draws, and no curve among those `there`: by name, where metrics tell one."""
    logged = [seed for seed in block.metrics[variant] if seed not in there]
    if logged:
        return named(logged)
    count = block.variants[variant].seeds - len(block.metrics[variant])
    return f"{count} seed{'s' if count > 1 else ''}" if count > 0 else ""


def named(seeds: Collection[int]) -> str:
    """`seed 1`, `seeds 0, 2`."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, sorted(seeds)))}"


def empty(trace: Trace) -> bool:
    """Returns whether at some step not one response had a token, where at the first there were some."""
    return bool(trace.values[0] > 0 >= trace.values.min())


def _blank(variant: str, seed: int, trace: Trace) -> str:
    where = f"{len(trace.blank)} of {trace.steps} steps ({trace.blank[0]} to {trace.blank[-1]})"
    return f"seed {seed} of {variant} has no number at {where}"


def _falls(traces: Mapping[int, Trace], variant: str, block: ClaimInputs) -> dict[int, str]:
    fallen = dict(zip(traces, falls_and_bests(list(traces.values())), strict=True))
    lost = {seed: fall for seed, (fall, best) in fallen.items() if fall < -least_fall(best)}
    return {seed: f"reward {100 * fall:+.0f} points" for seed, fall in lost.items()}


def _lengths(traces: Mapping[int, Trace], variant: str, block: ClaimInputs) -> dict[int, str]:
    try:
        control = block.traces(block.control, LENGTH) if block.control not in ("", variant) else {}
    except NotRunError:
        control = {}
    usual = max([0.0, *(measure(trace, "highest") for trace in control.values())])
    found = {}
    for seed, trace in traces.items():
        low, high = measure(trace, "lowest"), measure(trace, "highest")
        if empty(trace):
            low = -math.inf
        if low < -log(BOUNDED) or high > log(BOUNDED) + usual:
            found[seed] = f"length {math.exp(low if low < -log(BOUNDED) else high):.2g} x"
    return found
