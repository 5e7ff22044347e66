"""Implements SDPO as its authors run it: distils the rollouts that have a context (docs/methods.md#sdpo_official)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill.methods.sdpo_official import SDPOOfficialSettings
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Student, Support, Targets, TokenLoss
from selfdistill.objectives.distillation import distillation_targets, gap_watched, stale_ratio, support_divergence
from selfdistill.objectives.divergences import bounded_reverse_divergence, distributions
from selfdistill.objectives.policy_gradient import clipped_surrogate

if TYPE_CHECKING:
    from jaxtyping import Float


class SDPOOfficial(SDPOOfficialSettings):
    """Settings and loss of SDPO. Rewards choose which responses are shown, and weigh in where `grpo_share` says so."""

    @property
    def needs(self) -> Needs:
        """The teacher under the correct context: at the student's (B, T, k) top ids, or of the sampled tokens."""
        return Needs(correct_hint=True, support=Support("student", self.top_k) if self.level == "logits" else None)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Return a mean over rows that have a context; over all rows where each has an advantage's part."""
        if not self.grpo_share:
            return distillation_targets(batch, aggregation)
        mask = batch.token_mask
        advantages = batch.advantages[:, None].expand(mask.shape)
        return Targets(advantages, token_weights(mask, aggregation, batch.rollouts), {})

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Divergence of student and teacher times the bounded policy ratio, in nats, mixed with grpo's loss."""
        loss, divergence = self._divergence(student, batch)
        ratio, mask = stale_ratio(student, batch, self.is_clip), batch.hinted_mask
        loss = loss * ratio
        if self.grpo_share:
            surrogate = clipped_surrogate(
                student.logprobs,
                batch.old_logprobs,
                targets.advantages,
                self.epsilon_low,
                self.epsilon_high,
                self.dual_clip,
            )
            loss = self.grpo_share * surrogate + (1 - self.grpo_share) * torch.where(mask, loss, 0.0)
        watched = {"signal/divergence_mean": (divergence, mask), "signal/is_ratio_mean": (ratio, mask)}
        return TokenLoss(loss, watched | gap_watched(student, batch))

    def _divergence(self, student: Student, batch: Batch) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
        """(B, T) the loss of each token, and what it says of the divergence, detached; nats."""
        bound = self.advantage_bound
        if self.level == "logits" and bound is not None:
            mine = distributions(student.support, self.top_k, self.tail)
            loss = bounded_reverse_divergence(mine, distributions(batch.correct_support, self.top_k, self.tail), bound)
            return loss, loss.detach()
        if self.level == "logits":
            loss = support_divergence(student, batch.correct_support, self.alpha, self.top_k, self.tail)
            return loss, loss.detach()
        # Times the student's log-prob, the gap has the gradient of the divergence that it estimates.
        gap = (student.logprobs - batch.correct_logprobs).detach()
        if self.level == "sequence":
            inside = batch.response_mask
            means = torch.where(inside, gap, 0.0).sum(dim=1) / inside.sum(dim=1).clamp(min=1)
            gap = means[:, None].expand(gap.shape)
        pull = gap if bound is None else gap.clamp(-bound, bound)
        return pull * student.logprobs, gap
