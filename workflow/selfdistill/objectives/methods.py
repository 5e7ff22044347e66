"""Builds methods by name, and computes the loss of a micro-batch. One of your own is one file: docs/methods.md."""

from __future__ import annotations

import dataclasses
import importlib
import re
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import shipped
from selfdistill.methods.setting import defaults, from_mapping
from selfdistill.objectives.batch import Batch, Needs, Student, Targets, TokenLoss
from selfdistill.objectives.policy_gradient import low_variance_kl

if TYPE_CHECKING:
    from jaxtyping import Bool, Float


class Method(Protocol):
    """Settings of a method as a frozen dataclass, and its loss in two steps around the student's forward.

    Both must be plain functions of their arguments, so that a loss does not know of micro-batches, order or padding.
    A method may also have `reads_teacher(advantages, step)`, see `rows_read`.
    """

    @property
    def needs(self) -> Needs:
        """Returns which hints and which readings of student and teacher the loss takes from a Batch."""
        ...

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Without gradient, once over the global batch: whatever concerns more than one token belongs here."""
        ...

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Return the unweighted loss of each token, (B, T), with gradient: on any micro-batch of the global batch."""
        ...


def _shipped_class(name: str) -> type:
    """The class of a shipped method: that of its settings where it has a loss, else the one that adds a loss to it."""
    settings = shipped()[name]
    if hasattr(settings, "token_loss"):
        return settings
    content = vars(importlib.import_module(f"selfdistill.objectives.{name}"))
    return next(
        each
        for each in content.values()
        if isinstance(each, type) and issubclass(each, settings) and each is not settings
    )


#: Name -> class, of all shipped methods.
METHODS: dict[str, type] = {name: _shipped_class(name) for name in shipped()}
_OWN = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def build_method(implementation: str, settings: dict[str, Any]) -> Method:
    """Return a method with its settings.

    Args:
        implementation: a name in METHODS, or "package.module:Class" for a class of one's own, importable where the
            training runs.
        settings: the class's fields; those left out keep their defaults.

    Raises:
        UserError: for an unknown implementation or setting, or a value that is out of range or that the class refuses.
    """
    kind = METHODS[implementation] if implementation in METHODS else _own_class(implementation)
    return from_mapping(kind, settings, f"method {implementation}", ("objective",))


def published_of(implementation: str) -> dict[str, Any]:
    """Return what is published of a method, by section, the defaults of its objective among them.

    Raises UserError as `build_method`.
    """
    kind = METHODS[implementation] if implementation in METHODS else _own_class(implementation)
    others = {section: dict(values) for section, values in getattr(kind, "published", {}).items()}
    return {"objective": defaults(kind), **others}


def _own_class(implementation: str) -> type:
    parts = _OWN.fullmatch(implementation)
    if parts is None:
        raise UserError(
            f"unknown method {implementation!r}: implemented are {', '.join(sorted(METHODS))}; a class of your own is "
            "named package.module:Class"
        )
    try:
        kind = getattr(importlib.import_module(parts["module"]), parts["name"])
    except Exception as error:  # whatever somebody's module may do while it is imported
        raise UserError(f"method {implementation!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise UserError(f"method {implementation!r} is no dataclass; its fields are the keys of `objective`")
    if missing := [name for name in ("needs", "targets", "token_loss") if not hasattr(kind, name)]:
        raise UserError(f"method {implementation!r} lacks {', '.join(missing)}: see docs/methods.md, One of your own")
    return kind


def rows_read(method: Method, advantages: Float[Tensor, " B"], step: int) -> Bool[Tensor, " B"]:
    """(B,) bool: rollouts whose loss depends on what a teacher says of them; the teacher is not asked about others.

    All of them, unless the method says otherwise by a `reads_teacher` with these arguments.

    Args:
        advantages: (B,) of the sequences.
        step: training step, counted from 1.
    """
    told = getattr(method, "reads_teacher", None)
    return torch.ones_like(advantages, dtype=torch.bool) if told is None else told(advantages, step)


def micro_batch_loss(
    method: Method, student: Student, batch: Batch, targets: Targets, kl_weights: Float[Tensor, "B T"]
) -> tuple[Float[Tensor, ""], dict[str, tuple[float, int]]]:
    """Return the share of the global loss that these rows contribute: summed over micro-batches it is the whole loss.

    Args:
        student: what the current student gives for these rows, with gradient.
        batch, targets: the same rows of the global batch and of its targets.
        kl_weights: (B, T) kl coefficient times the global token weights; unused without reference log-probs.

    Returns:
        A scalar, and what the method watches as name -> (sum, number of tokens), to be added up over micro-batches.
        Tensors must be finite on padding too: weights are zero there, and zero times NaN is NaN.
    """
    token_loss = method.token_loss(student, batch, targets)
    loss = token_loss.values if batch.importance is None else token_loss.values * batch.importance
    total = (targets.weights * loss).sum()
    if batch.reference_logprobs is not None:
        total = total + (kl_weights * low_variance_kl(student.logprobs, batch.reference_logprobs)).sum()
    if batch.entropy_weights is not None:
        total = total - (batch.entropy_weights * student.entropy).sum()
    sums = {
        name: (float(torch.where(mask, values, 0).sum()), int(mask.sum()))
        for name, (values, mask) in token_loss.watched.items()
    }
    return total, sums
