"""Implements RLSD-ECTR: RLSD on the contrast of a correct and a wrong hint (docs/methods.md#opsd_ectr-rlsd_ectr)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from selfdistill.methods.rlsd_ectr import RLSDECTRSettings
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Student, Targets, TokenLoss, means
from selfdistill.objectives.contrast import contrastive_evidence
from selfdistill.objectives.modulation import (
    annealed,
    clip_changed,
    clipped_weight,
    evidence_watched,
    evidence_weight,
    interpolated,
    rows_scaled,
    weight_watched,
)
from selfdistill.objectives.policy_gradient import clipped_surrogate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class RLSDECTR(RLSDECTRSettings):
    """Settings and loss of RLSD-ECTR: those of RLSD. Published with one wrong hint; several count by their mean."""

    needs: ClassVar[Needs] = Needs(correct_hint=True, wrong_hints=True, mixed_groups=True)

    def reads_teacher(self, advantages: Float[Tensor, " B"], step: int) -> Bool[Tensor, " B"]:
        """Return (B,) bool: rollouts whose advantage is not 0, while lambda is not 0; no other is moved by a scale."""
        return rows_scaled(advantages, annealed(self.lam, self.lam_decay_steps, step))

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Advantages scaled by the contrast; a row without hints keeps its plain advantage."""
        advantages, mask = batch.advantages[:, None].expand(batch.response_mask.shape), batch.hinted_mask
        evidence = contrastive_evidence(batch.correct_logprobs, batch.wrong_logprobs, batch.wrong_mask)
        evidence = torch.where(mask, evidence, 0.0)
        weight = evidence_weight(advantages, evidence)
        lam = annealed(self.lam, self.lam_decay_steps, batch.step)
        watched = evidence_watched(evidence, mask) | weight_watched(weight, self.epsilon_w, mask)
        return Targets(
            interpolated(advantages, clipped_weight(weight, self.epsilon_w), lam),
            token_weights(batch.token_mask, aggregation, batch.rollouts),
            means(watched) | {"signal/lam": lam},
            marked=mask & clip_changed(weight, self.epsilon_w),
        )

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return (B, T) in units of the advantage: the clipped surrogate, without dual clip."""
        old, advantages = batch.old_logprobs, targets.advantages
        return TokenLoss(clipped_surrogate(student.logprobs, old, advantages, self.epsilon_low, self.epsilon_high))
