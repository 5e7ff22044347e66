"""Implements RLCSD: GRPO with token advantages shifted by the contrast of a correct and several wrong hints.

Paper: arXiv 2606.11709, sect. 4, Eq. 10-15; released values and edge cases: docs/methods.md#rlcsd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill.methods.rlcsd import RLCSDSettings
from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Student, Targets, TokenLoss, Watched, means
from selfdistill.objectives.contrast import contrastive_evidence
from selfdistill.objectives.policy_gradient import clipped_surrogate

if TYPE_CHECKING:
    from jaxtyping import Float


class RLCSD(RLCSDSettings):
    """Settings and loss of RLCSD: advantages follow the contrast of right and wrong hints, token by token."""

    @property
    def needs(self) -> Needs:
        """Returns log-probs (B, T) under the correct hint, and (B, K, T) under wrong ones or the student's own."""
        return Needs(
            correct_hint=True, wrong_hints=not self.one_sided, mixed_groups=True, current_logprobs=self.one_sided
        )

    def residual(self, evidence: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """r = clip(beta lam tanh(e / tau)): same shape as the evidence, in units of the advantage."""
        shift = self.beta * self.lam * torch.tanh(evidence / self.tau)
        return shift.clamp(self.residual_clip_low, self.residual_clip_high)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Shifted advantages on selected tokens, and one global mean for each of the two paths.

        A token is selected where |r| > delta in a row that has its hints; a row without (a lone correct rollout, say)
        stays on the unmodulated path. The shift never turns an advantage's sign: A > 0 stays >= 0, A < 0 stays <= 0,
        and A = 0 stays 0, or with `zero_advantage: shifts` goes with A > 0.
        """
        mask, signal_mask = batch.token_mask, batch.hinted_mask
        advantages = batch.advantages[:, None].expand(mask.shape)
        if self.one_sided:
            evidence = batch.correct_logprobs - batch.current_logprobs
        else:
            evidence = contrastive_evidence(batch.correct_logprobs, batch.wrong_logprobs, batch.wrong_mask)
        evidence = torch.where(signal_mask, evidence, 0.0)
        residual = self.residual(evidence)
        selected = signal_mask & (residual.abs() > self.delta)
        shifted = advantages + residual
        anchored = torch.where(advantages >= 0, shifted.clamp(min=0), shifted.clamp(max=0))
        if self.zero_advantage == "stays":
            anchored = torch.where(advantages == 0, 0.0, anchored)
        modulated = torch.where(selected, anchored if self.anchor else residual, advantages)

        rollouts = batch.rollouts
        if self.single_path:
            weights = token_weights(mask, aggregation, rollouts)
        else:
            weights = token_weights(mask & ~selected, aggregation, rollouts)
            weights = weights + self.eta * token_weights(selected, aggregation, rollouts)
        watched: Watched = {
            "signal/evidence_mean": (evidence, signal_mask),
            "signal/evidence_abs_mean": (evidence.abs(), signal_mask),
            "signal/selected_share": (selected.float(), mask),
            "signal/residual_mean": (residual, selected),
        }
        if self.anchor:
            watched["signal/sign_clamped_share"] = ((anchored != shifted).float(), selected)
        return Targets(modulated, weights, means(watched), marked=selected)

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return (B, T) in units of the advantage: the clipped surrogate, without dual clip."""
        old, advantages = batch.old_logprobs, targets.advantages
        return TokenLoss(clipped_surrogate(student.logprobs, old, advantages, self.epsilon, self.epsilon))
