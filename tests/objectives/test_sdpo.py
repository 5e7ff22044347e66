import math

import pytest
import torch

from selfdistill.errors import UserError
from selfdistill.objectives.batch import Batch, Student
from selfdistill.objectives.sdpo import SDPO

SWITCHES = [
    SDPO(top_k=3),
    SDPO(alpha=0.3, top_k=3, is_clip=1.05),
    SDPO(alpha=0.0, top_k=3),
    SDPO(alpha=1.0, top_k=3),
    SDPO(top_k=3, tail=False),
    SDPO(top_k=0),
    SDPO(),  # 100 ids: the whole vocabulary, and a tail of nothing
    SDPO(alpha=1.0, full_distribution=False),
]


def slow_ratio(at, student, bound):
    return min(student[at.sampled].real / at.old, bound)


def slow_sdpo(slow, method, case, aggregation):
    """Spec 3: D_alpha(S, T) min(rho, 2), rho detached; or sg(lp_S - lp_T) lp_S min(rho, 2). Over hinted rows."""
    places = case.places(hinted=True)
    rows = slow.distilled(case, aggregation)

    def bare(at, student):
        if method.full_distribution:
            return slow.divergence(*slow.pair(at, student, method), method.alpha)
        gap = math.log(student[at.sampled].real / at.correct)
        return gap * slow.log(student[at.sampled])

    def divergence(at, student):
        return bare(at, student) if method.full_distribution else math.log(student[at.sampled] / at.correct)

    def value(at, student):
        return bare(at, student) * slow_ratio(at, student, method.is_clip)

    loss = slow.loss(case, slow.shares(places, aggregation, rows), value)
    logged = {
        "signal/divergence_mean": divergence,
        "signal/is_ratio_mean": lambda at, student: slow_ratio(at, student, method.is_clip),
        "signal/teacher_gap_abs_mean": lambda at, student: abs(math.log(at.correct / student[at.sampled])),
    }
    return *loss, slow.means(case, {name: (places, function) for name, function in logged.items()})


def test_the_sampled_estimate_has_the_gradient_of_the_reverse_divergence_on_average():
    """Sum over the vocabulary of p(y) times the gradient that a sampled y gives, on policy."""
    generator = torch.Generator().manual_seed(0)
    logits, teacher = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    leaf = logits.clone().requires_grad_()
    student, target = leaf.log_softmax(dim=-1), teacher.log_softmax(dim=-1)
    batch = Batch(
        response_mask=torch.ones(6, 1, dtype=torch.bool),
        advantages=torch.zeros(6, dtype=torch.float64),
        old_logprobs=student.detach()[:, None],
        correct_logprobs=target[:, None],
        hinted=torch.ones(6, dtype=torch.bool),
    )
    method = SDPO(alpha=1.0, full_distribution=False)
    sampled = method.token_loss(Student(student[:, None]), batch, method.targets(batch, "tokens")).values[:, 0]
    expected = torch.autograd.grad((student.detach().exp() * sampled).sum(), leaf, retain_graph=True)[0]
    whole = batch.rows(torch.tensor([0])).extended(correct_support=target.view(1, 1, 6))
    exact = SDPO(alpha=1.0, top_k=0)
    loss = exact.token_loss(Student(student[None, :1], student.view(1, 1, 6)), whole, exact.targets(whole, "tokens"))
    assert loss.values.item() == pytest.approx(float((student.exp() * (student - target)).sum().detach()), rel=1e-12)
    found = torch.autograd.grad(loss.values.sum(), leaf)[0]
    torch.testing.assert_close(expected, found, rtol=1e-12, atol=1e-12)
    assert found.abs().max() > 0.01


@pytest.mark.parametrize("ratio", [0.1, 1.0, 1.9, 2.0, 2.1, 1e12])
def test_a_stale_token_counts_by_its_ratio_bounded_from_above(random_case, measured, ratio):
    method = SDPO(top_k=3)
    case = random_case(3, method.needs)
    fresh = case.changed(old_logprobs=case.student().logprobs)
    loss, gradient, logged = measured(method, fresh, "tokens")
    assert logged["signal/is_ratio_mean"] == 1
    stale = case.changed(old_logprobs=case.student().logprobs - math.log(ratio))
    found = measured(method, stale, "tokens")
    assert found[0] == pytest.approx(min(ratio, 2.0) * loss, rel=1e-9)
    torch.testing.assert_close(found[1], min(ratio, 2.0) * gradient, rtol=1e-9, atol=1e-12)
    assert found[2]["signal/divergence_mean"] == logged["signal/divergence_mean"]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.999])
def test_sampled_tokens_cannot_estimate_another_divergence(alpha):
    with pytest.raises(UserError, match=rf"objective.alpha 1, found {float(alpha)}: .*change one"):
        SDPO(alpha=alpha, full_distribution=False)
