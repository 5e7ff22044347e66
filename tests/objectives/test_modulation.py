import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.objectives.modulation import annealed, clipped_weight, evidence_weight, interpolated


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("step", "lam"), [(1, 0.5), (2, 0.49), (26, 0.25), (50, 0.01), (51, 0.0), (52, 0.0), (900, 0.0)]
)
def test_lambda_falls_linearly_from_the_first_step(step, lam):
    assert annealed(0.5, 50, step) == pytest.approx(lam, abs=1e-12)


def test_without_decay_steps_lambda_stays():
    assert [annealed(0.3, 0, step) for step in (1, 51, 10**6)] == [0.3] * 3


@pytest.mark.parametrize(
    ("advantage", "evidence", "weight"),
    [(2.0, 0.3, 0.3), (2.0, -0.3, -0.3), (-0.1, 0.3, -0.3), (-0.1, -0.3, 0.3), (0.0, 5.0, 0.0), (-0.0, 5.0, 0.0)],
)
def test_a_weight_is_above_one_where_teacher_and_advantage_agree(advantage, evidence, weight):
    found = evidence_weight(double(advantage), double(evidence))
    torch.testing.assert_close(found, double(math.exp(weight)), rtol=1e-12, atol=0)


def test_evidence_of_any_size_is_finite():
    found = evidence_weight(torch.tensor([1.0, 1.0, -1.0, -1.0]), torch.tensor([1e4, -1e4, math.inf, -math.inf]))
    torch.testing.assert_close(found.log(), torch.tensor([20.0, -20.0, -20.0, 20.0]))


def test_a_clip_has_two_sides():
    found = clipped_weight(double(0.1, 0.79, 0.81, 1.19, 1.21, 99.0), 0.2)
    torch.testing.assert_close(found, double(0.8, 0.8, 0.81, 1.19, 1.2, 1.2), rtol=1e-12, atol=0)


@given(st.floats(-5, 5), st.floats(0, 9), st.floats(0, 1))
@settings(deadline=None, max_examples=60)
def test_interpolation_lies_between_the_plain_and_the_weighted_advantage(advantage, weight, lam):
    found = float(interpolated(double(advantage), double(weight), lam))
    assert found == pytest.approx(lam * weight * advantage + (1 - lam) * advantage, rel=1e-9, abs=1e-12)
    assert found * advantage >= 0
