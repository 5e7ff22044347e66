"""Shares the code of distillation losses, which draw a student to a teacher's distribution (docs/methods.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Student, Targets, Watched
from selfdistill.objectives.divergences import distributions, divergence
from selfdistill.objectives.policy_gradient import log_ratio

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


def distillation_targets(batch: Batch, aggregation: str) -> Targets:
    """Return the weights of a mean over the tokens of hinted rows: the others have nothing to learn from.

    With "all_rollouts" they count all the same, as rows whose loss is zero: the fewer rows are hinted, the smaller is
    the step (arXiv 2601.20802, as released). The advantages, which no pure distillation reads, are zero.
    """
    mask = batch.hinted_mask
    present = batch.hinted if batch.kept is None else batch.hinted & batch.kept
    counted = batch.rollouts if aggregation == "all_rollouts" else int(present.sum())
    weights = token_weights(mask, aggregation, counted)
    return Targets(torch.zeros_like(weights), weights, {}, distilled=present)


def support_divergence(
    student: Student,
    teacher: Float[Tensor, "B T S"],
    mix: float,
    top_k: int,
    tail: bool,
    contribution_clip: float | None = None,
) -> Float[Tensor, "B T"]:
    """Return (B, T) nats: `divergence` of the student and a teacher's log-probs (B, T, S) on the batch's support."""
    pair = distributions(student.support, top_k, tail), distributions(teacher, top_k, tail)
    return divergence(*pair, mix, contribution_clip)


def clip_watched(free: Float[Tensor, "B T"], clipped: Float[Tensor, "B T"], batch: Batch) -> Watched:
    """Mean of a loss (B, T) before its clip, and the share of tokens that the clip changed, as TokenLoss.watched."""
    changed = (free != clipped).to(free)
    return {
        "signal/divergence_mean": (free.detach(), batch.hinted_mask),
        "signal/clipped_share": (changed.detach(), batch.hinted_mask),
    }


def stale_ratio(student: Student, batch: Batch, bound: float) -> Float[Tensor, "B T"]:
    """Return (B, T) detached: min(exp(student - old), bound), SDPO's correction for rollouts of an older policy."""
    return log_ratio(student.logprobs, batch.old_logprobs).exp().clamp(max=bound).detach()


def kl_watched(kl: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Watched:
    """Mean KL(student, teacher) of a token, and of a response's first one, from (B, T) nats, as TokenLoss.watched."""
    first = mask & (torch.arange(mask.shape[1], device=mask.device) == 0)
    return {"teacher/kl": (kl, mask), "teacher/kl_first": (kl, first)}


def gap_watched(student: Student, batch: Batch) -> Watched:
    """Return the mean |teacher - student| of the sampled tokens' log-probs, nats, as TokenLoss.watched."""
    gap = (batch.correct_logprobs - student.logprobs.detach()).abs()
    return {"signal/teacher_gap_abs_mean": (gap, batch.hinted_mask)}
