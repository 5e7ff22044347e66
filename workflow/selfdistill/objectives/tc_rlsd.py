"""The additive advantage forms of the TC-RLSD note (docs/methods.md); its `rlsd` is selfdistill.objectives.rlsd.

There the hint is a critique written after reading the rollout; here it is whatever `hints.source` gives. An additive
term keeps its signal where A = 0 and is not anchored to A's sign. The note bounds it nowhere; we do, and log how often.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from selfdistill.objectives.batch import Watched
from selfdistill.objectives.modulation import (
    AgainstStudent,
    annealed,
    clipped_weight,
    evidence_weight,
    interpolated,
    weight_watched,
)


@dataclass(frozen=True)
class RLSDAdd(AgainstStudent):
    """A_t = (1 - lam) A + lam evidence_t.

    Attributes:
        epsilon_low, epsilon_high: clip of the policy ratio.
        lam, lam_decay_steps: share of the evidence, to 0 over so many training steps.
        evidence_clip: bound of the evidence, in nats, both sides.
    """

    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    lam: float = 0.5
    lam_decay_steps: int = 50
    evidence_clip: float = 2.0

    def reads_teacher(self, advantages: Tensor, step: int) -> Tensor:
        """See methods.rows_read: nobody once lam is 0."""
        return torch.full_like(advantages, annealed(self.lam, self.lam_decay_steps, step) != 0, dtype=torch.bool)

    def advantages(self, advantages: Tensor, evidence: Tensor, step: int) -> Tensor:
        """Shifted by the bounded evidence."""
        lam = annealed(self.lam, self.lam_decay_steps, step)
        return (1 - lam) * advantages + lam * _bounded(evidence, self.evidence_clip)

    def watched(self, advantages: Tensor, evidence: Tensor, mask: Tensor) -> Watched:
        """Share of tokens whose evidence is over the bound."""
        return _bound_watched(evidence, self.evidence_clip, mask)


@dataclass(frozen=True)
class RLSDHybrid(AgainstStudent):
    """A_t = alpha A ((1 - lam) + lam clip(w_t)) + beta evidence_t, with RLSD's weight w_t.

    The note says that alpha = 0 and lam = 0 give rlsd_add; they give beta evidence_t. rlsd_add at a fixed lam is this
    with alpha = 1 - lam, beta = lam and a lam of 0.

    Attributes:
        epsilon_low, epsilon_high: clip of the policy ratio.
        epsilon_w: clip of the evidence weight.
        lam, lam_decay_steps: share of the modulation, to 0 over so many training steps; beta is not annealed.
        alpha, beta: weights of the two terms.
        evidence_clip: bound of the additive evidence, in nats, both sides.
    """

    epsilon_low: float = 0.2
    epsilon_high: float = 0.2
    epsilon_w: float = 0.2
    lam: float = 0.5
    lam_decay_steps: int = 50
    alpha: float = 0.7
    beta: float = 0.3
    evidence_clip: float = 2.0

    def advantages(self, advantages: Tensor, evidence: Tensor, step: int) -> Tensor:
        """Scaled by the evidence weight and shifted by the bounded evidence."""
        lam = annealed(self.lam, self.lam_decay_steps, step)
        weight = clipped_weight(evidence_weight(advantages, evidence), self.epsilon_w)
        shift = self.beta * _bounded(evidence, self.evidence_clip)
        return self.alpha * interpolated(advantages, weight, lam) + shift

    def watched(self, advantages: Tensor, evidence: Tensor, mask: Tensor) -> Watched:
        """Mean weight, share of clipped weights, and share of tokens whose evidence is over the bound."""
        weight = evidence_weight(advantages, evidence)
        return weight_watched(weight, self.epsilon_w, mask) | _bound_watched(evidence, self.evidence_clip, mask)


def _bounded(evidence: Tensor, bound: float) -> Tensor:
    return evidence.clamp(-bound, bound)


def _bound_watched(evidence: Tensor, bound: float, mask: Tensor) -> Watched:
    return {"signal/evidence_clipped_share": ((evidence.abs() > bound).to(evidence), mask)}
