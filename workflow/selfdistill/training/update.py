"""Computes one micro-batch of an update: its share of the global loss and of the log, in both trainers."""

from collections.abc import Iterable

from torch import Tensor

from selfdistill.objectives.batch import Batch, Student, Targets
from selfdistill.objectives.methods import Method, micro_batch_loss
from selfdistill.scoring.query import Query

#: Metric -> (sum, number of tokens that it is a sum over), to be added up over micro-batches and ranks.
Sums = dict[str, tuple[float, int]]

#: A sum by itself: no mean is taken of it.
LOSS = "actor/loss"
_CHANGED_RATIO = 0.2  # |policy ratio - 1| beyond which the log counts a token as moved


def read_by_loss(method: Method, batch: Batch) -> Query:
    """Return what a loss reads of the student: where the teacher's distributions were read, if it reads any.

    Entropies are read for their bonus.
    """
    full = method.needs.support is not None and batch.support_ids is None
    return Query(0 if full else None, batch.support_ids, entropy=batch.entropy_weights is not None)


def micro_batch_update(
    method: Method, student: Student, batch: Batch, targets: Targets, kl_weights: Tensor
) -> tuple[Tensor, Sums]:
    """Loss of these rows, and sums for the log.

    Args:
        student: what the current student gives for these rows, with gradient.
        batch, targets, kl_weights: the same rows of the global batch, see `micro_batch_loss`.

    Returns:
        The share of the global loss: over micro-batches these add up to the whole, as do the sums.
    """
    loss, sums = micro_batch_loss(method, student, batch, targets, kl_weights)
    drift = (student.logprobs.detach() - batch.old_logprobs)[batch.token_mask]
    tokens = len(drift)
    return loss, sums | {
        LOSS: (float(loss.detach()), tokens),
        "actor/approx_kl": (-float(drift.sum()), tokens),
        f"actor/ratio_outside_{_CHANGED_RATIO}": (float((drift.exp() - 1).abs().gt(_CHANGED_RATIO).sum()), tokens),
    }


def added(parts: Iterable[Sums]) -> Sums:
    """Sums of several micro-batches as one."""
    total: Sums = {}
    for part in parts:
        for name, (value, count) in part.items():
            before = total.get(name, (0.0, 0))
            total[name] = (before[0] + value, before[1] + count)
    return total


def update_metrics(sums: Sums, grad_norm: float) -> dict[str, float]:
    """Metrics of one optimizer step from the sums of all its micro-batches; a mean over nothing is left out."""
    loss, tokens = sums[LOSS]
    averaged = {name: value / count for name, (value, count) in sums.items() if name != LOSS and count}
    return averaged | {LOSS: loss, "actor/grad_norm": grad_norm, "tokens/updated": tokens}
