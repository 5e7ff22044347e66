"""Judges where a signal sits: on which tokens a teacher speaks, in training and before it."""

import math
from collections.abc import Mapping

import numpy as np

from selfdistill.reporting.claims.inputs import ClaimInputs, NotRunError
from selfdistill.reporting.claims.intervals import Family, alike, over_seeds
from selfdistill.reporting.claims.measures import log, seeds_for, spread_of
from selfdistill.reporting.claims.predicates import Leads, Style
from selfdistill.reporting.claims.soundness import named
from selfdistill.reporting.claims.verdicts import (
    FACTOR,
    INCONCLUSIVE,
    NOT_REPRODUCED,
    REPRODUCED,
    Judged,
    of_one_run,
)


def judge_style(style: Style, block: ClaimInputs) -> Judged:
    """Return the verdict on where a signal sits, seeds paired: signals are of the same tokens. Raises NotRunError."""
    block.need(style.variant)
    rows = block.tokens[block.tokens["variant"] == style.variant]
    if not len(rows):
        raise NotRunError(f"needs recorded tokens of {style.variant}: there are none")
    signals = [style.signal, style.other] if style.other else [style.signal]
    sizes = {seed: [_sizes(part, name) for name in signals] for seed, part in rows.groupby("seed")}
    there = {seed: pair for seed, pair in sizes.items() if not np.isnan(pair).any()}
    needed = f"{' and '.join(signals)} on style and task tokens"
    if not there:
        raise NotRunError(f"needs {needed} of {style.variant}: not recorded")
    logs = [_style_log(*pair[0]) - (_style_log(*pair[1]) if style.other else 0.0) for pair in there.values()]
    family, above, below = over_seeds(logs), log(style.above), log(style.below)
    name = f"{style.signal}, style / task tokens"
    statistic = f"({name}) / ({style.other}, the same)" if style.other else name
    numbers = [math.exp(number) for number in (family.value, *family.bounds())]
    found = Judged(INCONCLUSIVE, statistic, FACTOR, *numbers, len(logs), [])
    found.inside = f"{sum(above < value < below for value in logs)} of {len(logs)}"
    found.needs = seeds_for(family.value, spread_of(logs), above, below)
    _conclude(found, style, family, logs)
    if lost := [seed for seed in sizes if seed not in there]:
        found.why.append(f"{style.variant} without {named(lost)}, which has not {needed}")
    found.why += _few(rows)
    return of_one_run(found)


def _conclude(found: Judged, style: Style, family: Family, logs: list[float]) -> None:
    """Put into a verdict what seeds say of the bounds; logs: of the ratio, one a seed."""
    above, below = log(style.above), log(style.below)
    wanted = f"above {style.above:g}" if math.isinf(below) else f"below {style.below:g}"
    if math.isnan(family.value):
        found.why.append("a mean is 0 or not finite, so there is no ratio")
    elif len(logs) == 1:
        found.verdict = REPRODUCED if above < family.value < below else NOT_REPRODUCED
        found.why.append(f"it {'lies' if found.verdict == REPRODUCED else 'does not lie'} {wanted}")
    else:
        for word, lies, said in (
            (REPRODUCED, family.inside, "the whole interval lies"),
            (NOT_REPRODUCED, family.outside, "no part of the interval lies"),
        ):
            if lies(above, below):
                found.verdict, found.p_value = word, family.p_value(lambda level, f=lies: f(above, below, level))
                found.why.append(f"{said} {wanted}")
        if found.verdict == INCONCLUSIVE:
            partly = f"the interval lies partly {wanted}"
            found.why.append("there is no interval: all seeds are alike" if alike(logs) else partly)


def judge_leads(leads: Leads, block: ClaimInputs) -> Judged:
    """The verdict on where a teacher's divergence sits before training: one number, of one student's rollouts."""
    if leads.variant not in block.planned:
        raise NotRunError(f"needs {leads.variant} (not in the matrix)")
    rows = block.diagnosis
    rows = None if rows is None else rows[rows["teacher"] == leads.teacher]
    if rows is None or not len(rows):
        raise NotRunError(f"needs the diagnosis of {leads.teacher}: there is none")
    shares = [float(rows[f"{kind}_share_paper"].iloc[0]) for kind in (leads.kind, leads.other)]
    factor = shares[0] / shares[1] if shares[1] else math.inf
    inside = leads.above < factor < leads.below or (math.isinf(factor) and math.isinf(leads.below))
    statistic = f"share of KL(student, {leads.teacher}) on {leads.kind} tokens / on {leads.other} tokens"
    found = Judged(REPRODUCED if inside else NOT_REPRODUCED, statistic, FACTOR, factor, math.nan, math.nan, 1, [])
    found.why.append(f"{shares[0]:.0%} of it is on {leads.kind}, {shares[1]:.0%} on {leads.other} tokens")
    return of_one_run(found)


def _sizes(rows: Mapping, signal: str) -> tuple[float, float]:
    """Mean size on style and on task tokens; nan where it was not recorded."""
    sizes = [rows.loc[rows["token_class"] == kind, signal].astype(float) for kind in ("style", "task")]
    style, task = (float(size.iloc[0]) if len(size) else math.nan for size in sizes)
    return style, task


def _few(rows: Mapping) -> list[str]:
    """Returns how many tokens it rests on, where they are few."""
    if "tokens" not in rows:
        return []
    counts = {kind: int(rows.loc[rows["token_class"] == kind, "tokens"].sum()) for kind in ("style", "task")}
    return [f"it rests on {count} {kind} tokens" for kind, count in counts.items() if count < 1000]


def _style_log(style: float, task: float) -> float:
    return math.log(style / task) if 0 < style < math.inf and 0 < task < math.inf else math.nan
