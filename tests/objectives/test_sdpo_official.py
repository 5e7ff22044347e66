import math

import pytest
import torch

from selfdistill.errors import UserError
from selfdistill.objectives.batch import Batch, Student, Support
from selfdistill.objectives.grpo import GRPO
from selfdistill.objectives.sdpo import SDPO
from selfdistill.objectives.sdpo_official import SDPOOfficial

SWITCHES = [
    SDPOOfficial(top_k=3),
    SDPOOfficial(alpha=0.0, top_k=3, is_clip=1.05),
    SDPOOfficial(alpha=1.0, top_k=0),
    SDPOOfficial(alpha=0.3, top_k=3, tail=False),
    SDPOOfficial(),  # 100 ids: the whole vocabulary, and a tail of nothing
    SDPOOfficial(alpha=1.0, level="token"),
    SDPOOfficial(alpha=1.0, level="sequence"),
    SDPOOfficial(top_k=3, grpo_share=0.9),
    SDPOOfficial(alpha=1.0, level="sequence", grpo_share=0.5, epsilon_high=0.05, dual_clip=1.5),
]
VOCABULARY = 7


def slow_sdpo_official(slow, method, case, aggregation):
    """Spec: D_a(S, T) min(rho, is_clip) on rows with a context; sampled, sg(lp_S - lp_T) lp_S, or its mean over t.

    With a share l: l times grpo's surrogate plus (1 - l) times that, over all rows, 0 of it on rows without a context.
    """
    hinted, share = case.places(hinted=True), method.grpo_share
    logprobs = case.student().logprobs

    def gap(at, student):
        if method.level == "token":
            return math.log(student[at.sampled].real / at.correct)
        inside = [t for t in range(case.tokens.shape[1]) if case.batch.response_mask[at.row, t]]
        gaps = [float(logprobs[at.row, t] - case.batch.correct_logprobs[at.row, t]) for t in inside]
        return sum(gaps) / len(gaps)

    def divergence(at, student):
        if method.level == "logits":
            return slow.divergence(*slow.pair(at, student, method), method.alpha)
        return gap(at, student)

    def ratio(at, student):
        return min(student[at.sampled].real / at.old, method.is_clip)

    def value(at, student):
        loss = 0.0
        if at.hinted:
            bare = 1 if method.level == "logits" else slow.log(student[at.sampled])
            loss = divergence(at, student) * bare * ratio(at, student)
        if not share:
            return loss
        bounds = method.epsilon_low, method.epsilon_high, method.dual_clip
        surrogate = slow.surrogate(student[at.sampled] / at.old, at.advantage, *bounds)
        return share * surrogate + (1 - share) * loss

    kept = int(case.batch.kept.sum())
    weights = (
        slow.shares(case.places(), aggregation, kept)
        if share
        else slow.shares(hinted, aggregation, slow.distilled(case, aggregation))
    )
    logged = {
        "signal/divergence_mean": divergence,
        "signal/is_ratio_mean": ratio,
        "signal/teacher_gap_abs_mean": lambda at, student: abs(math.log(at.correct / student[at.sampled])),
    }
    means = slow.means(case, {name: (hinted, function) for name, function in logged.items()})
    return *slow.loss(case, weights, value), means


@pytest.mark.parametrize("aggregation", ["tokens", "rollouts", "all_rollouts"])
def test_without_a_share_it_is_sdpo_and_with_almost_all_of_it_grpo(random_case, measured, agree, aggregation):
    for seed in range(3):
        case = random_case(seed, SDPOOfficial(top_k=3).needs)
        agree(measured(SDPOOfficial(top_k=3), case, aggregation), measured(SDPO(top_k=3), case, aggregation))
        mixed = measured(SDPOOfficial(top_k=3, grpo_share=1 - 1e-12), case, aggregation)[:2]
        agree(mixed, measured(GRPO(epsilon_high=0.28), case, aggregation)[:2], 1e-8)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_as_many_ids_as_there_are_equal_the_whole_vocabulary(random_case, measured, agree, alpha):
    """But for the tail's floor, which is 1e-7."""
    whole, ids = (SDPOOfficial(alpha=alpha, top_k=top_k) for top_k in (0, VOCABULARY))
    for seed in range(3):
        case = random_case(seed, ids.needs)
        full = random_case(seed, whole.needs)
        agree(measured(ids, case, "all_rollouts")[:2], measured(whole, full, "all_rollouts")[:2], 1e-5)


@pytest.mark.parametrize("masked", ["all", "some", "none"])
def test_rows_without_a_context_count_in_the_divisor_and_in_nothing_else(random_case, measured, masked):
    """The published denominator: the mean of each row's mean, 0 of a row without a context."""
    method = SDPOOfficial(top_k=3)
    case = random_case(1, method.needs)
    rows = len(case.batch.hinted)
    hinted = {"all": torch.zeros(rows), "none": torch.ones(rows), "some": torch.arange(rows) % 2}[masked].bool()
    case = case.changed(hinted=hinted, kept=torch.ones(rows, dtype=torch.bool))
    values = method.token_loss(case.student(), case.batch, method.targets(case.batch, "all_rollouts")).values
    lengths = case.batch.response_mask.sum(dim=1)
    each = [float(values[i, : lengths[i]].mean()) if hinted[i] and lengths[i] else 0.0 for i in range(rows)]
    loss, gradient, _ = measured(method, case, "all_rollouts")
    assert loss == pytest.approx(sum(each) / rows, rel=1e-6)
    assert not gradient[~hinted].any()
    assert (masked == "all") == (not gradient.any())
    assert (masked == "all") == (not method.targets(case.batch, "all_rollouts").weights.any())


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_a_support_that_holds_all_mass_has_a_finite_loss_and_gradient(alpha):
    method = SDPOOfficial(alpha=alpha, top_k=2)
    for student, teacher in (([0.0, -40.0], [-1.0, -2.0]), ([-0.7, -0.7], [0.0, -60.0]), ([0.0, 0.0], [0.0, -1e-9])):
        leaf = torch.tensor([[student]]).requires_grad_()
        loss = method._divergence(Student(leaf[..., 0], leaf), _support(torch.tensor([[teacher]])))[0]
        assert torch.isfinite(loss).all()
        assert torch.isfinite(torch.autograd.grad(loss.sum(), leaf)[0]).all()


def _support(values):
    ones = torch.ones(1, 1)
    return Batch(ones.bool(), ones[0], ones, correct_support=values)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_drawn_tokens_cannot_estimate_another_divergence(level):
    with pytest.raises(UserError, match=rf"objective.level {level} needs objective.alpha 1, found 0.5: .*change one"):
        SDPOOfficial(level=level)


def test_what_it_needs():
    assert SDPOOfficial().needs.support == Support("student", 100)
    assert SDPOOfficial(alpha=1.0, level="token").needs.support is None
    assert SDPOOfficial().needs.correct_hint
