import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.objectives.advantages import group_advantages

DEVIATIONS = ("sample", "population", "none")


def slow_advantages(rewards, groups, divided_by, epsilon):
    advantages = []
    for reward, group in zip(rewards, groups, strict=True):
        members = [r for r, g in zip(rewards, groups, strict=True) if g == group]
        mean, deviation = 0.0, 1.0
        if len(members) > 1:
            mean = sum(members) / len(members)
            squares = sum((r - mean) ** 2 for r in members)
            deviation = math.sqrt(squares / (len(members) - (divided_by == "sample")))
        advantages.append(reward - mean if divided_by == "none" else (reward - mean) / (deviation + epsilon))
    return advantages


@pytest.mark.parametrize("deviation", DEVIATIONS)
@given(rows=st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 4)), min_size=1, max_size=24))
@settings(deadline=None, max_examples=60)
def test_agrees_with_loops_for_any_groups_in_any_order(deviation, rows):
    rewards, groups = [r for r, _ in rows], [3 * g - 5 for _, g in rows]
    found = group_advantages(torch.tensor(rewards), torch.tensor(groups), deviation=deviation)
    expected = slow_advantages(rewards, groups, deviation, 1e-6)
    torch.testing.assert_close(found, torch.tensor(expected), rtol=2e-6, atol=2e-6)


def test_groups_of_different_sizes_known_by_hand():
    found = group_advantages(torch.tensor([1, 0, 1, 0, 0, 1]), torch.tensor([4, 9, 4, 4, 9, 7]), epsilon=0.0)
    a = 1 / math.sqrt(3)
    torch.testing.assert_close(found[[0, 2, 3]], torch.tensor([a, a, -2 * a]))
    assert found[[1, 4]].isnan().all()  # 0 / 0: the reason for epsilon
    assert found[5] == 1


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("outcome", [0.0, 1.0])
@pytest.mark.parametrize("size", [2, 3, 7, 8, 16])
def test_a_group_of_one_outcome_has_zero_advantages(size, outcome, deviation):
    rewards, groups = torch.full((size,), outcome), torch.zeros(size, dtype=torch.long)
    assert group_advantages(rewards, groups, deviation=deviation).tolist() == [0.0] * size


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_a_group_of_one_keeps_its_reward(deviation):
    found = group_advantages(torch.tensor([1.0, 0.0]), torch.tensor([0, 1]), deviation=deviation)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0]), rtol=2e-6, atol=0)


@given(st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_a_shuffle_shuffles_the_advantages_alike(seed):
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randint(0, 2, (16,), generator=generator)
    groups = torch.arange(16) // 4
    order = torch.randperm(16, generator=generator)
    shuffled = group_advantages(rewards[order], groups[order])
    torch.testing.assert_close(shuffled, group_advantages(rewards, groups)[order], rtol=1e-6, atol=1e-6)


def test_mixed_groups_sum_to_zero():
    rewards, groups = torch.tensor([1.0, 0, 0, 0, 1, 1, 1, 0]), torch.arange(8) // 4
    found = group_advantages(rewards, groups)
    torch.testing.assert_close(found.view(2, 4).sum(dim=1), torch.zeros(2), rtol=0, atol=1e-6)
    assert found[0] > 0 > found[1]


@pytest.mark.parametrize("deviation", DEVIATIONS)
def test_one_outcome_gives_exact_zeros_whatever_it_is(deviation):
    rewards = torch.full((7,), 0.1)
    advantages = group_advantages(rewards, torch.zeros(7, dtype=torch.long), deviation=deviation)
    assert advantages.tolist() == [0.0] * 7
