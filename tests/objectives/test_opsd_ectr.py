import math
from dataclasses import replace

import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.batch import Needs, Support
from selfdistill.objectives.divergences import divergence
from selfdistill.objectives.opsd import OPSD
from selfdistill.objectives.opsd_ectr import OPSDECTR

SWITCHES = [
    OPSDECTR(top_k=3),
    OPSDECTR(top_k=3, cw_tau=0.0),
    OPSDECTR(top_k=3, ectr_alpha=0.0, cw_tau=0.01),
    OPSDECTR(top_k=3, ectr_alpha=2.0, log_w_floor=-1.0, token_clip=None),
    OPSDECTR(top_k=3, log_w_floor=0.0, beta=0.5),
    OPSDECTR(top_k=3, tail=False, beta=1.0, token_clip=0.2),
    OPSDECTR(top_k=0, beta=0.3),
    OPSDECTR(top_k=0, log_w_floor=None, cw_from="wrong"),  # the paper's second version, to the letter
    OPSDECTR(top_k=3, log_w_floor=None, cw_from="wrong", cw_tau=0.1),
    OPSDECTR(),  # 100 ids: the whole vocabulary, and a tail of nothing
]


def slow_opsd_ectr(slow, method, case, aggregation):
    """D_beta(S, q) g with q ~ p_c (p_c / max(p_w, e^floor))^a, g = KL / (KL + cw_tau), KL(p_c || p_w) or the other."""
    places = case.places(hinted=True)
    rows = slow.distilled(case, aggregation)
    a = method.ectr_alpha
    least = 0.0 if method.log_w_floor is None else math.exp(method.log_w_floor)

    def wrong(at):
        return slow.distribution(at.wrong_support, method.top_k, method.tail)

    def target(at, correct):
        raw = [c ** (1 + a) / max(w, least) ** a for c, w in zip(correct, wrong(at), strict=True)]
        return [q / sum(raw) for q in raw]

    def free(at, student, clip=None):
        read, correct = slow.pair(at, student, method)
        return slow.divergence(read, target(at, correct), method.beta, clip)

    def clipped(at, student):
        return free(at, student, method.token_clip)

    def contrast(at, student):
        if method.cw_tau == 0:
            return 1.0
        pair = [wrong(at), slow.pair(at, student, method)[1]]
        apart = slow.divergence(*(pair if method.cw_from == "correct" else reversed(pair)), 0.0).real
        return apart / (apart + method.cw_tau)

    loss = slow.loss(case, slow.shares(places, aggregation, rows), lambda at, s: clipped(at, s) * contrast(at, s))
    logged = {
        "signal/divergence_mean": free,
        "signal/clipped_share": lambda at, student: float(clipped(at, student).real != free(at, student).real),
        "signal/contrast_weight_mean": contrast,
        "signal/teacher_gap_abs_mean": lambda at, student: abs(math.log(at.correct / student[at.sampled])),
    }
    return *loss, slow.means(case, {name: (places, function) for name, function in logged.items()})


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("reading", [{"top_k": 3}, {"top_k": 3, "tail": False}, {"top_k": 0}])
def test_without_contrast_it_is_opsd(random_case, measured, agree, reading, beta, aggregation):
    method = OPSDECTR(**reading, beta=beta, ectr_alpha=0.0, cw_tau=0.0)
    for seed in range(5):
        case = random_case(seed, method.needs)
        found, expected = (measured(each, case, aggregation) for each in (method, OPSD(**reading, beta=beta)))
        agree(found[:2], expected[:2])
        assert found[2].pop("signal/contrast_weight_mean", 1.0) == 1
        assert found[2] == pytest.approx(expected[2])


@pytest.mark.parametrize("method", [each for each in SWITCHES if each.cw_tau > 0], ids=str)
def test_equal_hints_teach_nothing(random_case, measured, method):
    for seed in range(10):
        case = random_case(seed, method.needs)
        loss, gradient, logged = measured(method, case.changed(wrong_support=case.batch.correct_support), "tokens")
        assert loss == pytest.approx(0, abs=1e-12)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-12)
        assert 0 <= logged.get("signal/contrast_weight_mean", 0.0) < 1e-12


def test_hints_that_differ_by_rounding_weigh_no_less_than_nothing():
    correct = torch.randn(50, 9, generator=torch.Generator().manual_seed(0)).log_softmax(dim=-1)
    wrong = torch.nextafter(correct, torch.zeros_like(correct))
    assert divergence(wrong, correct, 0.0).min() < 0
    for tau in (1e-8, 1.0):
        weight = OPSDECTR(cw_tau=tau).contrast_weight(correct, wrong)
        assert weight.min() == 0
        assert weight.max() <= 1


def test_equal_hints_without_contrast_weight_are_the_teacher_itself():
    probabilities = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    torch.testing.assert_close(OPSDECTR().target(probabilities, probabilities), probabilities, rtol=1e-12, atol=1e-12)


def test_the_target_known_by_hand():
    correct, wrong = torch.tensor([0.8, 0.2]).double().log(), torch.tensor([0.5, 0.5]).double().log()
    raw = 0.8**1.5 / 0.5**0.5, 0.2**1.5 / 0.5**0.5
    expected = torch.tensor([raw[0] / sum(raw), raw[1] / sum(raw)]).double()
    torch.testing.assert_close(OPSDECTR().target(correct, wrong).exp(), expected)


def test_the_floor_keeps_what_the_wrong_hint_all_but_excludes_from_running_away():
    correct = torch.tensor([0.9, 0.1], dtype=torch.float64).log()
    wrong = torch.tensor([1 - 1e-12, 1e-12], dtype=torch.float64).log()
    free = OPSDECTR(log_w_floor=-100.0).target(correct, wrong).exp()
    floored = OPSDECTR().target(correct, wrong).exp()
    assert free[1] > 0.99
    raw = 0.9**1.5, 0.1**1.5 / math.exp(-5.0) ** 0.5
    assert float(floored[1]) == pytest.approx(raw[1] / sum(raw), rel=1e-9)


@pytest.mark.parametrize("tau", [0.25, 1.0, 4.0])
def test_the_contrast_weight_is_one_half_where_the_hints_differ_by_tau(tau):
    correct = torch.tensor([[1 - 1e-12, 1e-12]], dtype=torch.float64).log()
    wrong = torch.tensor([[math.exp(-tau), 1 - math.exp(-tau)]], dtype=torch.float64).log()
    method = OPSDECTR(cw_tau=tau)
    assert float(method.contrast_weight(correct, wrong)) == pytest.approx(0.5, rel=1e-6)
    assert float(method.contrast_weight(correct, correct)) == 0
    # KL(correct || wrong), not the other way round: that one is all but boundless here
    assert float(replace(method, cw_from="wrong").contrast_weight(correct, wrong)) > 0.5
    assert replace(method, cw_tau=0.0).contrast_weight(correct, wrong).tolist() == [1.0]


def test_without_floor_the_target_is_the_softmax_of_mixed_logits():
    correct, wrong = torch.randn(2, 40, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 20
    target = OPSDECTR(log_w_floor=None).target(correct.log_softmax(dim=-1), wrong.log_softmax(dim=-1))
    torch.testing.assert_close(target, (1.5 * correct - 0.5 * wrong).log_softmax(dim=-1), rtol=1e-9, atol=1e-9)


def test_the_weight_scales_the_loss_and_not_its_denominator(random_case):
    method = OPSDECTR(top_k=3)
    batch = random_case(1, method.needs).batch
    weights = method.targets(batch, "tokens").weights
    assert torch.equal(weights, OPSD(top_k=3).targets(batch, "tokens").weights)


def test_what_it_needs():
    needs = Needs(correct_hint=True, wrong_hints=True, mixed_groups=True, support=Support("teacher", 100))
    assert OPSDECTR().needs == needs
    assert OPSDECTR(top_k=0).needs.support == Support("teacher", 0)
