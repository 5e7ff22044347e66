"""Judges any part of a claim on one block."""

import math
from dataclasses import replace

from selfdistill.reporting.claims.curves import judge_against, judge_curve
from selfdistill.reporting.claims.inputs import ClaimInputs, NotRunError
from selfdistill.reporting.claims.predicates import Against, Alone, Claim, Curve, Gap, Leads, Part, Style
from selfdistill.reporting.claims.scores import judge_scores
from selfdistill.reporting.claims.signals import judge_leads, judge_style
from selfdistill.reporting.claims.verdicts import NOT_RUN, Judged


def judge(part: Part, claim: Claim, block: ClaimInputs) -> Judged:
    """Return the verdict; NOT_RUN with the reason where what the part needs is not there."""
    predicate, steps = part.predicate, max(block.steps, claim.steps.get(block.task, 0))
    try:
        if isinstance(predicate, Curve):
            found = judge_curve(predicate, block, steps, part.premise)
        elif isinstance(predicate, Against):
            found = judge_against(predicate, block, steps, part.premise)
        elif isinstance(predicate, Style):
            found = judge_style(predicate, block)
        elif isinstance(predicate, Leads):
            found = judge_leads(predicate, block)
        elif isinstance(predicate, Alone):
            return judge_alone(predicate, block)
        else:
            return judge_scores(predicate, block)
    except NotRunError as absence:
        of_kind = NOT_RUN if predicate.accuracy else ""
        return Judged(NOT_RUN, "", "", math.nan, math.nan, math.nan, 0, [str(absence)], of_kind=of_kind)
    found.why += block.incomplete(*part.needs)
    return found


def judge_alone(alone: Alone, block: ClaimInputs) -> Judged:
    """Return the verdict on two models by themselves, paired on the same problems. Raises NotRunError."""
    if absent := [model for model in (alone.model, alone.other) if model not in block.untrained]:
        raise NotRunError(f"needs {', '.join(absent)} evaluated without training (not in the matrix)")
    variants = {model: block.untrained[model] for model in (alone.model, alone.other)}
    gap = Gap(alone.model, alone.other, alone.above, alone.below)
    return judge_scores(gap, replace(block, variants=variants, missing=[]))
