"""Every method, with its switches turned, against the loops that its own file of tests spells out."""

import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.methods import METHODS

from . import (
    test_grpo,
    test_opd,
    test_opsd,
    test_opsd_ectr,
    test_rlcsd,
    test_rlsd,
    test_rlsd_ectr,
    test_sdpo,
    test_sdpo_official,
    test_srpo,
    test_tc_rlsd,
)

LOOPS = [
    (test_grpo.slow_grpo, test_grpo.SWITCHES),
    (test_opsd.slow_opsd, test_opsd.SWITCHES),
    (test_sdpo.slow_sdpo, test_sdpo.SWITCHES),
    (test_sdpo_official.slow_sdpo_official, test_sdpo_official.SWITCHES),
    (test_srpo.slow_srpo, test_srpo.SWITCHES),
    (test_rlsd.slow_rlsd, test_rlsd.SWITCHES),
    (test_rlcsd.slow_rlcsd, test_rlcsd.SWITCHES),
    (test_opsd_ectr.slow_opsd_ectr, test_opsd_ectr.SWITCHES),
    (test_rlsd_ectr.slow_rlsd_ectr, test_rlsd_ectr.SWITCHES),
    (test_tc_rlsd.slow_loss, test_tc_rlsd.SWITCHES),
    (test_opd.slow_opd, test_opd.SWITCHES),
    (test_opd.slow_divergence, test_opd.DIVERGENCES),
]
CASES = [pytest.param(method, loops, id=str(method)) for loops, switches in LOOPS for method in switches]
#: Distil only: what the student learns is the teacher, whatever the rewards.
DISTILLED = test_opsd.SWITCHES + test_sdpo.SWITCHES + test_opd.DIVERGENCES
DISTILLED += [each for each in test_sdpo_official.SWITCHES if not each.grpo_share]


def test_every_method_is_there():
    assert {type(method) for _, switches in LOOPS for method in switches} == set(METHODS.values())


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(("method", "loops"), CASES)
def test_agrees_with_loops(random_case, measured, agree, slow, method, loops, aggregation):
    for hints in (1, 3) if method.needs.wrong_hints else (3,):
        for seed in range(4):
            case = random_case(seed, method.needs, hints=hints)
            agree(measured(method, case, aggregation), loops(slow, method, case, aggregation))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("method", DISTILLED, ids=str)
def test_a_teacher_who_agrees_teaches_nothing(random_case, measured, method, aggregation):
    for seed in range(5):
        loss, gradient, logged = measured(method, random_case(seed, method.needs).with_agreeing_teacher(), aggregation)
        assert loss == pytest.approx(0, abs=1e-12)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
        assert logged["signal/teacher_gap_abs_mean"] == 0
