"""Implements GRPO: the clipped surrogate on group advantages, dual clip, token mean over the global batch.

Formulas: docs/methods.md#grpo.
"""

from typing import ClassVar

from selfdistill.methods.grpo import GRPOSettings
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Student, Targets, TokenLoss
from selfdistill.objectives.policy_gradient import clipped_surrogate


class GRPO(GRPOSettings):
    """Settings and loss of GRPO: the clipped surrogate on one advantage for all tokens of a response."""

    needs: ClassVar[Needs] = Needs()

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Every token of a rollout carries the rollout's advantage."""
        mask = batch.token_mask
        advantages = batch.advantages[:, None].expand(mask.shape)
        return Targets(advantages, token_weights(mask, aggregation, batch.rollouts), {})

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return (B, T) in units of the advantage: the clipped surrogate with dual clip."""
        old, advantages = batch.old_logprobs, targets.advantages
        return TokenLoss(
            clipped_surrogate(student.logprobs, old, advantages, self.epsilon_low, self.epsilon_high, self.dual_clip)
        )
