"""The table of methods: what each optimises, by name. A new method is one file with a class, and one line here."""

import dataclasses
from typing import Any, Protocol

from torch import Tensor

from selfdistill.errors import UserError
from selfdistill.objectives.batch import Batch, Needs, Targets
from selfdistill.objectives.grpo import GRPO
from selfdistill.objectives.policy_gradient import low_variance_kl
from selfdistill.objectives.rlcsd import RLCSD


class Method(Protocol):
    """Settings of a method as a frozen dataclass, and its loss in two steps around the student's forward."""

    @property
    def needs(self) -> Needs: ...

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Without gradient, once over the global batch."""

    def token_loss(self, logprobs: Tensor, batch: Batch, targets: Targets) -> Tensor:
        """(B, T), on any micro-batch of it."""


METHODS: dict[str, type] = {"grpo": GRPO, "rlcsd": RLCSD}


def build_method(name: str, settings: dict[str, Any]) -> Method:
    """A method with its settings. Raises UserError for an unknown method or setting."""
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}: implemented are {', '.join(sorted(METHODS))}")
    known = [field.name for field in dataclasses.fields(METHODS[name])]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise UserError(f"method {name} has no setting {', '.join(unknown)}: it takes {', '.join(known)}")
    return METHODS[name](**settings)


def micro_batch_loss(method: Method, logprobs: Tensor, batch: Batch, targets: Targets, kl_weights: Tensor) -> Tensor:
    """The share of the global loss that these rows contribute: summed over micro-batches it is the whole loss.

    Args:
        logprobs: (B, T) of the sampled tokens under the current student, with gradient.
        batch, targets: the same rows of the global batch and of its targets.
        kl_weights: (B, T) kl coefficient times the global token weights; unused without reference log-probs.

    Returns:
        A scalar. Tensors must be finite on padding too: weights are zero there, and zero times NaN is NaN.
    """
    loss = method.token_loss(logprobs, batch, targets)
    if batch.importance is not None:
        loss = loss * batch.importance
    total = (targets.weights * loss).sum()
    if batch.reference_logprobs is not None:
        total = total + (kl_weights * low_variance_kl(logprobs, batch.reference_logprobs)).sum()
    return total
