import math
from dataclasses import replace

import pytest
import torch

from selfdistill.objectives.grpo import GRPO
from selfdistill.objectives.rlsd import RLSD

UNCLIPPED = 1e12  # a dual clip that never binds
SWITCHES = [
    RLSD(),
    RLSD(form="minimum"),
    RLSD(lam_decay_steps=9, form="minimum"),
    RLSD(lam=1.0, lam_decay_steps=0),
    RLSD(lam=1.0, lam_decay_steps=0, form="minimum"),
    RLSD(epsilon_low=0.1, epsilon_high=0.28, epsilon_w=0.5, lam=0.9, lam_decay_steps=60),
]


def slow_lam(method, step):
    """Spec 6: linear to zero over so many steps, counted from 1."""
    if method.lam_decay_steps == 0 or step == 1:
        return method.lam
    return max(0.0, method.lam * (method.lam_decay_steps - (step - 1)) / method.lam_decay_steps)


def slow_weights(method, at, student):
    """w_t = (p_T / p_S) for A > 0, its inverse for A < 0; and the same clipped."""
    weight = {1: at.correct / student, 0: 1.0, -1: student / at.correct}[(at.advantage > 0) - (at.advantage < 0)]
    return weight, min(max(weight, 1 - method.epsilon_w), 1 + method.epsilon_w)


def slow_advantage(method, at, student, lam):
    if not at.hinted:
        return at.advantage
    weight, clipped = slow_weights(method, at, student)
    if method.form == "interpolated":
        return at.advantage * ((1 - lam) + lam * clipped)
    return (1 - lam) * at.advantage + lam * min(weight * at.advantage, clipped * at.advantage)


def slow_rlsd(slow, method, case, aggregation):
    lam = slow_lam(method, case.batch.step)
    hinted = case.places(hinted=True)

    def value(at, student):
        advantage = slow_advantage(method, at, student[at.sampled].real, lam)
        return slow.surrogate(student[at.sampled] / at.old, advantage, method.epsilon_low, method.epsilon_high)

    def changed(at, student):
        weight, clipped = slow_weights(method, at, student[at.sampled])
        return float(weight != clipped)

    def evidence(at, student):
        return math.log(at.correct / student[at.sampled])

    logged = {
        "signal/evidence_mean": evidence,
        "signal/evidence_abs_mean": lambda at, student: abs(evidence(at, student)),
        "signal/weight_mean": lambda at, student: slow_weights(method, at, student[at.sampled])[1],
        "signal/weight_clipped_share": changed,
    }
    loss = slow.loss(case, slow.shares(case.places(), aggregation, int(case.batch.kept.sum())), value)
    found = slow.means(case, {name: (hinted, function) for name, function in logged.items()})
    return *loss, found | {"signal/lam": lam}


@pytest.mark.parametrize("form", ["interpolated", "minimum"])
def test_a_teacher_who_agrees_leaves_advantages_as_they_are(random_case, measured, agree, form):
    for seed in range(6):
        case = random_case(seed, RLSD().needs).with_agreeing_teacher()
        found = measured(RLSD(form=form), case, "tokens")
        agree(found[:2], measured(GRPO(dual_clip=UNCLIPPED), case, "tokens")[:2])
        if case.batch.hinted_mask.any():
            assert found[2]["signal/evidence_abs_mean"] == found[2]["signal/weight_clipped_share"] == 0


@pytest.mark.parametrize("form", ["interpolated", "minimum"])
def test_signs_are_kept(random_case, form):
    method = RLSD(lam=1.0, lam_decay_steps=0, form=form)
    evidence = torch.linspace(-30, 30, 61, dtype=torch.float64)
    for advantage in (-2.0, -0.01, 0.0, 0.01, 2.0):
        plain = torch.full_like(evidence, advantage)
        assert torch.equal(method.advantages(plain, evidence, 1).sign(), plain.sign())


@pytest.mark.parametrize(
    ("advantage", "evidence", "both_sides", "one_side"),
    [
        (1.0, 3.0, 1.2, 1.2),
        (1.0, -3.0, 0.8, math.exp(-3)),  # min leaves a small weight as small as it is
        (-1.0, 3.0, -0.8, -0.8),
        (-1.0, -3.0, -1.2, -math.exp(3)),  # and a large one as large
        (1.0, 0.1, math.exp(0.1), math.exp(0.1)),
    ],
)
def test_the_printed_minimum_bounds_the_weight_on_one_side_only(advantage, evidence, both_sides, one_side):
    arguments = torch.tensor([advantage]), torch.tensor([evidence]), 1
    for form, expected in (("interpolated", both_sides), ("minimum", one_side)):
        found = RLSD(lam=1.0, form=form).advantages(*arguments)
        assert float(found) == pytest.approx(expected, rel=1e-6)


def test_evidence_follows_the_student_of_the_moment_and_carries_no_gradient(random_case, measured):
    """Two students on one batch: the gradient is that of a surrogate with fixed advantages."""
    method = replace(RLSD(), lam=1.0, lam_decay_steps=0)
    case = random_case(3, method.needs)
    moved = case.at(case.logits + 0.1 * torch.sin(torch.arange(7.0, dtype=torch.float64)))
    found = [measured(method, each, "tokens")[2]["signal/evidence_mean"] for each in (case, moved)]
    gap = [each.batch.correct_logprobs - each.student().logprobs for each in (case, moved)]
    assert found[0] != found[1]
    for value, expected in zip(found, gap, strict=True):
        assert value == pytest.approx(float(expected[case.batch.hinted_mask].mean()), rel=1e-9)
