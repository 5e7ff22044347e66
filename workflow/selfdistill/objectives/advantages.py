"""Computes sequence advantages from rewards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped


def group_advantages(
    rewards: Shaped[Tensor, " B"], groups: Int[Tensor, " B"], *, deviation: str = "sample", epsilon: float = 1e-6
) -> Float[Tensor, " B"]:
    """GRPO's advantage: (r - mean of its group) / (standard deviation of its group + epsilon).

    Args:
        rewards: (B,) one reward a rollout.
        groups: (B,) integer; rollouts of one prompt share a number. Any order.
        deviation: "sample" has the divisor n - 1 under its root, "population" n; "none" leaves r - mean as it is, as
            SDPO and SRPO do (docs/methods.md, Notation).
        epsilon: added to the standard deviation, outside of its root.

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
    if deviation == "none":
        return centred
    freedom = {"sample": size - 1, "population": size}[deviation]
    variance = torch.zeros_like(size).index_add_(0, member, centred.square()) / freedom.clamp(min=1)
    spread = torch.where(size > 1, variance.sqrt(), 1.0)
    return centred / (spread[member] + epsilon)
