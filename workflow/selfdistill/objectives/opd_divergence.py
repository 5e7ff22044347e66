"""Implements on-policy distillation of another model by a divergence (docs/methods.md#opd-opd_divergence)."""

import torch

from selfdistill.methods.opd_divergence import OPDDivergenceSettings
from selfdistill.objectives.batch import Batch, Needs, Student, Support, Targets, TokenLoss
from selfdistill.objectives.distillation import distillation_targets, gap_watched, kl_watched, support_divergence
from selfdistill.objectives.policy_gradient import low_variance_kl


class OPDDivergence(OPDDivergenceSettings):
    """Settings and loss of on-policy distillation by a divergence."""

    @property
    def needs(self) -> Needs:
        """The teacher after the student's own prompt, at (B, T, k) ids that `chooser` has chosen."""
        return Needs(plain=True, support=Support(self.chooser, self.top_k))

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Return a mean over all tokens that the teacher was asked about."""
        return distillation_targets(batch, aggregation)

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return the divergence of student and teacher at each token, in nats.

        The log has KL(student, teacher) whatever the loss is: exact where the whole vocabulary is read, else estimated
        from the sampled tokens.
        """
        read, teacher, mask = student.support, batch.correct_support, batch.hinted_mask
        loss = support_divergence(student, teacher, self.beta, self.top_k, self.tail)
        with torch.no_grad():
            if self.top_k == 0:
                kl = support_divergence(student, teacher, 1.0, 0, self.tail)
            else:
                kl = low_variance_kl(student.logprobs, batch.correct_logprobs)
            watched = kl_watched(kl.detach(), mask) | {"signal/divergence_mean": (loss.detach(), mask)}
            if self.top_k:
                watched["teacher/top_k_mass"] = (teacher.exp().sum(dim=-1), mask)
                watched["actor/top_k_mass"] = (read.detach().exp().sum(dim=-1), mask)
        return TokenLoss(loss, watched | gap_watched(student, batch))
