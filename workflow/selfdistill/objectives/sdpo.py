"""Implements SDPO as RLCSD's tables have it: Jensen-Shannon distillation of every rollout (docs/methods.md#sdpo).

The official SDPO draws its hints from sibling successes instead (arXiv 2601.20802).
"""

from selfdistill.methods.sdpo import SDPOSettings
from selfdistill.objectives.batch import Batch, Needs, Student, Support, Targets, TokenLoss
from selfdistill.objectives.distillation import distillation_targets, gap_watched, stale_ratio, support_divergence


class SDPO(SDPOSettings):
    """Settings and loss of SDPO. Rewards play no part, unless through the hint."""

    @property
    def needs(self) -> Needs:
        """The teacher under the correct hint: at the student's (B, T, k) top ids, or of the sampled tokens alone."""
        support = Support("student", self.top_k) if self.full_distribution else None
        return Needs(correct_hint=True, support=support)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """No advantages; weights (B, T) of one mean over the rows that have a hint."""
        return distillation_targets(batch, aggregation)

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return the divergence of student and teacher at each token times the bounded policy ratio, in nats."""
        if self.full_distribution:
            loss = support_divergence(student, batch.correct_support, self.alpha, self.top_k, self.tail)
            divergence = loss.detach()
        else:
            # The gap itself estimates the divergence; times the student's log-prob, it has the divergence's gradient.
            divergence = (student.logprobs - batch.correct_logprobs).detach()
            loss = divergence * student.logprobs
        ratio = stale_ratio(student, batch, self.is_clip)
        watched = {
            "signal/divergence_mean": (divergence, batch.hinted_mask),
            "signal/is_ratio_mean": (ratio, batch.hinted_mask),
        }
        return TokenLoss(loss * ratio, watched | gap_watched(student, batch))
