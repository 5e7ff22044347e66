"""The additive advantage of the TC-RLSD note: docs/methods.md#rlsd_add-rlsd_hybrid.

There the hint is a critique written after reading the rollout; here it is whatever `hints.source` gives. An additive
term keeps its signal where A = 0 and is not anchored to A's sign. The note bounds it nowhere; we do, and log how often.
"""

import torch
from torch import Tensor

from selfdistill.methods.rlsd_add import RLSDAddSettings
from selfdistill.objectives.batch import Watched
from selfdistill.objectives.modulation import AgainstStudent, annealed, bound_watched, bounded


class RLSDAdd(AgainstStudent, RLSDAddSettings):
    """A_t = (1 - lam) A + lam evidence_t."""

    def reads_teacher(self, advantages: Tensor, step: int) -> Tensor:
        """See methods.rows_read: nobody once lam is 0."""
        return torch.full_like(advantages, annealed(self.lam, self.lam_decay_steps, step) != 0, dtype=torch.bool)

    def advantages(self, advantages: Tensor, evidence: Tensor, step: int) -> Tensor:
        """Shifted by the bounded evidence."""
        lam = annealed(self.lam, self.lam_decay_steps, step)
        return (1 - lam) * advantages + lam * bounded(evidence, self.evidence_clip)

    def watched(self, advantages: Tensor, evidence: Tensor, mask: Tensor) -> Watched:
        """Share of tokens whose evidence is over the bound."""
        return bound_watched(evidence, self.evidence_clip, mask)
