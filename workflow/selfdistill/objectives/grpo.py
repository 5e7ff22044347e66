"""GRPO: the clipped surrogate on group advantages, dual clip, token mean over the global batch (spec methods.md 1)."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Targets
from selfdistill.objectives.policy_gradient import clipped_surrogate


@dataclass(frozen=True)
class GRPO:
    """Settings and loss of GRPO."""

    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    dual_clip: float = 3.0

    needs: ClassVar[Needs] = Needs()

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Every token of a rollout carries the rollout's advantage."""
        mask = batch.token_mask
        advantages = batch.advantages[:, None].expand(mask.shape)
        return Targets(advantages, token_weights(mask, aggregation, batch.rollouts), {})

    def token_loss(self, logprobs: Tensor, batch: Batch, targets: Targets) -> Tensor:
        """(B, T) loss of each token; `logprobs` (B, T) carries the student's gradient."""
        return clipped_surrogate(
            logprobs, batch.old_logprobs, targets.advantages, self.epsilon_low, self.epsilon_high, self.dual_clip
        )
