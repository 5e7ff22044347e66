"""The table of methods: what each optimises, by name. A new method is one file with a class, and one line here."""

import dataclasses
import importlib
import re
from typing import Any, Protocol

import torch
from torch import Tensor

from selfdistill.errors import UserError
from selfdistill.objectives.batch import Batch, Needs, Student, Targets, TokenLoss
from selfdistill.objectives.grpo import GRPO
from selfdistill.objectives.opsd import OPSD
from selfdistill.objectives.opsd_ectr import OPSDECTR
from selfdistill.objectives.policy_gradient import low_variance_kl
from selfdistill.objectives.rlcsd import RLCSD
from selfdistill.objectives.rlsd import RLSD
from selfdistill.objectives.rlsd_ectr import RLSDECTR
from selfdistill.objectives.sdpo import SDPO
from selfdistill.objectives.srpo import SRPO
from selfdistill.objectives.tc_rlsd import RLSDAdd, RLSDHybrid


class Method(Protocol):
    """Settings of a method as a frozen dataclass, and its loss in two steps around the student's forward.

    Both must be plain functions of their arguments, so that a loss does not know of micro-batches, order or padding.
    A method may also have `reads_teacher(advantages, step)`, see `rows_read`.
    """

    @property
    def needs(self) -> Needs: ...

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        """Without gradient, once over the global batch: whatever concerns more than one token belongs here."""

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        """Token by token, on any micro-batch of it."""


METHODS: dict[str, type] = {
    "grpo": GRPO,
    "opsd": OPSD,
    "sdpo": SDPO,
    "srpo": SRPO,
    "rlsd": RLSD,
    "rlcsd": RLCSD,
    "opsd_ectr": OPSDECTR,
    "rlsd_ectr": RLSDECTR,
    "rlsd_add": RLSDAdd,
    "rlsd_hybrid": RLSDHybrid,
}
_OWN = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def build_method(implementation: str, settings: dict[str, Any]) -> Method:
    """A method with its settings.

    Args:
        implementation: a name in METHODS, or "package.module:Class" for a class of one's own, importable where the
            training runs.
        settings: the class's fields; those left out keep their defaults.

    Raises:
        UserError: for an unknown implementation or setting, or a value that the class refuses.
    """
    kind = METHODS[implementation] if implementation in METHODS else _own_class(implementation)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    known = [field.name for field in fields]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise UserError(f"method {implementation} has no setting {', '.join(unknown)}: it takes {', '.join(known)}")
    needed = {f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING}
    if missing := sorted(needed - set(settings)):
        raise UserError(f"method {implementation} needs a value for {', '.join(missing)}")
    return kind(**settings)


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


def rows_read(method: Method, advantages: Tensor, step: int) -> Tensor:
    """(B,) bool: rollouts whose loss depends on what a teacher says of them; the teacher is not asked about others.

    All of them, unless the method says otherwise by a `reads_teacher` with these arguments.

    Args:
        advantages: (B,) of the sequences.
        step: training step, counted from 1.
    """
    told = getattr(method, "reads_teacher", None)
    return torch.ones_like(advantages, dtype=torch.bool) if told is None else told(advantages, step)


def micro_batch_loss(
    method: Method, student: Student, batch: Batch, targets: Targets, kl_weights: Tensor
) -> tuple[Tensor, dict[str, tuple[float, int]]]:
    """The share of the global loss that these rows contribute: summed over micro-batches it is the whole loss.

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
    sums = {
        name: (float(torch.where(mask, values, 0).sum()), int(mask.sum()))
        for name, (values, mask) in token_loss.watched.items()
    }
    return total, sums
