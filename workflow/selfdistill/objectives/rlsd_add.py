"""Implements the additive advantage of the TC-RLSD note (docs/methods.md#rlsd_add-rlsd_hybrid).

There the hint is a critique written after reading the rollout; here it is whatever `hints.source` gives. An additive
term keeps its signal where A = 0 and is not anchored to A's sign. The note bounds it nowhere; we do, and log how often.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill.methods.rlsd_add import RLSDAddSettings
from selfdistill.objectives.batch import Watched
from selfdistill.objectives.modulation import AgainstStudent, annealed, bound_watched, bounded

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class RLSDAdd(AgainstStudent, RLSDAddSettings):
    """Settings and loss of the additive form: A_t = (1 - lambda) A + lambda evidence_t, evidence in nats."""

    def reads_teacher(self, advantages: Float[Tensor, " B"], step: int) -> Bool[Tensor, " B"]:
        """Return (B,) bool: all rollouts while lambda is not 0, then none."""
        return torch.full_like(advantages, annealed(self.lam, self.lam_decay_steps, step) != 0, dtype=torch.bool)

    def advantages(
        self, advantages: Float[Tensor, "B T"], evidence: Float[Tensor, "B T"], step: int
    ) -> Float[Tensor, "B T"]:
        """Return (B, T): (1 - lambda) A + lambda clip(evidence), with the lambda of this step."""
        lam = annealed(self.lam, self.lam_decay_steps, step)
        return (1 - lam) * advantages + lam * bounded(evidence, self.evidence_clip)

    def watched(
        self, advantages: Float[Tensor, "B T"], evidence: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> Watched:
        """Return the share of tokens of `mask` whose evidence the bound clips."""
        return bound_watched(evidence, self.evidence_clip, mask)
