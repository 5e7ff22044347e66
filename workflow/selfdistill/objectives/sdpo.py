"""SDPO as the RLCSD comparison has it: Jensen-Shannon distillation of every rollout (docs/methods.md, sdpo).

The official SDPO draws its hints from sibling successes instead (arXiv 2601.20802).
"""

from dataclasses import dataclass

from selfdistill.errors import UserError
from selfdistill.objectives.batch import Batch, Needs, Student, Support, Targets, TokenLoss
from selfdistill.objectives.distillation import distillation_targets, gap_watched, stale_ratio, support_divergence


@dataclass(frozen=True)
class SDPO:
    """Settings and loss of SDPO. Rewards play no part, unless through the hint.

    Attributes:
        alpha: mix of the divergence; 0.5 is Jensen-Shannon.
        is_clip: bound of the policy ratio that multiplies a token's divergence, detached.
        top_k: ids on which it is taken, the student's most likely; 0 is the full vocabulary.
        tail: one bucket for the mass of all other ids; False renormalises the ids' own.
        full_distribution: False takes the sampled token's sg(student - teacher) * student instead, whose gradient
            estimates that of KL(student || teacher): alpha must be 1.
    """

    alpha: float = 0.5
    is_clip: float = 2.0
    top_k: int = 100
    tail: bool = True
    full_distribution: bool = True

    def __post_init__(self) -> None:
        if not self.full_distribution and self.alpha != 1.0:
            raise UserError(
                f"objective.full_distribution is false and objective.alpha {self.alpha}: from sampled tokens only the "
                "reverse divergence can be estimated; set alpha to 1, or full_distribution to true"
            )

    @property
    def needs(self) -> Needs:
        support = Support("student", self.top_k) if self.full_distribution else None
        return Needs(correct_hint=True, support=support)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """A mean over the rows that have a hint."""
        return distillation_targets(batch, aggregation)

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Divergence of student and teacher at each token times the bounded policy ratio, in nats."""
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
