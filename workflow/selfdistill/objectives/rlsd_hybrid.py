"""Implements the hybrid advantage of the TC-RLSD note (see rlsd_add)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from selfdistill.methods.rlsd_hybrid import RLSDHybridSettings
from selfdistill.objectives.batch import Watched
from selfdistill.objectives.modulation import (
    AgainstStudent,
    annealed,
    bound_watched,
    bounded,
    clipped_weight,
    evidence_weight,
    interpolated,
    weight_watched,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class RLSDHybrid(AgainstStudent, RLSDHybridSettings):
    """A_t = alpha A ((1 - lam) + lam clip(w_t)) + beta evidence_t, with RLSD's weight w_t.

    The note says that alpha = 0 and lam = 0 give rlsd_add; they give beta evidence_t. rlsd_add at a fixed lam is this
    with alpha = 1 - lam, beta = lam and a lam of 0.
    """

    def advantages(
        self, advantages: Float[Tensor, "B T"], evidence: Float[Tensor, "B T"], step: int
    ) -> Float[Tensor, "B T"]:
        """Scaled by the evidence weight and shifted by the bounded evidence."""
        lam = annealed(self.lam, self.lam_decay_steps, step)
        weight = clipped_weight(evidence_weight(advantages, evidence), self.epsilon_w)
        shift = self.beta * bounded(evidence, self.evidence_clip)
        return self.alpha * interpolated(advantages, weight, lam) + shift

    def watched(
        self, advantages: Float[Tensor, "B T"], evidence: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> Watched:
        """Return the mean weight, share of clipped weights, and share of tokens whose evidence is over the bound."""
        weight = evidence_weight(advantages, evidence)
        return weight_watched(weight, self.epsilon_w, mask) | bound_watched(evidence, self.evidence_clip, mask)
