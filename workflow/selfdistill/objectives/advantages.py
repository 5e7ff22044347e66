"""Sequence advantages from rewards."""

import torch
from torch import Tensor


def group_advantages(rewards: Tensor, groups: Tensor, *, divide_by_std: bool = True, epsilon: float = 1e-6) -> Tensor:
    """GRPO's advantage: (r - mean of its group) / (unbiased standard deviation of its group + epsilon).

    Args:
        rewards: (B,) one reward a rollout.
        groups: (B,) integer; rollouts of one prompt share a number. Any order.
        divide_by_std: False as in SDPO and SRPO (docs/methods.md, Notation).
        epsilon: added to the standard deviation.

    Returns:
        (B,) advantages; zero where a whole group had one outcome. A group of one keeps mean 0 and deviation 1.
    """
    rewards = rewards.float()
    _, member = torch.unique(groups, return_inverse=True)
    size = torch.bincount(member).to(rewards)
    mean = torch.zeros_like(size).index_add_(0, member, rewards) / size
    mean = torch.where(size > 1, mean, 0.0)
    # Seven times 0.1 has a mean that is not quite 0.1: without this, rounding errors would become advantages.
    highest = torch.full_like(size, -torch.inf).scatter_reduce_(0, member, rewards, "amax")
    lowest = torch.full_like(size, torch.inf).scatter_reduce_(0, member, rewards, "amin")
    mixed = (highest > lowest) | (size == 1)
    centred = torch.where(mixed[member], rewards - mean[member], 0.0)
    if not divide_by_std:
        return centred
    variance = torch.zeros_like(size).index_add_(0, member, centred.square()) / (size - 1).clamp(min=1)
    deviation = torch.where(size > 1, variance.sqrt(), 1.0)
    return centred / (deviation[member] + epsilon)
