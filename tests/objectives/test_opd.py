"""Distillation of another model, on the sampled token and by a divergence: against loops, and by what it equals."""

import math

import pytest
import torch

from selfdistill.errors import UserError
from selfdistill.objectives.batch import Batch, Needs, Student
from selfdistill.objectives.methods import build_method
from selfdistill.objectives.opd import OPD
from selfdistill.objectives.opd_divergence import OPDDivergence

SWITCHES = [
    OPD(),
    OPD(advantage_clip=0.3),
    OPD(advantage_clip=None),
    OPD(extrapolation=1.25),
    OPD(extrapolation=0.5, advantage_clip=0.2),
    OPD(task_weight=0.7),
    OPD(epsilon_high=0.28, dual_clip=1.5),
]
DIVERGENCES = [
    OPDDivergence(),
    OPDDivergence(beta=0.0),
    OPDDivergence(beta=0.5),
    OPDDivergence(top_k=3),
    OPDDivergence(beta=0.0, top_k=3, chooser="student"),
    OPDDivergence(beta=0.3, top_k=3, tail=False),
]


def k3(policy, other):
    """Schulman's estimate of KL(policy, other), as it is bounded."""
    gap = math.log(other / policy)
    return min(math.exp(gap) - gap - 1, 10.0)


def slow_opd(slow, method, case, aggregation):
    """Of probabilities: log(old / reference) - extrapolation log(teacher / reference), turned round and clipped."""
    asked = case.places(hinted=True)

    def free(at):
        if not at.hinted:
            return 0.0
        return -(math.log(at.old / at.reference) - method.extrapolation * math.log(at.correct / at.reference))

    def ratio(at):
        bound = math.inf if method.advantage_clip is None else method.advantage_clip
        return min(max(free(at), -bound), bound)

    def value(at, student):
        advantage = ratio(at) + method.task_weight * at.advantage
        return slow.surrogate(
            student[at.sampled] / at.old, advantage, method.epsilon_low, method.epsilon_high, method.dual_clip
        )

    loss = slow.loss(case, slow.shares(case.places(), aggregation, case.batch.rollouts), value)
    logged = {
        "teacher/kl": (asked, lambda at, _: k3(at.old, at.correct)),
        "teacher/kl_first": ([(i, t) for i, t in asked if t == 0], lambda at, _: k3(at.old, at.correct)),
        "signal/advantage_mean": (asked, lambda at, _: ratio(at)),
        "signal/advantage_clipped_share": (asked, lambda at, _: float(abs(free(at)) > abs(ratio(at)))),
    }
    return *loss, slow.means(case, logged)


def slow_divergence(slow, method, case, aggregation):
    """D_beta(S, T) on the ids, without any bound; the log has KL(S, T), whatever beta is."""
    asked = case.places(hinted=True)
    rows = slow.distilled(case, aggregation)

    def value(at, student):
        return slow.divergence(*slow.pair(at, student, method), method.beta)

    def kl(at, student):
        if method.top_k == 0:
            return slow.divergence(*slow.pair(at, student, method), 1)
        return k3(student[at.sampled], at.correct)

    loss = slow.loss(case, slow.shares(asked, aggregation, rows), value)
    logged = {
        "teacher/kl": (asked, kl),
        "teacher/kl_first": ([(i, t) for i, t in asked if t == 0], kl),
        "signal/divergence_mean": (asked, value),
        "signal/teacher_gap_abs_mean": (asked, lambda at, student: abs(math.log(at.correct / student[at.sampled]))),
    }
    if method.top_k:
        logged["teacher/top_k_mass"] = (asked, lambda at, _: sum(at.correct_support))
        logged["actor/top_k_mass"] = (asked, lambda at, student: sum(student[v] for v in at.ids))
    return *loss, slow.means(case, logged)


def every_token(student, teacher):
    """A rollout for each of V tokens that may be drawn at one position: log-probs (V,) of student and teacher."""
    count = len(student)
    return Batch(
        response_mask=torch.ones(count, 1, dtype=torch.bool),
        advantages=torch.zeros(count),
        old_logprobs=student.detach()[:, None],
        correct_logprobs=teacher[:, None],
        hinted=torch.ones(count, dtype=torch.bool),
    )


@pytest.mark.parametrize("seed", range(4))
def test_the_expected_gradient_is_that_of_the_reverse_divergence(seed):
    """Enumerated over three tokens, each weighed by how likely it is drawn."""
    made = torch.Generator().manual_seed(seed)
    logits, other = (2 * torch.randn(3, generator=made, dtype=torch.float64) for _ in range(2))
    teacher = other.log_softmax(dim=0)
    logits.requires_grad_()
    student = logits.log_softmax(dim=0)
    reverse = torch.autograd.grad((student.exp() * (student - teacher)).sum(), logits, retain_graph=True)[0]
    batch, method = every_token(student, teacher), OPD()
    values = method.token_loss(Student(student[:, None]), batch, method.targets(batch, "tokens")).values[:, 0]
    found = torch.autograd.grad((student.detach().exp() * values).sum(), logits)[0]
    torch.testing.assert_close(found, reverse)
    assert reverse.abs().max() > 1e-2


@pytest.mark.parametrize("method", [OPD(), OPD(advantage_clip=0.1), OPD(extrapolation=1.0)], ids=str)
def test_a_teacher_equal_to_the_student_moves_nothing(random_case, measured, method):
    case = random_case(3, method.needs).with_agreeing_teacher()
    case = case.changed(old_logprobs=case.student().logprobs)
    loss, gradient, logged = measured(method, case, "tokens")
    assert loss == 0
    assert not gradient.any()
    assert not any(logged.values())


def test_extrapolation_by_one_is_plain_and_reads_no_reference(random_case, measured, agree):
    """The reference drops out: (c - old) + (l - 1)(c - reference)."""
    case = random_case(4, OPD(extrapolation=1.25).needs)
    plain = measured(OPD(), case, "tokens")
    agree(measured(OPD(extrapolation=1 + 1e-12), case, "tokens"), plain)
    without = case.changed(teacher_reference_logprobs=None)
    assert measured(OPD(), without, "tokens")[0] == plain[0]
    assert measured(OPD(extrapolation=1.25), case, "tokens")[0] != plain[0]


def test_the_groups_advantage_is_added(random_case, measured):
    """Where teacher and policy agree, what is left is grpo, scaled."""
    needs = OPD().needs
    case = random_case(5, needs).with_agreeing_teacher()
    case = case.changed(old_logprobs=case.student().logprobs)
    loss, gradient, _ = measured(OPD(task_weight=0.5), case, "tokens")
    grpo_loss, grpo_gradient, _ = measured(build_method("grpo", {}), case, "tokens")
    assert loss == pytest.approx(0.5 * grpo_loss)
    torch.testing.assert_close(gradient, 0.5 * grpo_gradient)
    assert OPD(task_weight=0.5).compares_rollouts
    assert not OPD().compares_rollouts
    assert not OPDDivergence().compares_rollouts


@pytest.mark.parametrize("asked", [{"correct_hint": True}, {"mixed_groups": True}, {"wrong_hints": True}])
def test_a_plain_teacher_reads_no_hint(asked):
    with pytest.raises(UserError, match=f"plain with {next(iter(asked))}: a plain teacher reads no hint"):
        Needs(plain=True, **asked)
