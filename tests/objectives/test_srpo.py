import math
from dataclasses import replace

import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.grpo import GRPO
from selfdistill.objectives.sdpo import SDPO
from selfdistill.objectives.srpo import SRPO

PLAIN = SRPO(top_k=3)
SWITCHES = [
    PLAIN,
    SRPO(top_k=3, routing="advantage_sign"),
    SRPO(top_k=3, entropy_beta=0.0),
    SRPO(top_k=3, entropy_beta=7.0, is_clip=1.1),
    SRPO(alpha=0.0, top_k=3, tail=False, epsilon_low=0.1, epsilon_high=0.3, dual_clip=1.5),
    SRPO(alpha=0.3, top_k=0, routing="advantage_sign"),
    SRPO(),  # 100 ids: the whole vocabulary, and a tail of nothing
]


def slow_srpo(slow, method, case, aggregation):
    """Spec 5: wrong rollouts with a hint are distilled, weighted by exp(-beta H) over its mean; all others GRPO.

    The mean is weighted as the loss is: plain over tokens, or over rollouts of their means.
    """
    places = case.places()

    def distils(at):
        right = at.verdict if method.routing == "verifier" else at.advantage > 0
        return at.hinted and not right

    def divergence(at, student):
        return slow.divergence(*slow.pair(at, student, method), method.alpha)

    def ratio(at, student):
        return min(student[at.sampled].real / at.old, method.is_clip)

    def value(at, student):
        if distils(at):
            return divergence(at, student) * ratio(at, student)
        clips = method.epsilon_low, method.epsilon_high, method.dual_clip
        return slow.surrogate(student[at.sampled] / at.old, at.advantage, *clips)

    distilled = [place for place in places if distils(case.token(*place))]
    shares = slow.shares(places, aggregation, int(case.batch.kept.sum()))
    raw = {place: math.exp(-method.entropy_beta * case.token(*place).entropy) for place in distilled}
    mean = sum(shares[place] * raw[place] for place in distilled) / (sum(shares[place] for place in distilled) or 1.0)
    confidence = {place: raw[place] / mean for place in distilled}
    loss = slow.loss(case, {place: share * confidence.get(place, 1.0) for place, share in shares.items()}, value)
    hinted = case.places(hinted=True)
    logged = {
        "signal/distilled_share": (places, lambda at, _: float(distils(at))),
        "teacher/entropy": (distilled, lambda at, _: at.entropy),
        "signal/divergence_mean": (distilled, divergence),
        "signal/is_ratio_mean": (distilled, ratio),
        "signal/teacher_gap_abs_mean": (hinted, lambda at, student: abs(math.log(at.correct / student[at.sampled]))),
    }
    largest = {"signal/entropy_weight_max": max(confidence.values())} if distilled else {}
    return *loss, slow.means(case, logged) | largest


def same_but_logs(found, expected):
    assert found[0] == expected[0]
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("settings", [{}, {"dual_clip": 1.3, "epsilon_high": 0.5, "epsilon_low": 0.1}])
def test_with_all_correct_or_nobody_hinted_it_is_grpo(random_case, measured, settings, aggregation):
    method = replace(PLAIN, **settings)
    for seed in range(6):
        case = random_case(seed, method.needs)
        for changed in ({"correct": torch.ones(6, dtype=torch.bool)}, {"hinted": torch.zeros(6, dtype=torch.bool)}):
            plain = case.changed(**changed)
            found = measured(method, plain, aggregation)
            same_but_logs(found, measured(GRPO(**settings), plain, aggregation))
            assert not found[2].get("signal/distilled_share")


def test_correct_rollouts_need_no_hint(random_case, measured):
    """Whether the trainer asks the teacher about them or not."""
    for seed in range(6):
        case = random_case(seed, PLAIN.needs)
        asked = case.changed(hinted=case.batch.hinted & ~case.batch.correct)
        same_but_logs(measured(PLAIN, asked, "tokens"), measured(PLAIN, case, "tokens"))


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("routing", ["verifier", "advantage_sign"])
def test_with_all_wrong_and_equal_entropy_it_is_sdpo(random_case, measured, agree, routing, aggregation):
    method = replace(PLAIN, routing=routing)
    for seed in range(6):
        case = random_case(seed, method.needs)
        nobody, everybody = torch.zeros(6, dtype=torch.bool), torch.ones(6, dtype=torch.bool)
        wrong = case.changed(
            correct=nobody,
            hinted=everybody,
            advantages=-case.batch.advantages.abs(),
            teacher_entropy=torch.full_like(case.batch.teacher_entropy, 700.0),  # exp(-700) is all but zero
        )
        agree(measured(method, wrong, aggregation)[:2], measured(SDPO(top_k=3), wrong, aggregation)[:2])


def test_routings_differ_where_correct_rollouts_have_no_advantage(random_case):
    case = random_case(0, PLAIN.needs)
    batch = case.batch.extended(
        correct=torch.tensor([True, True, False, False, True, False]),
        advantages=torch.tensor([1.0, 0.0, -1.0, 0.0, 1.0, -1.0]),
        hinted=torch.tensor([True, True, True, True, False, False]),
    )
    assert PLAIN.distilled(batch).tolist() == [False, False, True, True, False, False]
    by_sign = replace(PLAIN, routing="advantage_sign")
    assert by_sign.distilled(batch).tolist() == [False, True, True, True, False, False]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("beta", [0.0, 1.0, 3.0])
def test_confidence_shares_out_the_weight_of_distilled_tokens_and_adds_none(random_case, beta, aggregation):
    method = replace(PLAIN, entropy_beta=beta)
    for seed in range(6):
        batch = random_case(seed, method.needs).batch
        weights = method.targets(batch, aggregation).weights
        plain = GRPO().targets(batch, aggregation).weights
        torch.testing.assert_close(weights.sum(), plain.sum().to(weights), rtol=1e-6, atol=0)
        distilled = batch.token_mask & method.distilled(batch)[:, None]
        assert torch.equal(weights[~distilled], plain[~distilled].to(weights))
        sure = (weights / plain)[distilled][batch.teacher_entropy[distilled].argsort()]
        assert bool((sure.diff() <= 0).all())


def test_a_teacher_unsure_of_all_it_distils_still_teaches(random_case):
    """exp(-beta H) alone would be zero over zero in float32, and so it would be relative to tokens that go to GRPO."""
    batch = random_case(0, PLAIN.needs).to(torch.float32).batch
    distilled = batch.token_mask & PLAIN.distilled(batch)[:, None]
    unsure = batch.extended(teacher_entropy=torch.where(distilled, 500.0, 0.0))
    sure = batch.extended(teacher_entropy=torch.zeros_like(batch.teacher_entropy))
    found, expected = (PLAIN.targets(each, "tokens").weights for each in (unsure, sure))
    assert torch.equal(found, expected)
    assert expected[distilled].all()
