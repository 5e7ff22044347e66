import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.objectives.policy_gradient import clipped_surrogate, importance_weights, log_ratio, low_variance_kl

DOUBLE = {"rtol": 1e-9, "atol": 1e-9}


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def with_gradient(function, logprobs):
    leaf = logprobs.clone().requires_grad_()
    loss = function(leaf)
    return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]


@pytest.mark.parametrize("dual_clip", [None, 3.0, 1.5])
@pytest.mark.parametrize("low_high", [(0.2, 0.2), (0.2, 0.28), (0.0, 0.0)])
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_surrogate_agrees_with_loops(slow, low_high, dual_clip, seed):
    generator = torch.Generator().manual_seed(seed)
    old = -torch.rand(4, 6, dtype=torch.float64, generator=generator) * 3
    new = old + torch.randn(4, 6, dtype=torch.float64, generator=generator) * 0.7
    advantages = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    advantages[0] = 0
    loss, gradient = with_gradient(lambda x: clipped_surrogate(x, old, advantages, *low_high, dual_clip), new)
    for i in range(4):
        for t in range(6):
            before, advantage = math.exp(old[i, t]), float(advantages[i, t])
            value, slope = slow.with_slope(
                lambda x, p=before, a=advantage: slow.surrogate(slow.exp(x) / p, a, *low_high, dual_clip),
                float(new[i, t]),
            )
            assert float(loss[i, t]) == pytest.approx(value, rel=1e-9, abs=1e-9)
            assert float(gradient[i, t]) == pytest.approx(slope, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "loss", "slope"),
    [
        (1.0, 2.0, None, -2.0, -2.0),  # on policy: the plain policy gradient
        (1.5, 1.0, None, -1.2, 0.0),  # a gain beyond the clip is not pursued
        (1.5, -1.0, None, 1.5, 1.5),  # a harm beyond the clip is
        (0.5, 1.0, None, -0.5, -0.5),
        (0.5, -1.0, None, 0.8, 0.0),
        (9.0, -1.0, 3.0, 3.0, 0.0),  # dual clip bounds it
        (9.0, -1.0, None, 9.0, 9.0),
        (9.0, 1.0, 3.0, -1.2, 0.0),  # and leaves gains alone
        (9.0, 0.0, 3.0, 0.0, 0.0),
    ],
)
def test_surrogate_known_by_hand(ratio, advantage, dual_clip, loss, slope):
    found, gradient = with_gradient(
        lambda x: clipped_surrogate(x, double(0.0), double(advantage), 0.2, 0.2, dual_clip), double(math.log(ratio))
    )
    torch.testing.assert_close(found, double(loss), **DOUBLE)
    torch.testing.assert_close(gradient, double(slope), **DOUBLE)


@pytest.mark.parametrize("gap", [1e3, 1e30, math.inf])
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_huge_log_ratio_overflows_nowhere(gap, advantage):
    for new in (torch.tensor([gap]), torch.tensor([-gap])):
        loss, gradient = with_gradient(
            lambda x: clipped_surrogate(x, torch.zeros(1), torch.tensor([advantage]), 0.2, 0.2), new
        )
        assert loss.isfinite().all()
        assert gradient.isfinite().all()
        for values in (*with_gradient(lambda x: low_variance_kl(x, torch.zeros(1)), new),):
            assert values.isfinite().all()


def test_log_ratio_is_exact_inside_its_limits():
    assert log_ratio(double(-1.0, 25.0, -40.0), double(0.5, 0.0, 0.0)).tolist() == [-1.5, 20.0, -20.0]


@given(st.floats(-12, 0), st.floats(-12, 0))
@settings(deadline=None, max_examples=60)
def test_k3_agrees_with_probabilities(policy, reference):
    value, gradient = with_gradient(lambda x: low_variance_kl(x, double(reference)), double(policy))
    ratio = math.exp(reference) / math.exp(policy)
    expected = ratio - math.log(ratio) - 1
    assert float(value) == pytest.approx(min(expected, 10.0), rel=1e-9, abs=1e-9)
    assert float(gradient) == pytest.approx(1 - ratio if expected < 10 else 0.0, rel=1e-9, abs=1e-9)
    assert float(value) >= -1e-15  # exp(d) - d - 1 rounds


def test_k3_is_an_unbiased_estimate_of_the_divergence():
    policy, reference = double(0.5, 0.3, 0.2), double(0.2, 0.2, 0.6)
    divergence = sum(p * math.log(p / q) for p, q in zip(policy.tolist(), reference.tolist(), strict=True))
    expectation = float((policy * low_variance_kl(policy.log(), reference.log())).sum())
    assert expectation == pytest.approx(divergence, rel=1e-9)


def test_importance_weights_are_truncated_from_above_only_and_detached():
    old = double(-1.0, -1.0, -1.0, -1.0).log_softmax(0).requires_grad_()
    rollout = old.detach() - double(0.5, 1.5, 900.0, -3.0).clamp(max=30)
    weights = importance_weights(old, rollout, 2.0)
    torch.testing.assert_close(weights, double(math.exp(0.5), 2.0, 2.0, math.exp(-3.0)), **DOUBLE)
    assert not weights.requires_grad
    assert importance_weights(old, old, 2.0).tolist() == [1.0] * 4
