"""Implements OPSD, which draws the student to a teacher that reads the solution (docs/methods.md#opsd)."""

import torch

from selfdistill.methods.opsd import OPSDSettings
from selfdistill.objectives.batch import Batch, Needs, Student, Support, Targets, TokenLoss
from selfdistill.objectives.distillation import clip_watched, distillation_targets, gap_watched, support_divergence


class OPSD(OPSDSettings):
    """Settings and loss of OPSD. Rewards play no part."""

    @property
    def needs(self) -> Needs:
        """Returns the teacher under the correct hint: at its own (B, T, k) top ids, or of the sampled tokens alone."""
        support = Support("teacher", self.top_k) if self.full_distribution else None
        return Needs(correct_hint=True, support=support)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """No advantages; weights (B, T) of one mean over the rows that have a hint."""
        return distillation_targets(batch, aggregation)

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return the divergence of student and teacher at each token, in nats."""
        if self.full_distribution:
            where = student, batch.correct_support, self.beta, self.top_k, self.tail
            loss = support_divergence(*where, self.token_clip)
            with torch.no_grad():
                free = support_divergence(*where)
        else:
            free = (batch.correct_logprobs - student.logprobs).square()
            loss = free if self.token_clip is None else free.clamp(max=self.token_clip)
        return TokenLoss(loss, clip_watched(free, loss, batch) | gap_watched(student, batch))
