"""Computes the contrast between a correct hint and several wrong ones (RLCSD, arXiv 2606.11709, sect. 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def mean_wrong_logprobs(
    wrong_logprobs: Float[Tensor, "B K T"], wrong_mask: Bool[Tensor, "B K"]
) -> Float[Tensor, "B T"]:
    """Log of the mean probability over a row's wrong hints (not the mean of log-probabilities).

    Args:
        wrong_logprobs: (B, K, T) nats; values under masked hints are ignored, NaN included.
        wrong_mask: (B, K) bool.

    Returns:
        (B, T) nats; -inf for a row without any wrong hint.
    """
    masked = torch.where(wrong_mask[..., None], wrong_logprobs, -torch.inf)
    count = wrong_mask.sum(dim=1).clamp(min=1).to(wrong_logprobs)
    return masked.logsumexp(dim=1) - count.log()[:, None]


def contrastive_evidence(
    correct_logprobs: Float[Tensor, "B T"], wrong_logprobs: Float[Tensor, "B K T"], wrong_mask: Bool[Tensor, "B K"]
) -> Float[Tensor, "B T"]:
    """e_t = lp_correct - log mean_k p_wrong,k: (B, T) nats, positive where the correct hint favours the token."""
    return correct_logprobs - mean_wrong_logprobs(wrong_logprobs, wrong_mask)
