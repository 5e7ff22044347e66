"""RLSD: token advantages scaled by how far a hinted teacher agrees with each token (docs/methods.md, rlsd)."""

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


class RLSD(AgainstStudent, RLSDSettings):
    """Settings and loss of RLSD."""

    def reads_teacher(self, advantages: Tensor, step: int) -> Tensor:
        """See methods.rows_read: none of a group of one outcome, and nobody once lam is 0."""
        return rows_scaled(advantages, annealed(self.lam, self.lam_decay_steps, step))

    def advantages(self, advantages: Tensor, evidence: Tensor, step: int) -> Tensor:
        """Scaled by the evidence weight; the sign stays, for lam up to 1."""
        lam = annealed(self.lam, self.lam_decay_steps, step)
        weight = evidence_weight(advantages, evidence)
        clipped = clipped_weight(weight, self.epsilon_w)
        if self.form == "interpolated":
            return interpolated(advantages, clipped, lam)
        return (1 - lam) * advantages + lam * torch.minimum(weight * advantages, clipped * advantages)

    def watched(self, advantages: Tensor, evidence: Tensor, mask: Tensor) -> Watched:
        """Mean weight and share of clipped weights."""
        return weight_watched(evidence_weight(advantages, evidence), self.epsilon_w, mask)
