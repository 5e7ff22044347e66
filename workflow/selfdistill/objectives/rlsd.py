"""Implements RLSD, which scales token advantages by how far a hinted teacher agrees (docs/methods.md#rlsd)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill.methods.rlsd import RLSDSettings
from selfdistill.objectives.batch import Watched
from selfdistill.objectives.modulation import (
    AgainstStudent,
    annealed,
    clipped_weight,
    evidence_weight,
    interpolated,
    rows_scaled,
    weight_watched,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class RLSD(AgainstStudent, RLSDSettings):
    """Settings and loss of RLSD: an advantage is scaled by how much the hinted teacher agrees with its sign."""

    def reads_teacher(self, advantages: Float[Tensor, " B"], step: int) -> Bool[Tensor, " B"]:
        """Return (B,) bool: rollouts whose advantage is not 0, while lambda is not 0; no other is moved by a scale."""
        return rows_scaled(advantages, annealed(self.lam, self.lam_decay_steps, step))

    def advantages(
        self, advantages: Float[Tensor, "B T"], evidence: Float[Tensor, "B T"], step: int
    ) -> Float[Tensor, "B T"]:
        """Scaled by the evidence weight; the sign stays, for lam up to 1."""
        lam = annealed(self.lam, self.lam_decay_steps, step)
        weight = evidence_weight(advantages, evidence)
        clipped = clipped_weight(weight, self.epsilon_w)
        if self.form == "interpolated":
            return interpolated(advantages, clipped, lam)
        return (1 - lam) * advantages + lam * torch.minimum(weight * advantages, clipped * advantages)

    def watched(
        self, advantages: Float[Tensor, "B T"], evidence: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> Watched:
        """Return the mean clipped weight, and the share of weights that the clip changes, over the tokens of `mask`."""
        return weight_watched(evidence_weight(advantages, evidence), self.epsilon_w, mask)
