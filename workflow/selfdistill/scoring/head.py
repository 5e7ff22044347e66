"""Computes log-probs from hidden states a few rows at a time: the output head without its (N, V) logits.

At a vocabulary of 150,000 the logits of a batch, their gradient and the softmax between them outweigh everything else
that a forward holds. Here a chunk of rows is turned into what is asked of it and dropped; the backward pass makes each
chunk again, unless there is but one. Every row's numbers are those of the materialised form, whatever the size of a
chunk.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from selfdistill.scoring.query import LOGPROBS_ONLY, Query

#: Logits of a chunk at most, whatever the number of rows: on a CPU, on a GPU.
_ELEMENTS, _GPU_ELEMENTS = 2**25, 2**28
_HALVES = (torch.bfloat16, torch.float16)
#: The logit of an id that nobody may draw: finite, so that its log-prob times its probability, which is 0, is 0.
BANNED_LOGIT = -1.0e9


class Read(NamedTuple):
    """Holds what N rows say, float32; with gradient where hidden states or weights have one.

    A tuple, so that whoever walks through a module's outputs (FSDP2 does, to hook its backward) finds the tensors.

    Attributes:
        logprobs: (N,) nats of the labels.
        ids: (N, k) int64 of the support; None where it is the full vocabulary, or was not asked for.
        support: (N, S) nats at the support.
        entropy: (N,) nats, over the full vocabulary.
    """

    logprobs: Tensor
    ids: Tensor | None = None
    support: Tensor | None = None
    entropy: Tensor | None = None


def read(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    query: Query = LOGPROBS_ONLY,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    rows: int | None = None,
    banned: Tensor | None = None,
) -> Read:
    """Read log-probs of labels, and distributions around them, without the (N, V) logits.

    Equivalent, gradients included, to::

        read_logits(hidden @ weight.t() + bias, labels, query, temperature=temperature)

    Logits and all that follows are float32 whatever the inputs are, autocast or not: products of bfloat16 numbers are
    exact there and are summed in float32. What is rounded to bfloat16, if the inputs are, is what reaches this function
    (hidden states, weights) and what leaves it backwards: the gradient of the logits before its two products, as in any
    bfloat16 linear layer, and the gradients returned. The weights' gradient is summed over chunks in float32.

    Args:
        hidden: (N, H) states, each of which predicts its label.
        weight: (V, H) of the head; it may be the embedding's.
        labels: (N,) int64.
        query: what is read besides; `ids` (N, k). The (N, V) support of the full vocabulary is held, since it was
            asked for.
        bias: (V,), where the head has one.
        temperature: divides the logits.
        rows: at most so many rows of logits are held at once, where fewer are not prescribed by memory: a chunk takes
            128 MiB at most on a CPU, 1 GiB on a GPU (which needs larger ones to be busy), but one row at least. Two
            tensors of that size are held, three for gradients of entropies. What fits into one chunk keeps its
            log-probs until its backward pass, and makes them once only.
        banned: ids that no distribution has: their logits count as BANNED_LOGIT, and take no gradient.

    Returns:
        What was asked for, float32 (float64 of float64 states).
    """
    most = max(1, (_ELEMENTS if hidden.device.type == "cpu" else _GPU_ELEMENTS) // len(weight))
    rows = most if rows is None else min(rows, most)
    with torch.autocast(hidden.device.type, enabled=False):
        return Read(*_ReadRows.apply(hidden, weight, bias, labels, query.ids, query, temperature, rows, banned))


def read_logits(
    logits: Tensor,
    labels: Tensor,
    query: Query = LOGPROBS_ONLY,
    *,
    temperature: float = 1.0,
    banned: Tensor | None = None,
) -> Read:
    """Read the same of logits (N, V) that are there already; arguments as in `read`."""
    logprobs = torch.log_softmax(without(logits.float() / temperature, banned), dim=-1)
    ids, support = query.ids, None
    if query.model_chooses:
        ids = logprobs.detach().topk(query.top_k, dim=-1).indices
    if query.full_vocabulary:
        support = logprobs
    elif ids is not None:
        support = logprobs.gather(-1, ids)
    entropies = -(logprobs.exp() * logprobs).sum(dim=-1) if query.entropy else None
    return Read(logprobs.gather(-1, labels[:, None])[:, 0], ids, support, entropies)


def without(logits: Tensor, banned: Tensor | None) -> Tensor:
    """Return logits (..., V) of a distribution without the banned ids; they themselves where there are none."""
    return logits if banned is None else logits.index_fill(-1, banned, BANNED_LOGIT)


class _ReadRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        ids: Tensor | None,  # the query's, in sight of autograd
        query: Query,
        temperature: float,
        rows: int,
        banned: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        head = _Head(hidden, weight, bias, temperature, rows, banned=banned)
        count, dtype = len(hidden), head.dtype
        if query.model_chooses:
            ids = labels.new_empty(count, query.top_k)
        support = None
        if query.has_support:
            size = len(weight) if query.full_vocabulary else ids.shape[1]
            support = hidden.new_empty(count, size, dtype=dtype)
        of_labels = hidden.new_empty(count, dtype=dtype)
        entropies = hidden.new_empty(count, dtype=dtype) if query.entropy else None
        for part in head.chunks:
            logprobs, spare = head.logprobs(part)
            of_labels[part] = logprobs.gather(1, labels[part, None])[:, 0]
            if query.model_chooses:
                ids[part] = logprobs.topk(query.top_k, dim=1).indices
            if query.full_vocabulary:
                support[part] = logprobs
            elif ids is not None:
                support[part] = logprobs.gather(1, ids[part])
            if query.entropy:
                entropies[part] = -torch.exp(logprobs, out=spare).mul_(logprobs).sum(dim=1)
        kept = support if query.full_vocabulary else None
        if kept is None and len(head.chunks) == 1 and any(ctx.needs_input_grad):
            kept = logprobs
        ctx.save_for_backward(hidden, weight, bias, labels, ids, entropies, kept, banned)
        ctx.temperature, ctx.rows = temperature, rows
        ctx.set_materialize_grads(False)
        if ids is not None:
            ctx.mark_non_differentiable(ids)
        return of_labels, ids, support, entropies

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_labels: Tensor | None, _: None, of_support: Tensor | None, of_entropy: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, ids, entropies, kept, banned = ctx.saved_tensors
        wanted_hidden, wanted_weight, wanted_bias = ctx.needs_input_grad[:3]
        head = _Head(hidden, weight, bias, ctx.temperature, ctx.rows, kept, banned)
        hidden_gradient = torch.empty_like(hidden) if wanted_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=head.dtype) if wanted_weight else None
        bias_gradient = torch.zeros_like(bias, dtype=head.dtype) if wanted_bias else None
        for part in head.chunks:
            by_label, by_support, by_entropy = (
                None if slopes is None else slopes[part].div(ctx.temperature)
                for slopes in (of_labels, of_support, of_entropy)
            )
            logprobs, spare = head.logprobs(part)
            # d log p_y / d logits = onehot(y) - p;  d entropy / d logits = -p (log p + entropy).
            factor = torch.zeros_like(logprobs[:, :1])
            if by_label is not None:
                factor -= by_label[:, None]
            if by_support is not None:
                factor -= by_support.sum(dim=1, keepdim=True)
            gradient = torch.exp(logprobs, out=spare)
            if by_entropy is not None:
                factor = (logprobs + entropies[part, None]).mul_(-by_entropy[:, None]).add_(factor)
            gradient.mul_(factor)
            if by_support is not None and ids is None:
                gradient += by_support
            elif by_support is not None:
                gradient.scatter_add_(1, ids[part], by_support)
            if by_label is not None:
                gradient.scatter_add_(1, labels[part, None], by_label[:, None])
            if banned is not None:
                gradient.index_fill_(1, banned, 0.0)
            if wanted_bias:
                bias_gradient += gradient.sum(dim=0)
            gradient = gradient.to(hidden.dtype)
            if wanted_hidden:
                head.hidden_gradient(gradient, out=hidden_gradient[part])
            if wanted_weight:
                head.add_weight_gradient(gradient, part, to=weight_gradient)
        return (
            hidden_gradient,
            weight_gradient.to(weight.dtype) if wanted_weight else None,
            bias_gradient.to(bias.dtype) if wanted_bias else None,
            *[None] * 6,
        )


class _Head:
    """One pass over chunks of rows: products, and the memory that all chunks use in turn.

    Products are summed and kept in float32 (float64 of float64 states), not rounded to the factors' bfloat16.
    """

    def __init__(
        self,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        temperature: float,
        rows: int,
        kept: Tensor | None = None,
        banned: Tensor | None = None,
    ):
        """`rows` of a chunk; `kept`: (N, V) log-probs, where they are there already; `banned`: ids without a logit."""
        count, vocabulary = len(hidden), len(weight)
        self.dtype = torch.promote_types(torch.promote_types(hidden.dtype, weight.dtype), torch.float32)
        self.chunks = [slice(start, min(start + rows, count)) for start in range(0, count, rows)]
        # A GPU's tensor cores sum products of halves in float32 anyway.
        self._halves = hidden.is_cuda and hidden.dtype == weight.dtype and hidden.dtype in _HALVES
        self._hidden, self._bias, self._temperature, self._kept = hidden, bias, temperature, kept
        self._banned = banned
        self._weight = weight if self._halves else weight.to(self.dtype)
        self._logits = hidden.new_empty(min(rows, count), vocabulary, dtype=self.dtype)
        self._logprobs = torch.empty_like(self._logits) if kept is None else None

    def logprobs(self, part: slice) -> tuple[Tensor, Tensor]:
        """(n, V) nats of a chunk, not to be written to, and memory of the same size to write to."""
        size = part.stop - part.start
        logits = self._logits[:size]
        if self._kept is not None:
            return self._kept[part], logits
        states, logprobs = self._hidden[part], self._logprobs[:size]
        if self._halves:
            torch.mm(states, self._weight.t(), out_dtype=self.dtype, out=logits)
        else:
            torch.mm(states.to(self.dtype), self._weight.t(), out=logits)
        if self._bias is not None:
            logits += self._bias
        if self._temperature != 1.0:
            logits /= self._temperature
        if self._banned is not None:
            logits.index_fill_(1, self._banned, BANNED_LOGIT)
        return torch.log_softmax(logits, dim=1, out=logprobs), logits

    def hidden_gradient(self, gradient: Tensor, out: Tensor) -> None:
        """Product of the logits' gradient (n, V) and the weights."""
        if self._halves or out.dtype == self.dtype:
            torch.mm(gradient, self._weight, out=out)
        else:
            out.copy_(gradient.to(self.dtype) @ self._weight)

    def add_weight_gradient(self, gradient: Tensor, part: slice, to: Tensor) -> None:
        """Add the product of the logits' gradient (n, V) and the chunk's states."""
        if self._halves:
            torch.addmm(to, gradient.t(), self._hidden[part], out_dtype=self.dtype, out=to)
        else:
            to.addmm_(gradient.t().to(self.dtype), self._hidden[part].to(self.dtype))
