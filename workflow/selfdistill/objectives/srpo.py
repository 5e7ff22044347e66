"""Implements SRPO: correct rollouts learn by GRPO, wrong ones from a hinted teacher (docs/methods.md#srpo)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill.methods.srpo import SRPOSettings
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Student, Support, Targets, TokenLoss, means
from selfdistill.objectives.distillation import gap_watched, stale_ratio, support_divergence
from selfdistill.objectives.policy_gradient import clipped_surrogate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class SRPO(SRPOSettings):
    """Settings and loss of SRPO: correct rollouts by GRPO, the others by a hinted teacher's distribution."""

    @property
    def needs(self) -> Needs:
        """The teacher under the correct hint at the student's (B, T, k) top ids, and its entropy (B, T) in nats."""
        return Needs(
            correct_hint=True,
            wrong_only=self.routing == "verifier",
            support=Support("student", self.top_k),
            teacher_entropy=True,
        )

    def reads_teacher(self, advantages: Float[Tensor, " B"], step: int) -> Bool[Tensor, " B"]:
        """Return (B,) bool: rollouts that may be distilled.

        By the verifier's routing the others have no hints anyway.
        """
        return advantages <= 0 if self.routing == "advantage_sign" else torch.ones_like(advantages, dtype=torch.bool)

    def distilled(self, batch: Batch) -> Bool[Tensor, " B"]:
        """Return (B,) bool: hinted rows that are wrong, or whose advantage is not positive, as `routing` says."""
        to_grpo = batch.correct if self.routing == "verifier" else batch.advantages > 0
        return batch.hinted & ~to_grpo

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Return one mean over the tokens of both branches, distilled ones weighted by the teacher's confidence."""
        mask, rows = batch.token_mask, self.distilled(batch)
        distilled = mask & rows[:, None]
        weights = token_weights(mask, aggregation, batch.rollouts)
        confidence = self._confidence(batch.teacher_entropy, torch.where(distilled, weights, 0.0))
        metrics = means(
            {
                "signal/distilled_share": (distilled.float(), mask),
                "teacher/entropy": (batch.teacher_entropy, distilled),
            }
        )
        if distilled.any():
            metrics["signal/entropy_weight_max"] = float(confidence[distilled].max())
        advantages = batch.advantages[:, None].expand(mask.shape)
        weights = torch.where(distilled, weights * confidence, weights)
        return Targets(advantages, weights, metrics, distilled=rows)

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return (B, T): divergence in nats on distilled rows, the clipped surrogate with dual clip on the others."""
        route = self.distilled(batch)[:, None]
        divergence = support_divergence(student, batch.correct_support, self.alpha, self.top_k, self.tail)
        ratio = stale_ratio(student, batch, self.is_clip)
        surrogate = clipped_surrogate(
            student.logprobs,
            batch.old_logprobs,
            targets.advantages,
            self.epsilon_low,
            self.epsilon_high,
            self.dual_clip,
        )
        distilled = batch.token_mask & route
        watched = {
            "signal/divergence_mean": (divergence.detach(), distilled),
            "signal/is_ratio_mean": (ratio, distilled),
        }
        return TokenLoss(torch.where(route, divergence * ratio, surrogate), watched | gap_watched(student, batch))

    def _confidence(self, entropy: Float[Tensor, "B T"], weights: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """(B, T) exp(-beta H) over its mean, weighted like the loss: `weights` (B, T), 0 off the distilled tokens."""
        distilled, weights = weights > 0, weights.to(entropy)
        exponent = torch.where(distilled, -self.entropy_beta * entropy, -torch.inf)
        if not distilled.any():
            return torch.ones_like(entropy)
        # Relative to the largest: teachers unsure everywhere must not underflow. The mean divides it out again.
        raw = (exponent - exponent.max()).exp()
        return torch.where(distilled, raw * weights.sum() / (weights * raw).sum(), 1.0)
