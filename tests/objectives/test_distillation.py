import math

import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.batch import Batch, Student
from selfdistill.objectives.distillation import (
    clip_watched,
    distillation_targets,
    gap_watched,
    stale_ratio,
    support_divergence,
)

MASK = torch.tensor([[True, True, False], [True, True, True], [True, False, False], [False, False, False]])


def batch(**fields):
    zeros = torch.zeros(4, 3, dtype=torch.float64)
    hinted = torch.tensor([True, False, True, True])
    return Batch(MASK, torch.ones(4), zeros, correct_logprobs=zeros - 1.0, hinted=hinted).extended(**fields)


@pytest.mark.parametrize(
    ("aggregation", "first", "third"),
    [("tokens", 1 / 3, 1 / 3), ("rollouts", 1 / 6, 1 / 3), ("all_rollouts", 1 / 8, 1 / 4)],
)
def test_the_mean_is_over_hinted_rows_the_empty_one_among_them(aggregation, first, third):
    targets = distillation_targets(batch(), aggregation)
    expected = [[first, first, 0.0], [0.0] * 3, [third, 0.0, 0.0], [0.0] * 3]
    torch.testing.assert_close(targets.weights, torch.tensor(expected))
    assert not targets.advantages.any()
    assert targets.metrics == {}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_rows_that_left_are_in_no_mean(aggregation):
    kept = torch.tensor([True, True, False, False])
    targets = distillation_targets(batch(kept=kept), aggregation)
    share = {"sums": 1.0, "all_rollouts": 0.25}.get(aggregation, 0.5)
    torch.testing.assert_close(targets.weights, torch.tensor([[share, share, 0.0], *[[0.0] * 3] * 3]))


def test_a_stale_ratio_is_bounded_from_above_only_and_detached():
    logprobs = torch.tensor([[0.1, 0.9, -3.0], [900.0, -900.0, 0.0]], dtype=torch.float64).log_softmax(dim=-1)
    leaf = (logprobs + 0.0).requires_grad_()
    gaps = torch.tensor([[0.1, 0.9, -3.0], [900.0, -900.0, 0.0]], dtype=torch.float64)
    old = Batch(torch.ones(2, 3, dtype=torch.bool), torch.ones(2), logprobs - gaps)
    found = stale_ratio(Student(leaf), old, 2.0)
    expected = [[math.exp(0.1), 2.0, math.exp(-3)], [2.0, math.exp(-20), 1.0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert not found.requires_grad


def test_the_gap_is_that_of_sampled_tokens_of_hinted_rows_without_sign():
    student = Student(torch.tensor([-1.5, -0.5, 0.0]).double().repeat(4, 1).requires_grad_())
    values, mask = gap_watched(student, batch())["signal/teacher_gap_abs_mean"]
    assert torch.equal(mask, batch().hinted_mask)
    assert values[0].tolist() == [0.5, 0.5, 1.0]
    assert not values.requires_grad


def test_what_a_clip_takes_away_is_watched_on_hinted_rows():
    free = torch.tensor([0.01, 0.2, 0.05]).repeat(4, 1).requires_grad_()
    watched = clip_watched(free, free.clamp(max=0.05), batch())
    values, mask = watched["signal/divergence_mean"]
    assert torch.equal(values, free)
    assert torch.equal(mask, batch().hinted_mask)
    shares, mask = watched["signal/clipped_share"]
    assert shares.tolist() == [[0.0, 1.0, 0.0]] * 4
    assert torch.equal(mask, batch().hinted_mask)
    assert not values.requires_grad
    assert not shares.requires_grad


@pytest.mark.parametrize("tail", [True, False])
def test_both_sides_are_read_alike_and_the_mix_is_from_student_to_teacher(tail):
    """On two ids: KL(T || S) for mix 0, from probabilities by hand."""
    student, teacher = (torch.tensor([[p]], dtype=torch.float64).log() for p in ([0.5, 0.1], [0.2, 0.6]))
    rest = ([0.4], [0.2]) if tail else ([], [])
    s, t = ([*each.exp()[0, 0].tolist(), *more] for each, more in zip((student, teacher), rest, strict=True))
    s, t = ([p / sum(side) for p in side] for side in (s, t))
    forward = [q * math.log(q / p) for p, q in zip(s, t, strict=True)]
    pair = Student(torch.zeros(1, 1), student), teacher
    assert float(support_divergence(*pair, 0.0, 2, tail)) == pytest.approx(sum(forward), rel=1e-9)
    clipped = sum(min(term, 0.1) for term in forward)
    assert float(support_divergence(*pair, 0.0, 2, tail, 0.1)) == pytest.approx(clipped, rel=1e-9)
