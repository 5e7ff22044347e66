"""Turns token losses into one number, by weights over the global batch, never over a micro-batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

AGGREGATIONS = ("tokens", "rollouts", "sums", "all_rollouts")


def token_weights(mask: Bool[Tensor, "B T"], aggregation: str, rollouts: int) -> Float[Tensor, "B T"]:
    """Weights w such that sum(w * loss) is the mean of the loss over the tokens of `mask`, or over their sums.

    Args:
        mask: (B, T) bool, the tokens of one path, over the whole global batch.
        aggregation: "tokens" weighs all tokens alike (corrected preset); "rollouts" takes the mean inside each
            rollout, then over rollouts (RLCSD paper Eq. 15; also what the released code's per-micro-batch means
            amount to with one row a micro-batch, docs/departures.md D8); "sums" takes the sum over each rollout's
            tokens, then the mean over rollouts, as a printed sum over t without divisor says; "all_rollouts" is
            "rollouts", where a method that distils some rollouts counts the others among them (distillation_targets).
        rollouts: rollouts in the global batch, the divisor of all but "tokens"; a rollout without tokens on this
            path contributes zero but is counted.

    Returns:
        (B, T) float32, zero off the mask; all zero for an empty mask.
    """
    ones = mask.float()
    if aggregation == "tokens":
        return ones / ones.sum().clamp(min=1)
    if aggregation in ("rollouts", "all_rollouts"):
        return ones / ones.sum(dim=1, keepdim=True).clamp(min=1) / max(rollouts, 1)
    if aggregation == "sums":
        return ones / max(rollouts, 1)
    raise ValueError(f"aggregation {aggregation!r} is not one of {', '.join(AGGREGATIONS)}")
