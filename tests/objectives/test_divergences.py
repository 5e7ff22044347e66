import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.objectives.divergences import (
    bounded_reverse_divergence,
    distributions,
    divergence,
    renormalised,
    with_tail,
)

DOUBLE = {"rtol": 1e-9, "atol": 1e-9}
MIXES = [0.0, 0.3, 0.5, 1.0]
READINGS = [(0, True), (3, True), (3, False)]  # full vocabulary; 3 ids with tail; 3 ids renormalised
IMPOSSIBLE = -math.inf


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def logits_of(seed, vocabulary=6):
    generator = torch.Generator().manual_seed(seed)
    scale = 10 ** (1.5 * torch.rand(1, generator=generator, dtype=torch.float64) - 1)
    student = torch.randn(vocabulary, generator=generator, dtype=torch.float64)
    return student, student + scale * torch.randn(vocabulary, generator=generator, dtype=torch.float64)


def read(logits, ids, top_k, tail):
    logprobs = logits.log_softmax(dim=-1)
    return distributions(logprobs[..., ids] if top_k else logprobs, top_k, tail)


def with_gradient(student, teacher, mix, clip=None, reading=(0, True)):
    """Divergence of two vectors of logits, the support chosen by the teacher, and its gradient by the student's."""
    leaf, ids = student.clone().requires_grad_(), teacher.topk(3).indices
    found = divergence(read(leaf, ids, *reading), read(teacher, ids, *reading), mix, clip)
    return found.detach(), torch.autograd.grad(found, leaf)[0]


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("mix", MIXES)
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=12)
def test_agrees_with_loops_over_probabilities(slow, mix, reading, clip, seed):
    student, teacher = logits_of(seed)
    found, gradient = with_gradient(student, teacher, mix, clip, reading)
    top_k, tail = reading
    ids = teacher.topk(3).indices.tolist() if top_k else range(6)
    target = slow.distribution([slow.softmax(teacher.tolist())[v].real for v in ids], top_k, tail)

    def loss(probabilities):
        return slow.divergence(slow.distribution([probabilities[v] for v in ids], top_k, tail), target, mix, clip)

    expected, slopes = slow.with_slopes(loss, student.tolist())
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    torch.testing.assert_close(gradient, double(*slopes), **DOUBLE)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("mix", MIXES)
def test_gradients_agree_with_finite_differences(mix, reading, clip):
    student, teacher = (torch.stack(pair) for pair in zip(*(logits_of(seed) for seed in range(4)), strict=True))
    ids = torch.tensor([4, 0, 2])

    def function(first, second):
        return divergence(read(first, ids, *reading), read(second, ids, *reading), mix, clip)

    assert torch.autograd.gradcheck(function, (student.requires_grad_(), teacher.requires_grad_()))


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("mix", MIXES)
def test_identical_distributions_have_no_divergence_and_no_gradient(mix, reading, clip):
    for seed in range(8):
        student, _ = logits_of(seed)
        found, gradient = with_gradient(student, student, mix, clip, reading)
        torch.testing.assert_close(found, torch.zeros_like(found), rtol=0, atol=1e-14)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-14)


@pytest.mark.parametrize("mix", MIXES)
def test_without_clip_it_is_positive_elsewhere(mix):
    for seed in range(20):
        assert with_gradient(*logits_of(seed), mix)[0] > 0


def test_known_by_hand():
    student, teacher = double(0.5, 0.5).log(), double(0.25, 0.75).log()
    forward = 0.25 * math.log(0.5) + 0.75 * math.log(1.5)
    reverse = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert float(divergence(student, teacher, 0.0)) == pytest.approx(forward, rel=1e-12)
    assert float(divergence(student, teacher, 1.0)) == pytest.approx(reverse, rel=1e-12)
    assert float(divergence(student, teacher, 0.0, 0.05)) == pytest.approx(0.25 * math.log(0.5) + 0.05, rel=1e-12)
    # M = 0.2 T + 0.8 S = (0.45, 0.55)
    mixture = 0.8 * (0.5 * math.log(0.5 / 0.45) + 0.5 * math.log(0.5 / 0.55))
    mixture += 0.2 * (0.25 * math.log(0.25 / 0.45) + 0.75 * math.log(0.75 / 0.55))
    assert float(divergence(student, teacher, 0.2)) == pytest.approx(mixture, rel=1e-12)


def test_the_ends_are_no_limits_of_the_mixture():
    for seed in range(5):
        student, teacher = logits_of(seed)
        for end, near in ((0.0, 1e-7), (1.0, 1 - 1e-7)):
            assert with_gradient(student, teacher, end)[0] > 1e-4
            assert with_gradient(student, teacher, near)[0] < 1e-5


def test_the_mixture_is_symmetric_at_one_half_and_turns_round_elsewhere():
    student, teacher = (logits.log_softmax(dim=-1) for logits in logits_of(3))
    for mix in (0.5, 0.3):
        turned = divergence(teacher, student, 1 - mix)
        torch.testing.assert_close(divergence(student, teacher, mix), turned, **DOUBLE)
    torch.testing.assert_close(divergence(student, teacher, 0.0), divergence(teacher, student, 1.0), **DOUBLE)


@pytest.mark.parametrize("mix", MIXES)
def test_the_clip_bounds_each_id_and_not_the_token(mix):
    """Both terms of a mixture together: what one id adds is bounded, the sum may be negative."""
    student, teacher = double(0.7, 0.2, 0.1).log(), double(0.1, 0.2, 0.7).log()
    whole, gradient = with_gradient(student, teacher, mix, 0.01)
    assert whole < divergence(student, teacher, mix) - 0.01
    if mix in (0.0, 1.0):
        assert whole < 0
    assert gradient.isfinite().all()


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("mix", MIXES)
def test_an_id_that_both_exclude_changes_nothing(mix, clip):
    student, teacher = logits_of(4)
    value, gradient = with_gradient(student, teacher, mix, clip)
    barred = [torch.cat([logits, double(IMPOSSIBLE)]) for logits in (student, teacher)]
    found, slope = with_gradient(*barred, mix, clip)
    torch.testing.assert_close(found, value, **DOUBLE)
    torch.testing.assert_close(slope, torch.cat([gradient, double(0.0)]), **DOUBLE)


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("mix", [0.3, 0.5, 1.0])
def test_an_id_that_the_student_alone_excludes(slow, mix, clip):
    student, teacher = logits_of(5)
    student[2] = IMPOSSIBLE
    found, gradient = with_gradient(student, teacher, mix, clip)
    target = [p.real for p in slow.softmax(teacher.tolist())]
    possible = [0, 1, 3, 4, 5]

    def loss(probabilities):
        spread = dict(zip(possible, probabilities, strict=True))
        return slow.divergence([spread.get(v, 0.0) for v in range(6)], target, mix, clip)

    expected, slopes = slow.with_slopes(loss, student[possible].tolist())
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    torch.testing.assert_close(gradient[possible], double(*slopes), **DOUBLE)
    assert gradient[2] == 0


@pytest.mark.parametrize("clip", [None, 0.05])
@pytest.mark.parametrize("mix", [0.0, 0.3, 0.5])
def test_an_id_that_the_teacher_alone_excludes(slow, mix, clip):
    student, teacher = logits_of(6)
    teacher[1] = IMPOSSIBLE
    found, gradient = with_gradient(student, teacher, mix, clip)
    target = [p.real for p in slow.softmax([x for v, x in enumerate(teacher.tolist()) if v != 1])]
    target.insert(1, 0.0)
    expected, slopes = slow.with_slopes(lambda p: slow.divergence(p, target, mix, clip), student.tolist())
    assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    torch.testing.assert_close(gradient, double(*slopes), **DOUBLE)


@pytest.mark.parametrize(("who", "mix"), [("student", 0.0), ("teacher", 1.0)])
def test_an_end_is_boundless_where_it_has_mass_that_the_other_excludes(who, mix):
    pair = dict(zip(("student", "teacher"), logits_of(7), strict=True))
    pair[who][3] = IMPOSSIBLE
    found, _ = with_gradient(pair["student"], pair["teacher"], mix)
    assert found == math.inf


def test_the_tail_is_all_other_mass():
    logprobs = logits_of(8)[0].log_softmax(dim=-1)
    ids = torch.tensor([5, 1])
    found = with_tail(logprobs[ids])
    torch.testing.assert_close(found[:2], logprobs[ids], rtol=0, atol=0)
    torch.testing.assert_close(found[2], logprobs[[0, 2, 3, 4]].exp().sum().log(), **DOUBLE)
    torch.testing.assert_close(renormalised(logprobs[ids]).exp(), logprobs[ids].exp() / logprobs[ids].exp().sum())


def test_a_tail_too_small_for_one_minus_p_is_exact():
    support = torch.tensor([-1e-6], dtype=torch.float64)
    assert float(with_tail(support)[1]) == pytest.approx(math.log(1e-6 - 0.5e-12), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("support", [[0.0, -90.0], [math.log(0.5)] * 2, [1e-7, -30.0], [0.0, 0.0, 0.0]])
def test_a_support_that_holds_all_mass_or_by_rounding_more(support, dtype):
    leaf = torch.tensor(support, dtype=dtype).requires_grad_()
    found = with_tail(leaf)
    assert float(found[-1].detach().exp()) == pytest.approx(1e-7, rel=1e-5)
    for mix in MIXES:
        loss = divergence(found, with_tail(torch.full_like(leaf, -2.0)), mix)
        assert loss.isfinite()
        assert torch.autograd.grad(loss, leaf, retain_graph=True)[0].isfinite().all()


def test_distributions_reads_as_it_is_told():
    support = double(0.5, 0.25).log()
    assert distributions(support, 0, True) is support
    assert distributions(support, 0, False) is support
    torch.testing.assert_close(distributions(support, 2, True).exp(), double(0.5, 0.25, 0.25))
    torch.testing.assert_close(distributions(support, 2, False).exp(), double(2 / 3, 1 / 3))


def test_leading_axes_are_kept():
    student, teacher = (torch.stack(pair) for pair in zip(*(logits_of(s) for s in range(6)), strict=True))
    student, teacher = (x.log_softmax(dim=-1).view(2, 3, 6) for x in (student, teacher))
    for mix in MIXES:
        found = divergence(with_tail(student[..., :4]), with_tail(teacher[..., :4]), mix, 0.05)
        assert found.shape == (2, 3)
        for i in range(2):
            for j in range(3):
                alone = divergence(with_tail(student[i, j, :4]), with_tail(teacher[i, j, :4]), mix, 0.05)
                torch.testing.assert_close(found[i, j], alone, **DOUBLE)


@pytest.mark.parametrize("bound", [0.3, 1.0, 1e3])
def test_a_bounded_reverse_divergence_pulls_by_advantages_within_the_bound(bound):
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, generator=rng, dtype=torch.float64, requires_grad=True)
    teacher = (2 * torch.randn(4, 6, generator=rng, dtype=torch.float64)).log_softmax(-1)
    value = bounded_reverse_divergence(logits.log_softmax(-1), teacher, bound)
    value.sum().backward()
    student = logits.detach().softmax(-1)
    for row in range(4):
        p = student[row].tolist()
        gaps = [min(max(math.log(p[v]) - float(teacher[row, v]), -bound), bound) for v in range(6)]
        mean = sum(p[v] * gaps[v] for v in range(6))
        for v in range(6):  # the gradient of log p over the logits, weighed by p and the bounded gap
            assert float(logits.grad[row, v]) == pytest.approx(p[v] * (gaps[v] - mean), abs=1e-12)
        free = sum(p[v] * (math.log(p[v]) - float(teacher[row, v])) for v in range(6))
        assert float(value[row]) == pytest.approx(free, abs=1e-12)
    if bound > 100:
        again = logits.detach().requires_grad_()
        divergence(again.log_softmax(-1), teacher, 1.0).sum().backward()
        assert torch.allclose(again.grad, logits.grad, atol=1e-12)


def test_a_bounded_divergence_has_no_gradient_that_is_not_a_number_where_an_id_is_excluded():
    student = torch.tensor([0.5, 0.5, 0.0]).log().requires_grad_()
    value = bounded_reverse_divergence(student, torch.tensor([0.2, 0.7, 0.1]).log(), 1.0)
    value.backward()
    assert torch.isfinite(student.grad).all()
