import math

import pytest
import torch

from selfdistill.objectives.rlsd import RLSD
from selfdistill.objectives.rlsd_add import RLSDAdd
from selfdistill.objectives.rlsd_hybrid import RLSDHybrid

SWITCHES = [
    RLSDAdd(),
    RLSDAdd(lam=1.0, lam_decay_steps=0, evidence_clip=0.05, epsilon_low=0.1, epsilon_high=0.3),
    RLSDHybrid(),
    RLSDHybrid(lam=0.9, lam_decay_steps=60, alpha=1.5, beta=2.0, evidence_clip=0.1, epsilon_w=0.4),
    RLSDHybrid(lam_decay_steps=0, epsilon_low=0.1, epsilon_high=0.3),
]


def slow_lam(method, step):
    steps = method.lam_decay_steps
    return method.lam if steps == 0 else max(0.0, method.lam * (steps - (step - 1)) / steps)


def slow_evidence(at, student):
    return math.log(at.correct / student) if at.hinted else 0.0


def slow_weights(method, at, student):
    raw = math.exp(((at.advantage > 0) - (at.advantage < 0)) * slow_evidence(at, student))
    return raw, min(max(raw, 1 - method.epsilon_w), 1 + method.epsilon_w)


def slow_advantage(method, at, student, step):
    """Spec 10: (1 - lam) A + lam Delta; alpha A ((1 - lam) + lam w) + beta Delta. The bound of Delta is ours."""
    lam = slow_lam(method, step)
    bounded = min(max(slow_evidence(at, student), -method.evidence_clip), method.evidence_clip)
    if isinstance(method, RLSDAdd):
        return (1 - lam) * at.advantage + lam * bounded
    weight = slow_weights(method, at, student)[1]
    return method.alpha * at.advantage * ((1 - lam) + lam * weight) + method.beta * bounded


def slow_loss(slow, method, case, aggregation):
    step, hinted = case.batch.step, case.places(hinted=True)

    def value(at, student):
        advantage = slow_advantage(method, at, student[at.sampled].real, step)
        return slow.surrogate(student[at.sampled] / at.old, advantage, method.epsilon_low, method.epsilon_high)

    def changed(at, student):
        weight, clipped = slow_weights(method, at, student)
        return float(weight != clipped)

    logged = {
        "signal/evidence_mean": slow_evidence,
        "signal/evidence_abs_mean": lambda at, student: abs(slow_evidence(at, student)),
        "signal/evidence_clipped_share": lambda at, student: float(
            abs(slow_evidence(at, student)) > method.evidence_clip
        ),
    }
    if isinstance(method, RLSDHybrid):
        logged["signal/weight_mean"] = lambda at, student: slow_weights(method, at, student)[1]
        logged["signal/weight_clipped_share"] = changed
    sampled = {name: (hinted, lambda at, student, f=f: f(at, student[at.sampled])) for name, f in logged.items()}
    loss = slow.loss(case, slow.shares(case.places(), aggregation, int(case.batch.kept.sum())), value)
    return *loss, slow.means(case, sampled) | {"signal/lam": slow_lam(method, step)}


def grid():
    """Advantages and evidence of every sign and size, paired each with each."""
    advantages = torch.tensor([-2.0, -0.3, 0.0, 0.3, 2.0], dtype=torch.float64)
    evidence = torch.tensor([-9.0, -2.0, -0.1, 0.0, 0.1, 2.0, 9.0], dtype=torch.float64)
    return [pair.flatten() for pair in torch.meshgrid(advantages, evidence, indexing="ij")]


def test_hybrid_without_either_term_is_zero(random_case, measured):
    for seed in range(6):
        case = random_case(seed, RLSDHybrid().needs)
        loss, gradient, _ = measured(RLSDHybrid(alpha=0.0, beta=0.0), case, "tokens")
        assert loss == 0
        assert not gradient.any()


@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
def test_the_sum_is_a_hybrid_of_one_minus_lambda_and_lambda(random_case, measured, agree, lam):
    hybrid = RLSDHybrid(alpha=1 - lam, beta=lam, lam=0.0)
    added = RLSDAdd(lam=lam, lam_decay_steps=0)
    torch.testing.assert_close(hybrid.advantages(*grid(), 1), added.advantages(*grid(), 1), rtol=1e-12, atol=1e-12)
    for seed in range(4):
        case = random_case(seed, hybrid.needs)
        agree(measured(hybrid, case, "tokens")[:2], measured(added, case, "tokens")[:2])


def test_the_notes_own_limit_is_beta_times_the_evidence_and_not_the_sum():
    """The note says that hybrid with alpha = 0 and lambda = 0 is rlsd_add: an advantage is nowhere in it."""
    advantages, evidence = grid()
    limit = RLSDHybrid(alpha=0.0, lam=0.0).advantages(advantages, evidence, 1)
    torch.testing.assert_close(limit, 0.3 * evidence.clamp(-2, 2))
    for lam in (0.0, 0.3, 0.5):
        assert not torch.allclose(limit, RLSDAdd(lam=lam, lam_decay_steps=0).advantages(advantages, evidence, 1))


def test_hybrid_without_evidence_term_is_rlsd(random_case, measured, agree):
    for seed in range(4):
        case = random_case(seed, RLSDHybrid().needs)
        found = measured(RLSDHybrid(alpha=1.0, beta=0.0), case, "tokens")
        agree(found[:2], measured(RLSD(), case, "tokens")[:2])


def test_only_the_scaled_term_of_hybrid_is_annealed():
    evidence = torch.tensor([0.1], dtype=torch.float64)
    nothing = torch.zeros(1, dtype=torch.float64)
    for step in (1, 26, 51, 500):
        assert float(RLSDHybrid().advantages(nothing, evidence, step)) == pytest.approx(0.03, rel=1e-12)
        weight = 1 + 0.5 * max(0, 51 - step) / 50 * (math.exp(0.1) - 1)
        found = RLSDHybrid().advantages(nothing + 2, evidence, step)
        assert float(found) == pytest.approx(0.7 * 2 * weight + 0.03, rel=1e-12)


@pytest.mark.parametrize(("step", "lam"), [(1, 0.5), (26, 0.25), (51, 0.0)])
def test_the_sum_speaks_where_advantages_are_silent_and_may_turn_them_round(step, lam):
    found = RLSDAdd().advantages(torch.tensor([0.0, -1.0, -0.1]), torch.tensor([1.0, 1.0, 1.0]), step)
    assert found.tolist() == pytest.approx([lam, lam - (1 - lam), lam - 0.1 * (1 - lam)])


@pytest.mark.parametrize("method", [RLSDAdd(lam=1.0), RLSDHybrid(alpha=0.0, beta=1.0)], ids=str)
def test_the_evidence_is_bounded_on_both_sides(method):
    evidence = torch.tensor([-50.0, -2.1, -1.9, 1.9, 2.1, 50.0], dtype=torch.float64)
    found = method.advantages(torch.zeros_like(evidence), evidence, 1)
    assert found.tolist() == pytest.approx([-2.0, -2.0, -1.9, 1.9, 2.0, 2.0])
