"""Computes divergences of student and teacher at each token, on k ids or on the full vocabulary.

The family of OPSD and SDPO (docs/methods.md#opsd): mix 0 is KL(teacher || student), 1 is KL(student || teacher);
between them the generalised Jensen-Shannon divergence. The ends are no limits of the mixture, which tends to 0 at both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float

# The k ids may hold all mass to float32's last bit: without a bound the tail would be log 0, or of a negative number.
_FULL_MASS = -1e-7


def with_tail(support: Float[Tensor, "*N k"]) -> Float[Tensor, "*N k+1"]:
    """(..., k) log-probs at some ids as (..., k + 1): one bucket more, for the mass of all other ids."""
    mass = support.logsumexp(dim=-1, keepdim=True).clamp(max=_FULL_MASS)
    return torch.cat([support, torch.log(-torch.expm1(mass))], dim=-1)


def renormalised(support: Float[Tensor, "*N k"]) -> Float[Tensor, "*N k"]:
    """(..., k) log-probs at some ids as a distribution over just these."""
    return support.log_softmax(dim=-1)


def distributions(support: Float[Tensor, "*N k"], top_k: int, tail: bool) -> Float[Tensor, "*N S"]:
    """Log-probs at a support as a distribution: full vocabulary (top_k 0) as it is, else with tail or renormalised."""
    if top_k == 0:
        return support
    return with_tail(support) if tail else renormalised(support)


def divergence(
    student: Float[Tensor, "*N S"], teacher: Float[Tensor, "*N S"], mix: float, contribution_clip: float | None = None
) -> Float[Tensor, "*N"]:
    """Return the divergence of two distributions at each token.

    Args:
        student, teacher: (..., S) log-probs that sum to one over S; -inf is a probability of zero.
        mix: a in [0, 1]. 0: KL(T || S). 1: KL(S || T). Between: (1 - a) KL(S || M) + a KL(T || M), M = (1 - a) S + a T.
        contribution_clip: upper bound, in nats, of what each id adds, both terms of a mixture together; it can make the
            sum negative (OPSD's vocabulary clip).

    Returns:
        (...) nats; infinite, with a gradient that is not a number, where an end of the family has mass that the other
        distribution excludes (softmaxes exclude nothing).
    """
    if mix == 0.0:
        contributions = _kl_terms(teacher, student)
    elif mix == 1.0:
        contributions = _kl_terms(student, teacher)
    else:
        # Ids that both exclude count nothing below, but the gradient of logaddexp is NaN at two infinities.
        either = (student > -torch.inf) | (teacher > -torch.inf)
        parts = torch.where(either, student, 0.0), torch.where(either, teacher, 0.0)
        middle = torch.logaddexp(parts[0] + math.log1p(-mix), parts[1] + math.log(mix))
        contributions = (1 - mix) * _kl_terms(student, middle) + mix * _kl_terms(teacher, middle)
    if contribution_clip is not None:
        contributions = contributions.clamp(max=contribution_clip)
    return contributions.sum(dim=-1)


def bounded_reverse_divergence(
    student: Float[Tensor, "*N S"], teacher: Float[Tensor, "*N S"], bound: float
) -> Float[Tensor, "*N"]:
    """KL(S || T) whose gradient comes from advantages within a bound.

    The gradient of KL(S || T) is sum_v s_v (log s_v - log t_v) grad log s_v: that of a policy gradient in which each id
    has the advantage log t_v - log s_v. Here it is held to [-bound, bound]; where none is outside, values and
    gradients are those of `divergence` with mix 1.

    Args:
        student, teacher: (..., S) log-probs that sum to one over S.
        bound: nats.

    Returns:
        (...) nats: the divergence itself, whatever the bound.
    """
    free = divergence(student, teacher, 1.0).detach()
    possible = student > -torch.inf
    safe = torch.where(possible, student, 0.0)
    gap = (safe - torch.where(possible, teacher, 0.0)).clamp(-bound, bound)
    pull = (torch.where(possible, safe.exp() * gap, 0.0).detach() * safe).sum(dim=-1)
    return pull - pull.detach() + free


def _kl_terms(first: Float[Tensor, "*N S"], second: Float[Tensor, "*N S"]) -> Float[Tensor, "*N S"]:
    """p log(p / q) of each id; 0 where p is 0, whatever q."""
    # The inner where keeps NaN (of -inf minus -inf, and of zero times infinity) out of the gradient too.
    possible = first > -torch.inf
    gap = torch.where(possible, first, 0.0) - torch.where(possible, second, 0.0)
    return torch.where(possible, first.exp() * gap, 0.0)
