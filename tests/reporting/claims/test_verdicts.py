"""Verdicts on inputs that are built to fool them: what happens in a run between its ends, beside it, and before it."""

from dataclasses import replace

import numpy as np
import pytest
from made_up_blocks import VALIDATED, block, missing

from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.predicates import ENTROPY, LENGTH, REWARD
from selfdistill.reporting.claims.table import claims_table
from selfdistill.reporting.claims.verdicts import (
    INCONCLUSIVE,
    NOT_REPRODUCED,
    NOT_RUN,
    PREMISE,
    REPRODUCED,
    SEEN,
    UNINFORMATIVE,
    UNSEEN,
)
from selfdistill.reporting.tables.accuracy import difference

RIVALS = ("base", "grpo", "opsd", "sdpo", "srpo", "rlsd")
SOURCES = {
    "opsd": ("opsd", "opsd-own_rollout"),
    "rlsd": ("rlsd", "rlsd-own_rollout"),
    "rlcsd": ("rlcsd-one_sided_solution", "rlcsd-one_sided_own_rollout"),
}
C4 = {part: ("C4", part, "sdpo") for part in ("entropy", "length", "reward", "validation")}
C5, C7, C8 = ("C5", "length", "rlsd"), ("C7", "bounded", "opsd_ectr"), ("C8", "kept", "rlsd_ectr")
C6 = {part: ("C6", part, "rlcsd") for part in ("entropy", "length")}
C9 = ("C9", "length", "rlcsd-one_sided_solution")
AGAINST = {claim: (claim, "contrast", variant) for claim, variant in (("C7", "opsd_ectr"), ("C8", "rlsd_ectr"))}

BACK = (1, 1, 7, 1, 1)
EXPLODED, SHRUNK = {ENTROPY: (1, 4)}, {LENGTH: (1, 0.7)}


def found(built, names):
    rows = claims_table([built], claims=[claim for claim in CLAIMS if claim.name in names]).to_dict("records")
    return {(row["claim"], row["part"], row["variant"]): row for row in rows}


def curves(**of):
    """Beside grpo, which is calm, where nothing else is said of it."""
    return {"curves": {"grpo": {}, **{variant.replace("__", "-"): curve for variant, curve in of.items()}}}


def at(steps, value, *, begin=0, end=None, usual=1.0):
    """As many values as steps, another one from a share of them on, to another."""
    values = np.full(steps, usual, dtype=object)
    values[round(begin * steps) : None if end is None else round(end * steps)] = value
    return list(values)


def lost(variant, metric, seeds=(0, 1, 2), first=1, last=480, value="absent"):
    """What becomes of a metric between two steps of some seeds: another value, or it is not there."""
    return {"lost": (variant, metric, seeds, range(first, last + 1), value)}


# What was built, of which family; part -> verdict, and what its reason says.
# fmt: off
CASES = {
    # An excursion that comes back, wherever it is.
    "an entropy explodes and returns": (
        curves(rlcsd={ENTROPY: BACK}, sdpo={ENTROPY: BACK}),
        {C6["entropy"]: (NOT_REPRODUCED, "highest tenth"), C4["entropy"]: (REPRODUCED, "")}),
    "early": (
        curves(rlcsd={ENTROPY: at(480, 7.0, begin=0.03, end=0.08)}, sdpo={ENTROPY: at(480, 7.0, begin=0.03, end=0.08)})
        | {"steps": 480},
        {C6["entropy"]: (NOT_REPRODUCED, "3 of 3 seeds"), C4["entropy"]: (REPRODUCED, "3 of 3 seeds")}),
    "early, and noisy": (
        curves(rlcsd={ENTROPY: (1, 7, 1, 1, 1, 1, 1)}, sdpo={ENTROPY: (1, 7, 1, 1, 1, 1, 1)})
        | {"steps": 480, "noise": 0.03},
        {C6["entropy"]: (NOT_REPRODUCED, ""), C4["entropy"]: (REPRODUCED, "")}),
    "late": (
        curves(rlcsd={ENTROPY: (1, 1, 1, 1, 1, 7, 1)}) | {"steps": 480, "noise": 0.03},
        {C6["entropy"]: (NOT_REPRODUCED, "")}),
    "downwards": (
        curves(rlcsd={ENTROPY: (1, 1, 0.3, 1, 1), LENGTH: (1, 1, 0.4, 1)}),
        {C6["entropy"]: (NOT_REPRODUCED, ""), C6["length"]: (NOT_REPRODUCED, "collapse")}),
    "small": (
        curves(rlcsd={ENTROPY: (1, 1, 1.08, 1)}, sdpo={ENTROPY: (1, 1, 1.3, 1)}),
        {C6["entropy"]: (REPRODUCED, ""), C4["entropy"]: (NOT_REPRODUCED, "")}),
    "a return of some seeds only": (
        curves(rlcsd={ENTROPY: (1, 1)}) | {"factors": (1.0, 1.02, 3.0)},
        {C6["entropy"]: (INCONCLUSIVE, "")}),
    # Too short a run.
    "two steps": (curves(rlcsd={}) | {"steps": 2}, {C6["entropy"]: (INCONCLUSIVE, "step 2")}),
    "40 of 480 steps, all well": (
        curves(sdpo={}, rlsd={}, rlcsd={}) | {"planned": 480},
        {**dict.fromkeys(C4.values(), (INCONCLUSIVE, "ended by step 40 of 384")),
         C5: (INCONCLUSIVE, "ended by step 40"), C6["entropy"]: (INCONCLUSIVE, "ended by step 40")}),
    "40 of the paper's 480": (
        curves(rlcsd={}, sdpo={}) | {"task": "math"},
        {C6["entropy"]: (INCONCLUSIVE, "of 384"), C4["entropy"]: (INCONCLUSIVE, "of 384")}),
    "four fifths are enough": (
        curves(sdpo={}, rlcsd={}) | {"planned": 50},
        {C4["entropy"]: (NOT_REPRODUCED, ""), C6["entropy"]: (REPRODUCED, "")}),
    "just less is not": (
        curves(sdpo={}, rlcsd={}) | {"planned": 51},
        {C4["entropy"]: (INCONCLUSIVE, ""), C6["entropy"]: (INCONCLUSIVE, "")}),
    "short, and exploded already": (
        curves(sdpo=EXPLODED, rlcsd=EXPLODED, rlsd=SHRUNK) | {"planned": 480},
        {C4["entropy"]: (REPRODUCED, ""), C6["entropy"]: (NOT_REPRODUCED, ""), C5: (INCONCLUSIVE, "ended by")}),
    # Collapses.
    "no response is left": (
        curves(rlcsd={LENGTH: (1, 0.5, 0, 0)}, rlsd={LENGTH: (1, 0, 0)}, sdpo={LENGTH: (1, 0)},
               rlcsd__one_sided_solution={LENGTH: (1, 0.5, 0)}, rlsd_ectr={LENGTH: (1, 0)}),
        {C6["length"]: (NOT_REPRODUCED, "collapse"), C6["entropy"]: (NOT_REPRODUCED, "collapse"),
         C5: (NOT_REPRODUCED, "collapse"), C9: (NOT_REPRODUCED, "collapse"), C4["length"]: (NOT_REPRODUCED, ""),
         C8: (PREMISE, "")}),
    "one token is left": (curves(rlsd={LENGTH: (1, 0.01)}), {C5: (NOT_REPRODUCED, "collapse in 3 of 3")}),
    "a shrinkage just within": (curves(rlsd={LENGTH: (1, 0.3)}), {C5: (REPRODUCED, "")}),
    "a collapse just beyond": (curves(rlsd={LENGTH: (1, 0.22)}), {C5: (NOT_REPRODUCED, "collapse")}),
    "no response at the very end": (
        curves(rlcsd={LENGTH: at(480, 0.0, begin=0.98)}, rlsd={LENGTH: [*np.linspace(1, 0.8, 475), *([0.0] * 5)]})
        | {"steps": 480},
        {C6["entropy"]: (NOT_REPRODUCED, "collapse in 3 of 3"), C5: (NOT_REPRODUCED, "collapse")}),
    "shrunk on the way, and back": (
        curves(rlsd=SHRUNK, rlsd_ectr={LENGTH: (1, 0.7, 0.7, 1, 1)}), {C8: (NOT_REPRODUCED, "0.69 x on the way")}),
    "one seed's reward falls, when the others' rise": (
        curves(rlcsd={}) | {"noise": 0.02} | lost("rlcsd", REWARD, (0,), first=20, value=0.0),
        {C6["entropy"]: (INCONCLUSIVE, "collapse in 1 of 3 seeds (seed 0: reward")}),
    "and the premise is of one run": (
        {"family": "knights", "alone": "opsd"} | curves(opsd=EXPLODED, opsd_ectr={})
        | lost("opsd_ectr", REWARD, (0,), first=20, value=0.0),
        {C7: (INCONCLUSIVE, "collapse in 1 of 3 seeds")}),
    "no length from the beginning": (
        curves(rlcsd={LENGTH: (0, 0)}), {C6["length"]: (INCONCLUSIVE, "begins at 0")}),
    "contrast collapses in place of exploding": (
        {"family": "knights"}
        | curves(opsd=EXPLODED, opsd_ectr={ENTROPY: (1, 1.2), LENGTH: (1, 0.15), REWARD: (0.6, 0.2)}),
        {C7: (NOT_REPRODUCED, "collapse in 3 of 3 seeds (seed 0: reward"),
         AGAINST["C7"]: (NOT_REPRODUCED, "collapse")}),
    "the demo's opsd_ectr": (
        {"family": "knights"}
        | curves(opsd=EXPLODED, opsd_ectr={ENTROPY: (1, 2.6, 0.4), LENGTH: (52, 8), REWARD: (0.61, 0.2)}),
        {C7: (NOT_REPRODUCED, "collapse"), AGAINST["C7"]: (NOT_REPRODUCED, "collapse")}),
    "a reward that falls a little": (
        curves(rlcsd={REWARD: (0.5, 0.7, 0.67)}), {C6["entropy"]: (REPRODUCED, ""), C6["length"]: (REPRODUCED, "")}),
    "and more": (
        curves(rlcsd={REWARD: (0.5, 0.7, 0.63)}), {C6["entropy"]: (NOT_REPRODUCED, "collapse in 3 of 3")}),
    "contrast holds": (
        {"family": "knights"} | curves(opsd=EXPLODED, opsd_ectr={ENTROPY: (1, 1.3)}),
        {C7: (REPRODUCED, ""), AGAINST["C7"]: (REPRODUCED, "")}),
    "rlsd_ectr runs to the cap": (
        curves(rlsd=SHRUNK, rlsd_ectr={LENGTH: (1, 1.9)}),
        {C8: (NOT_REPRODUCED, ""), AGAINST["C8"]: (NOT_REPRODUCED, "collapse")}),
    "as grpo does, which is no collapse": (
        {"curves": {"grpo": {LENGTH: (1, 1.7)}, "opsd": EXPLODED, "opsd_ectr": {LENGTH: (1, 1.9)}},
         "family": "knights"},
        {C7: (REPRODUCED, "")}),
    # Premises.
    "nothing to remove": (
        {"family": "knights"} | curves(opsd={}, opsd_ectr={ENTROPY: (1, 0.05)}),
        {C7: (PREMISE, "opsd does not show the fault"), AGAINST["C7"]: (PREMISE, "opsd does not show the fault")}),
    "rlsd grows": (
        curves(rlsd={LENGTH: (1, 1.69)}, rlsd_ectr={}), {C8: (PREMISE, ""), AGAINST["C8"]: (PREMISE, "")}),
    "perhaps something": (
        {"family": "knights", "factors": (0.7, 1.0, 1.4)} | curves(opsd={ENTROPY: (1, 1.6)}, opsd_ectr={}),
        {C7: (INCONCLUSIVE, "opsd may not show the fault")}),
    "the one-sided method was not run": ({"family": "knights"} | curves(opsd_ectr={}), {C7: (NOT_RUN, "needs opsd")}),
    "one run shows what contrast removes in three": (
        {"family": "knights", "alone": "opsd"} | curves(opsd=EXPLODED, opsd_ectr={}),
        {C7: (SEEN, ""), AGAINST["C7"]: (SEEN, "")}),
    # Controls.
    "grpo grows as much": (
        {"curves": {"grpo": {LENGTH: (1, 1.67)}, "sdpo": {LENGTH: (1, 1.7)}}},
        {C4["length"]: (NOT_REPRODUCED, "grpo does the same (1.67 x)")}),
    "grpo grows, sdpo far more": (
        {"curves": {"grpo": {LENGTH: (1, 1.67)}, "sdpo": {LENGTH: (1, 3)}}}, {C4["length"]: (REPRODUCED, "")}),
    "grpo falls too": (
        {"curves": {"grpo": {REWARD: (0.6, 0.3), VALIDATED: (0.6, 0.3)},
                    "sdpo": {REWARD: (0.6, 0.3), VALIDATED: (0.6, 0.1)}}},
        {C4["reward"]: (NOT_REPRODUCED, "grpo does the same"), C4["validation"]: (REPRODUCED, "")}),
    "grpo shrinks too": (
        {"curves": {"grpo": {LENGTH: (1, 0.7)}, "rlsd": SHRUNK}}, {C5: (NOT_REPRODUCED, "grpo does the same")}),
    "grpo grows as much, and ended early": (
        {"curves": {"grpo": {LENGTH: (1, 1.7)}, "sdpo": {LENGTH: (1, 1.7)}}} | lost("grpo", None, first=8),
        {C4["length"]: (INCONCLUSIVE, "grpo ended by step 7, too early")}),
    "and its numbers do": (
        {"curves": {"grpo": {ENTROPY: (1, 4)}, "sdpo": EXPLODED}} | lost("grpo", ENTROPY, first=12, value=None),
        {C4["entropy"]: (INCONCLUSIVE, "grpo ended by step 11")}),
    "no curves of grpo": ({"curves": {"sdpo": EXPLODED}}, {C4["entropy"]: (REPRODUCED, "no curves of grpo")}),
    # Numbers that are none.
    "null from step 51": (
        curves(rlcsd={ENTROPY: at(480, None, begin=0.1), LENGTH: at(480, None, begin=0.1)})
        | {"steps": 480, "noise": 0.01},
        {C6["entropy"]: (INCONCLUSIVE, "seed 0 of rlcsd has no number at 432 of 480 steps (49 to 480)")}),
    "null once": (
        curves(rlcsd={ENTROPY: at(40, None, begin=0.5, end=0.525)}), {C6["entropy"]: (INCONCLUSIVE, "alike")}),
    "null at first": (curves(sdpo={ENTROPY: at(40, None, end=0.3)}), {C4["entropy"]: (INCONCLUSIVE, "no number")}),
    "the reward is null": (
        curves(rlcsd={REWARD: at(40, None, begin=0.5, usual=0.5)}),
        {C6["entropy"]: (INCONCLUSIVE, "rlcsd's reward/mean has no number at 20 of 40 steps")}),
    "exploded, then null": (
        curves(sdpo={ENTROPY: [*np.linspace(1, 4, 20), *([None] * 20)]}),
        {C4["entropy"]: (REPRODUCED, "3 of 3 seeds")}),
    "a seed has no number at all": (
        curves(rlcsd={}, sdpo={}) | {"seeds": 5} | lost("rlcsd", ENTROPY, (4,), value=None),
        {C6["entropy"]: (INCONCLUSIVE, "rlcsd without seed 4"), C6["length"]: (REPRODUCED, "")}),
    "nor has a fault's": (
        curves(sdpo={}) | {"seeds": 5} | lost("sdpo", ENTROPY, (4,), value=None),
        {C4["entropy"]: (INCONCLUSIVE, "sdpo without seed 4")}),
    "the reward is null throughout": (
        curves(rlcsd={}) | lost("rlcsd", REWARD, value=None), {C6["entropy"]: (INCONCLUSIVE, "would go unseen")}),
    "that of one seed was not logged": (
        curves(rlcsd={}) | lost("rlcsd", REWARD, (1,)), {C6["entropy"]: (INCONCLUSIVE, "without seed 1")}),
    "the lengths of grpo were not logged": (
        curves(rlcsd={}) | lost("grpo", LENGTH), {C6["entropy"]: (REPRODUCED, "")}),
    "validated to step 48 only": (
        curves(sdpo={}) | {"steps": 480} | lost("sdpo", VALIDATED, first=49),
        {C4["validation"]: (INCONCLUSIVE, "ended by step 48 of 384")}),
    "half of the validations are null": (
        curves(sdpo={}) | {"steps": 480} | lost("sdpo", VALIDATED, first=150, last=400, value=None),
        {C4["validation"]: (INCONCLUSIVE, "no number")}),
    "an entropy of 0 at first": (
        {"family": "knights", "seeds": 1} | curves(opsd=EXPLODED, opsd_ectr={ENTROPY: at(40, 0.0, end=0.5)}),
        {AGAINST["C7"]: (INCONCLUSIVE, "begins at 0")}),
    # Seeds that failed.
    "two of five seeds failed": (
        curves(rlcsd={}, sdpo=EXPLODED) | {"missing": [missing(v, s) for v in ("rlcsd", "sdpo") for s in (3, 4)]},
        {C6["entropy"]: (INCONCLUSIVE, "seeds 3, 4 of rlcsd failed"), C4["entropy"]: (REPRODUCED, "3 of 5 seeds")}),
    "a seed is not finished": (
        curves(rlcsd={}) | {"missing": [missing("rlcsd", 3, "not finished")]},
        {C6["entropy"]: (REPRODUCED, "3 of 4 seeds")}),
    "a failed seed saves nothing that exploded": (
        curves(rlcsd=EXPLODED) | {"missing": [missing("rlcsd", 3)]}, {C6["entropy"]: (NOT_REPRODUCED, "failed")}),
    "the failed seed of a rival": (
        {"shares": {**dict.fromkeys(RIVALS, (0.4, 0.4)), "rlcsd": (0.8, 0.8)}, "missing": [missing("sdpo", 3)]},
        {("C1", "average", "rlcsd"): (REPRODUCED, "sdpo: 3 of 4 seeds")}),
    "that of rlcsd": (
        {"shares": {**dict.fromkeys(RIVALS, (0.4, 0.4)), "rlcsd": (0.8, 0.8)}, "missing": [missing("rlcsd", 3)]},
        {("C1", "average", "rlcsd"): (INCONCLUSIVE, "seed 3 of rlcsd failed")}),
    # Seeds that agree on a fault whose size they do not agree on.
    "2, 2.1 and 20 times": (
        {"curves": {"sdpo": {}}, "factors": (2.0, 2.1, 20.0)}, {C4["entropy"]: (REPRODUCED, "3 of 3 seeds")}),
    "1.1, 2.1 and 20 times": (
        {"curves": {"sdpo": {}}, "factors": (1.1, 2.1, 20.0)}, {C4["entropy"]: (INCONCLUSIVE, "")}),
    "all three, but one of them hardly": (
        {"curves": {"sdpo": {}}, "factors": (1.6, 2.1, 20.0)}, {C4["entropy"]: (INCONCLUSIVE, "")}),
    "two seeds are not enough for that": (
        {"curves": {"sdpo": {}}, "factors": (2.0, 20.0), "seeds": 2}, {C4["entropy"]: (INCONCLUSIVE, "")}),
    "exactly constant": (
        curves(rlcsd={ENTROPY: at(40, 1.0)}), {C6["entropy"]: (INCONCLUSIVE, "alike, which tells nothing")}),
    # Falls without a scale; baselines that are the beginning.
    "6 % to 2 %": (curves(sdpo={REWARD: (0.06, 0.02)})
        | {"factors": (0.9, 1.0, 1.1)}, {C4["reward"]: (REPRODUCED, "")}),
    "0.4 % to 0.2 %, which is chance": (
        curves(sdpo={REWARD: (0.004, 0.002)}, rlcsd={REWARD: (0.004, 0.002)}),
        {C4["reward"]: (NOT_REPRODUCED, ""), C6["entropy"]: (INCONCLUSIVE, "stays at the floor in seeds 0, 1, 2")}),
    "1.4 % to 0.9 %, which is chance too": (
        curves(rlcsd={REWARD: (0.014, 0.009)}), {C6["entropy"]: (REPRODUCED, "")}),
    "60 % to 58 %": (curves(sdpo={REWARD: (0.6, 0.58)}), {C4["reward"]: (NOT_REPRODUCED, "")}),
    "a fast explosion": (
        curves(sdpo={ENTROPY: [0.3, *np.geomspace(0.3, 1.5, 24), *([1.5] * 455)]}) | {"steps": 480},
        {C4["entropy"]: (REPRODUCED, "3 of 3 seeds")}),
    # One seed.
    "one seed of curves": (
        curves(sdpo=EXPLODED, rlcsd={}, rlsd={}) | {"seeds": 1},
        {C4["entropy"]: (SEEN, ""), C4["length"]: (UNSEEN, ""), C6["entropy"]: (SEEN, ""), C5: (UNSEEN, "")}),
    "one seed that is too short": (
        curves(sdpo={}, rlcsd={}) | {"seeds": 1, "planned": 480},
        {C4["entropy"]: (INCONCLUSIVE, ""), C6["entropy"]: (INCONCLUSIVE, "")}),
    "one seed of accuracies": (
        {"shares": {**dict.fromkeys(RIVALS, (0.4, 0.4)), "rlcsd": (0.8, 0.8)}, "seeds": 1},
        {("C1", "average", "rlcsd"): (SEEN, "one draw of one run"), ("C2", "base", "rlcsd"): (SEEN, "")}),
    "one seed that is behind": (
        {"shares": {**dict.fromkeys(RIVALS, (0.8, 0.8)), "rlcsd": (0.4, 0.4)}, "seeds": 1},
        {("C1", "average", "rlcsd"): (UNSEEN, "")}),
    # Rivals.
    "ahead by 20 points, and another is missing": (
        {"shares": {**dict.fromkeys(RIVALS[:4], (0.4, 0.4)), "rlsd": (0.8, 0.8), "rlcsd": (0.6, 0.6)}},
        {("C1", "average", "rlcsd"): (NOT_REPRODUCED, "without srpo")}),
    "ahead of all, but one is missing": (
        {"shares": {**dict.fromkeys(RIVALS[:5], (0.4, 0.4)), "rlcsd": (0.6, 0.6)}},
        {("C1", "average", "rlcsd"): (NOT_RUN, "needs rlsd")}),
    "ahead of no more than the base": (
        {"shares": {"base": (0.4, 0.4), "rlcsd": (0.6, 0.6)}}, {("C1", "average", "rlcsd"): (NOT_RUN, "needs grpo")}),
    # Floor and ceiling.
    "all at the ceiling": (
        {"shares": {v: (0.97 + n / 400, 0.98) for n, v in enumerate(("rlcsd", "grpo", *sum(SOURCES.values(), ())))}},
        {("C2", "grpo", "rlcsd"): (UNINFORMATIVE, "near, far at the ceiling"),
         ("C10", "source", "rlsd-own_rollout"): (UNINFORMATIVE, "ceiling")}),
    "all at the floor": (
        {"shares": {v: (0.03, 0.01 + n / 400) for n, v in enumerate(("rlcsd", "grpo"))}},
        {("C2", "grpo", "rlcsd"): (UNINFORMATIVE, "near, far at the floor")}),
    "identical": (
        {"shares": dict.fromkeys(("rlcsd", "grpo", *sum(SOURCES.values(), ())), (0.5, 0.4))},
        {("C2", "grpo", "rlcsd"): (UNINFORMATIVE, "without any difference"),
         **{("C10", "source", f"{m}-own_rollout"): (UNINFORMATIVE, "") for m in ("opsd", "rlsd")},
         ("C10", "source", "rlcsd-one_sided_own_rollout"): (UNINFORMATIVE, "")}),
    "half of the benchmarks at the ceiling": (
        {"shares": {"rlcsd": (0.98, 0.5), "grpo": (0.99, 0.505)}},
        {("C2", "grpo", "rlcsd"): (UNINFORMATIVE, "near at")}),
    "half at the floor, and higher elsewhere": (
        {"shares": {"rlcsd": (0.0, 0.5), "grpo": (0.0, 0.3)}}, {("C2", "grpo", "rlcsd"): (REPRODUCED, "near at")}),
    "at the ceiling, and worse elsewhere": (
        {"shares": {"rlcsd": (0.98, 0.3), "grpo": (0.99, 0.6)}},
        {("C2", "grpo", "rlcsd"): (NOT_REPRODUCED, "near at")}),
    "out of distribution at the floor": (
        {"family": "knights", "shares": {"rlcsd": (0.7, 0.0), "grpo": (0.5, 0.01), "base": (0.4, 0.0)}},
        {("C3", "base", "rlcsd"): (UNINFORMATIVE, "far at the floor"), ("C3", "grpo", "rlcsd"): (UNINFORMATIVE, "")}),
    "one method only at the ceiling": (
        {"shares": {"rlcsd": (0.98, 0.98), "base": (0.5, 0.5)}}, {("C2", "base", "rlcsd"): (REPRODUCED, "")}),
    # Tokens.
    "style 1 % above task": (
        {"shares": {"rlcsd": (0.5, 0.5)}, "sizes": {"style": (0.101, 0.1), "task": (0.1, 0.1)}},
        {("C11", "style", "rlcsd"): (INCONCLUSIVE, "")}),
    "style well above task": (
        {"shares": {"rlcsd": (0.5, 0.5)}, "sizes": {"style": (0.26, 0.1), "task": (0.08, 0.1)}},
        {("C11", "style", "rlcsd"): (REPRODUCED, ""), ("C11", "contrast", "rlcsd"): (REPRODUCED, "")}),
    "all seeds alike": (
        {"shares": {"rlcsd": (0.5, 0.5)}, "sizes": {"style": (0.26, 0.1), "task": (0.08, 0.1)}, "factors": (1, 1, 1)},
        {("C11", "style", "rlcsd"): (INCONCLUSIVE, "no interval: all seeds are alike")}),
    # The paper's own curves.
    "the paper's curves": (
        curves(sdpo={ENTROPY: (0.35, 0.6, 0.9), LENGTH: (8500, 10700), REWARD: (0.6, 0.4), VALIDATED: (0.7, 0.5)},
               opsd={ENTROPY: (0.35, 0.41)}, rlsd={LENGTH: (8800, 7200)}, rlsd_ectr={LENGTH: (8800, 8000)},
               rlcsd={ENTROPY: (0.35, 0.33), LENGTH: (8300, 8300)}) | {"steps": 480, "noise": 0.03},
        {**dict.fromkeys(C4.values(), (REPRODUCED, "")), ("C4", "entropy", "opsd"): (NOT_REPRODUCED, ""),
         C5: (REPRODUCED, ""), **dict.fromkeys(C6.values(), (REPRODUCED, "")), C8: (REPRODUCED, "")}),
}
# fmt: on


@pytest.mark.parametrize("case", CASES)
def test_verdicts(case):
    built, wanted = CASES[case]
    built = dict(built)
    alone, (variant, metric, seeds, steps, value) = built.pop("alone", None), built.pop("lost", [""] * 5)
    whole = block(**built)
    for seed in seeds:
        if metric is None:
            whole.metrics[variant][seed] = [r for r in whole.metrics[variant][seed] if r["step"] not in steps]
        for record in whole.metrics[variant][seed]:
            if record["step"] in steps and metric in record:
                record[metric] = value
                if value == "absent":
                    del record[metric]
    if alone:
        whole.metrics[alone] = {0: whole.metrics[alone][0]}
    rows = found(whole, {claim for claim, *_ in wanted})
    for key, (verdict, reason) in wanted.items():
        row = rows[key]
        assert row["verdict"] == verdict, (key, row["estimate"], row["why"])
        assert reason in f"{row['why']}; {row['statistic']}", (key, row["why"])
        if "ended by step" in reason:  # it takes longer runs, and not more of them
            assert np.isnan(row["needs"]), key


def test_variants_of_one_problem_are_drawn_together_as_in_the_tables():
    """Every problem four times: the interval over problems is that of a quarter as many."""
    built = block(shares={"rlcsd": (0.6, 0.6), **dict.fromkeys(RIVALS, (0.5, 0.5))}, seeds=1, draws=4)
    rows = [found(built, ["C1"])["C1", "average", "rlcsd"]]
    for scores in built.variants.values():
        for name, result in scores.results.items():
            numbers = tuple(str(p // 4) for p in range(len(result.draws.problems)))
            scores.results[name] = replace(result, draws=replace(result.draws, clusters=numbers))
    rows.append(found(built, ["C1"])["C1", "average", "rlcsd"])
    alone, together = (row["high_kind"] - row["low_kind"] for row in rows)
    assert together > 1.8 * alone
    table = difference(built.variants["rlcsd"], built.variants["rlsd"], ["near", "far"])
    assert (rows[1]["low_kind"], rows[1]["high_kind"]) == pytest.approx((100 * table.low, 100 * table.high))
