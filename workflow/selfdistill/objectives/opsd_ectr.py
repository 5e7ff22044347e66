"""Implements OPSD-ECTR: OPSD with a teacher sharpened by its contrast with a wrong hint (docs/methods.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill.methods.opsd_ectr import OPSDECTRSettings
from selfdistill.objectives.batch import Batch, Needs, Student, Support, Targets, TokenLoss
from selfdistill.objectives.distillation import clip_watched, distillation_targets, gap_watched
from selfdistill.objectives.divergences import distributions, divergence

if TYPE_CHECKING:
    from jaxtyping import Float


class OPSDECTR(OPSDECTRSettings):
    """Settings and loss of OPSD-ECTR. Rewards play no part but for choosing hints."""

    @property
    def needs(self) -> Needs:
        """Returns the teacher under the correct and a wrong hint at its own (B, T, k) top ids, in mixed groups."""
        return Needs(correct_hint=True, wrong_hints=True, mixed_groups=True, support=Support("teacher", self.top_k))

    def target(self, correct: Float[Tensor, "*N S"], wrong: Float[Tensor, "*N S"]) -> Float[Tensor, "*N S"]:
        """log q from the two teachers' log-probs; all (..., S), summing to one over S."""
        a = self.ectr_alpha
        floored = wrong if self.log_w_floor is None else wrong.clamp(min=self.log_w_floor)
        return ((1 + a) * correct - a * floored).log_softmax(dim=-1)

    def contrast_weight(self, correct: Float[Tensor, "*N S"], wrong: Float[Tensor, "*N S"]) -> Float[Tensor, "*N"]:
        """(...) weight of a token from the two teachers' log-probs (..., S): small where the hints agree."""
        if self.cw_tau == 0:
            return torch.ones_like(correct[..., 0])
        # A sum of rounded terms can fall below zero where the teachers are equal.
        pair = (wrong, correct) if self.cw_from == "correct" else (correct, wrong)
        apart = divergence(*pair, 0.0).clamp(min=0)
        return apart / (apart + self.cw_tau)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Return a mean over all tokens of hinted rows: the contrast weight scales the loss, not its denominator."""
        return distillation_targets(batch, aggregation)

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return the divergence of student and contrastive target at each token, in nats, times the contrast weight."""
        correct = distributions(batch.correct_support, self.top_k, self.tail)
        wrong = distributions(batch.wrong_support, self.top_k, self.tail)
        weight = self.contrast_weight(correct, wrong)
        read = distributions(student.support, self.top_k, self.tail)
        target = self.target(correct, wrong)
        loss = divergence(read, target, self.beta, self.token_clip)
        with torch.no_grad():
            free = divergence(read, target, self.beta)
        watched = clip_watched(free, loss, batch) | {"signal/contrast_weight_mean": (weight, batch.hinted_mask)}
        return TokenLoss(loss * weight, watched | gap_watched(student, batch))
