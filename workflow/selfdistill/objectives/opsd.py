"""OPSD: the student's distribution is drawn to that of a teacher who reads the solution (docs/methods.md, opsd)."""

from dataclasses import dataclass

import torch

from selfdistill.objectives.batch import Batch, Needs, Student, Support, Targets, TokenLoss
from selfdistill.objectives.distillation import clip_watched, distillation_targets, gap_watched, support_divergence


@dataclass(frozen=True)
class OPSD:
    """Settings and loss of OPSD. Rewards play no part.

    Attributes:
        beta: mix of the divergence; 0 is KL(teacher || student).
        token_clip: bound, in nats, of what each id adds to a token's divergence (without full_distribution: of the
            token's loss); None is off.
        top_k: ids on which it is taken, the teacher's most likely; 0 is the full vocabulary.
        tail: one bucket for the mass of all other ids; False renormalises the ids' own.
        full_distribution: False takes (teacher - student)^2 of the sampled token's log-probs instead.
    """

    beta: float = 0.0
    token_clip: float | None = 0.05
    top_k: int = 100
    tail: bool = True
    full_distribution: bool = True

    @property
    def needs(self) -> Needs:
        support = Support("teacher", self.top_k) if self.full_distribution else None
        return Needs(correct_hint=True, support=support)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """A mean over the rows that have a hint."""
        return distillation_targets(batch, aggregation)

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Divergence of student and teacher at each token, in nats."""
        if self.full_distribution:
            where = student, batch.correct_support, self.beta, self.top_k, self.tail
            loss = support_divergence(*where, self.token_clip)
            with torch.no_grad():
                free = support_divergence(*where)
        else:
            free = (batch.correct_logprobs - student.logprobs).square()
            loss = free if self.token_clip is None else free.clamp(max=self.token_clip)
        return TokenLoss(loss, clip_watched(free, loss, batch) | gap_watched(student, batch))
