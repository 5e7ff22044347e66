"""Computes the clipped policy-gradient surrogate, its ratios and KL. All functions return (B, T), unreduced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

# exp(20) is about 5e8: far outside every clip, still finite in float32. The released rlsd and rlcsd losses leave the
# log-ratio unclamped and can overflow (docs/departures.md D19).
LOG_RATIO_LIMIT = 20.0


def log_ratio(logprobs: Float[Tensor, "B T"], old_logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Clamped log of the policy ratio, in nats."""
    return (logprobs - old_logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


def clipped_surrogate(
    logprobs: Float[Tensor, "B T"],
    old_logprobs: Float[Tensor, "B T"],
    advantages: Float[Tensor, "B T"],
    epsilon_low: float,
    epsilon_high: float,
    dual_clip: float | None = None,
) -> Float[Tensor, "B T"]:
    """PPO's token loss -min(rho A, clip(rho, 1 - eps_low, 1 + eps_high) A), to be minimised.

    With `dual_clip` c > 1 the loss of tokens with A < 0 is bounded by -c A (Ye et al. 2020), as in verl's GRPO.
    """
    ratio = log_ratio(logprobs, old_logprobs).exp()
    loss = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - epsilon_low, 1 + epsilon_high))
    if dual_clip is None:
        return loss
    return torch.where(advantages < 0, torch.minimum(loss, -advantages * dual_clip), loss)


def low_variance_kl(logprobs: Float[Tensor, "B T"], reference_logprobs: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Schulman's k3 estimate of KL(policy || reference) a token, in nats: exp(d) - d - 1 with d = ref - policy."""
    difference = (reference_logprobs - logprobs).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return (difference.exp() - difference - 1).clamp(max=10.0)


def importance_weights(
    old_logprobs: Float[Tensor, "B T"], rollout_logprobs: Float[Tensor, "B T"], threshold: float
) -> Float[Tensor, "B T"]:
    """Token-level truncated importance weights min(exp(old - rollout), threshold), detached (docs/departures.md D2).

    They correct for a rollout engine whose log-probabilities differ from the trainer's.
    """
    return log_ratio(old_logprobs, rollout_logprobs).exp().clamp(max=threshold).detach()
