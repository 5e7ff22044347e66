"""Implements on-policy distillation of another model on the sampled token (docs/methods.md#opd-opd_divergence).

The expected gradient is that of KL(student, teacher) at each position by itself: what a token does to later positions
is not credited to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill.methods.opd import OPDSettings
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Student, Targets, TokenLoss, means
from selfdistill.objectives.distillation import kl_watched
from selfdistill.objectives.policy_gradient import clipped_surrogate, low_variance_kl

if TYPE_CHECKING:
    from jaxtyping import Float


class OPD(OPDSettings):
    """Settings and loss of on-policy distillation as a policy gradient: the advantage is the teacher's log-ratio."""

    @property
    def needs(self) -> Needs:
        """Returns the teacher after the student's own prompt; its reference where the two are extrapolated."""
        return Needs(plain=True, reference=self.extrapolation != 1.0)

    def log_ratios(self, batch: Batch) -> Float[Tensor, "B T"]:
        """Return (B, T) nats before the clip: what the teacher says for each drawn token; 0 where it was not asked."""
        ratio = batch.correct_logprobs - batch.old_logprobs
        if self.needs.reference:
            further = batch.correct_logprobs - batch.teacher_reference_logprobs
            ratio = ratio + (self.extrapolation - 1) * further
        return torch.where(batch.hinted_mask, ratio, 0.0)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Return the clipped log-ratio at each token, with the group's advantage added by its weight."""
        free, mask = self.log_ratios(batch), batch.hinted_mask
        bound = self.advantage_clip
        ratio = free if bound is None else free.clamp(-bound, bound)
        changed = ratio != free
        estimate = low_variance_kl(batch.old_logprobs, batch.correct_logprobs)
        watched = kl_watched(estimate, mask) | {
            "signal/advantage_mean": (ratio, mask),
            "signal/advantage_clipped_share": (changed.to(ratio), mask),
        }
        return Targets(
            ratio + self.task_weight * batch.advantages[:, None],
            token_weights(batch.token_mask, aggregation, batch.rollouts),
            means(watched),
            marked=mask & changed,
        )

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return (B, T) in units of the advantage: the clipped surrogate with dual clip."""
        old, advantages = batch.old_logprobs, targets.advantages
        return TokenLoss(
            clipped_surrogate(student.logprobs, old, advantages, self.epsilon_low, self.epsilon_high, self.dual_clip)
        )
