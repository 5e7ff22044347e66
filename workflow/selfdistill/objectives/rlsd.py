"""RLSD: token advantages scaled by how far a hinted teacher agrees with each token (docs/methods.md, rlsd)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfdistill.errors import UserError
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

FORMS = ("interpolated", "minimum")


@dataclass(frozen=True)
class RLSD(AgainstStudent):
    """Settings and loss of RLSD.

    Attributes:
        epsilon_low, epsilon_high: clip of the policy ratio. The RLSD paper has 0.2 and 0.28.
        epsilon_w: clip of the evidence weight, both sides.
        lam, lam_decay_steps: share of the modulation, to 0 over so many training steps.
        form: "interpolated", A ((1 - lam) + lam clip(w)), of the paper's text and the released code (lam 1 without
            decay: A clip(w), the paper's other form); "minimum", (1 - lam) A + lam min(w A, clip(w) A), of its printed
            objective, which bounds w on one side only: where A < 0 a single token may weigh up to exp(20). Printed
            without a policy ratio that has no gradient: here both forms are advantages of the clipped surrogate.
    """

    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    epsilon_w: float = 0.2
    lam: float = 0.5
    lam_decay_steps: int = 50
    form: str = "interpolated"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise UserError(f"objective.form is {self.form!r}, expected one of {', '.join(FORMS)}")

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
