"""Turns a teacher's evidence into token advantages, as RLSD and its relatives do (docs/methods.md#rlsd).

Evidence is a difference of log-probs of the sampled token, in nats: teacher minus student, or correct minus wrong hint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Student, Targets, TokenLoss, Watched
from selfdistill.objectives.policy_gradient import LOG_RATIO_LIMIT, clipped_surrogate

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def annealed(lam: float, decay_steps: int, step: int) -> float:
    """lambda at a training step, counted from 1: linear to 0 at step decay_steps + 1; constant for decay_steps 0."""
    return lam * (1 - min((step - 1) / decay_steps, 1.0)) if decay_steps else lam


def rows_scaled(advantages: Float[Tensor, " B"], lam: float) -> Bool[Tensor, " B"]:
    """Return (B,) bool: rollouts whose loss changes when the advantage is scaled (A != 0 and lambda != 0)."""
    return (advantages != 0) & (lam != 0)


def evidence_weight(advantages: Float[Tensor, "B T"], evidence: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """w_t = exp(sign(A) evidence_t), before any clip: above 1 where the teacher agrees with the advantage's sign."""
    return (advantages.sign() * evidence).clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def clipped_weight(weight: Float[Tensor, "B T"], epsilon_w: float) -> Float[Tensor, "B T"]:
    """clip(w, 1 - epsilon_w, 1 + epsilon_w)."""
    return weight.clamp(1 - epsilon_w, 1 + epsilon_w)


def interpolated(advantages: Float[Tensor, "B T"], weight: Float[Tensor, "B T"], lam: float) -> Float[Tensor, "B T"]:
    """Return A ((1 - lambda) + lambda w): never of another sign than A, for lambda in [0, 1]."""
    return advantages * ((1 - lam) + lam * weight)


def clip_changed(weight: Float[Tensor, "B T"], epsilon_w: float) -> Bool[Tensor, "B T"]:
    """Return (B, T) bool: weights outside [1 - epsilon_w, 1 + epsilon_w]."""
    return clipped_weight(weight, epsilon_w) != weight


def weight_watched(weight: Float[Tensor, "B T"], epsilon_w: float, mask: Bool[Tensor, "B T"]) -> Watched:
    """Return the mean clipped weight and share of weights that the clip changed, as TokenLoss.watched."""
    return {
        "signal/weight_mean": (clipped_weight(weight, epsilon_w), mask),
        "signal/weight_clipped_share": (clip_changed(weight, epsilon_w).to(weight), mask),
    }


def evidence_watched(evidence: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Watched:
    """Return the mean and mean size of the evidence, as TokenLoss.watched."""
    return {"signal/evidence_mean": (evidence, mask), "signal/evidence_abs_mean": (evidence.abs(), mask)}


def bounded(evidence: Float[Tensor, "B T"], bound: float) -> Float[Tensor, "B T"]:
    """clip(evidence, -bound, bound)."""
    return evidence.clamp(-bound, bound)


def bound_watched(evidence: Float[Tensor, "B T"], bound: float, mask: Bool[Tensor, "B T"]) -> Watched:
    """Return the share of tokens whose evidence is over the bound, as TokenLoss.watched."""
    return {"signal/evidence_clipped_share": ((evidence.abs() > bound).to(evidence), mask)}


class AgainstStudent:
    """The part that RLSD and the additive forms share: evidence is teacher minus the current student, detached.

    A subclass also has the settings epsilon_low and epsilon_high (clip of the policy ratio; no dual clip), lam and
    lam_decay_steps, and says in `advantages` what becomes of an advantage. A row without hint has evidence 0.
    """

    needs: ClassVar[Needs] = Needs(correct_hint=True)
    epsilon_low: float
    epsilon_high: float
    lam: float
    lam_decay_steps: int

    def advantages(
        self, advantages: Float[Tensor, "B T"], evidence: Float[Tensor, "B T"], step: int
    ) -> Float[Tensor, "B T"]:
        """Token advantages from sequence advantages and evidence in nats, of equal shapes, at a training step."""
        raise NotImplementedError

    def watched(
        self, advantages: Float[Tensor, "B T"], evidence: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> Watched:
        """Return the modulation's own metrics over the tokens of `mask`, as TokenLoss.watched."""
        raise NotImplementedError

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Plain advantages: the evidence needs the student, whose forward is still to come."""
        mask = batch.token_mask
        metrics = {"signal/lam": annealed(self.lam, self.lam_decay_steps, batch.step)}
        advantages = batch.advantages[:, None].expand(mask.shape)
        return Targets(advantages, token_weights(mask, aggregation, batch.rollouts), metrics)

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return (B, T) in units of the advantage: the clipped surrogate on modulated advantages."""
        mask = batch.hinted_mask
        evidence = torch.where(mask, batch.correct_logprobs - student.logprobs.detach(), 0.0)
        advantages = self.advantages(targets.advantages, evidence, batch.step)
        loss = clipped_surrogate(student.logprobs, batch.old_logprobs, advantages, self.epsilon_low, self.epsilon_high)
        watched = evidence_watched(evidence, mask) | self.watched(targets.advantages, evidence, mask)
        return TokenLoss(loss, watched, advantages)
