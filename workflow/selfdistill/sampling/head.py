"""Log-probabilities from hidden states, a few rows of logits at a time: the output head without its (N, V) logits.

At a vocabulary of 150,000 the logits of a batch, their gradient and the softmax between them outweigh everything else
that a forward holds. Here a chunk of rows is turned into what is asked of it and dropped; the backward pass makes each
chunk again. Every row's numbers are those of the materialised form, whatever the size of a chunk.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class Read(NamedTuple):
    """What N rows say, float32; with gradient where hidden states or weights have one.

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
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    ids: Tensor | None = None,
    top_k: int | None = None,
    entropy: bool = False,
    rows: int = 1024,
) -> Read:
    """Log-probs of labels, and distributions around them, under softmax((hidden weight' + bias) / temperature).

    Logits and all that follows are float32 whatever the inputs are, autocast or not: products of bfloat16 numbers are
    exact there and are summed in float32. What is rounded to bfloat16, if the inputs are, is what reaches this function
    (hidden states, weights) and what leaves it backwards: the gradient of the logits before its two products, as in any
    bfloat16 linear layer, and the gradients returned. The weights' gradient is summed over chunks in float32.

    Args:
        hidden: (N, H) states, each of which predicts its label.
        weight: (V, H) of the head; it may be the embedding's.
        labels: (N,) int64.
        bias: (V,), where the head has one.
        temperature: divides the logits.
        ids: (N, k) int64, read the support at these ids; they may repeat.
        top_k: read it at so many ids instead, each row's own most likely; 0 is the full vocabulary, whose (N, V)
            support is then held, since it was asked for.
        entropy: also give the entropies.
        rows: at most so many rows of logits are held at once, times two or three tensors of that size.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return Read(*_ReadRows.apply(hidden, weight, bias, labels, ids, temperature, top_k, entropy, rows))


class _ReadRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        ids: Tensor | None,
        temperature: float,
        top_k: int | None,
        entropy: bool,
        rows: int,
    ) -> tuple[Tensor | None, ...]:
        count, dtype = len(hidden), torch.promote_types(hidden.dtype, torch.float32)
        full, choose = ids is None and top_k == 0, ids is None and bool(top_k)
        if choose:
            ids = labels.new_empty(count, top_k)
        size = len(weight) if full else None if ids is None else ids.shape[1]
        taken = hidden.new_empty(count, dtype=dtype)
        support = None if size is None else hidden.new_empty(count, size, dtype=dtype)
        entropies = hidden.new_empty(count, dtype=dtype) if entropy else None
        for part in _chunks(count, rows):
            logprobs = _logprobs(hidden[part], weight, bias, temperature)
            taken[part] = logprobs.gather(1, labels[part, None])[:, 0]
            if choose:
                ids[part] = logprobs.topk(top_k, dim=1).indices
            if full:
                support[part] = logprobs
            elif ids is not None:
                support[part] = logprobs.gather(1, ids[part])
            if entropy:
                entropies[part] = -logprobs.exp().mul_(logprobs).sum(dim=1)
        ctx.save_for_backward(hidden, weight, bias, labels, ids, entropies)
        ctx.temperature, ctx.rows = temperature, rows
        ctx.set_materialize_grads(False)
        if ids is not None:
            ctx.mark_non_differentiable(ids)
        return taken, ids, support, entropies

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, of_taken: Tensor | None, _: None, of_support: Tensor | None, of_entropy: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, labels, ids, entropies = ctx.saved_tensors
        wanted_hidden, wanted_weight, wanted_bias = ctx.needs_input_grad[:3]
        dtype = torch.promote_types(hidden.dtype, torch.float32)
        hidden_gradient = torch.empty_like(hidden) if wanted_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=dtype) if wanted_weight else None
        bias_gradient = torch.zeros_like(bias, dtype=dtype) if wanted_bias else None
        for part in _chunks(len(hidden), ctx.rows):
            logprobs = _logprobs(hidden[part], weight, bias, ctx.temperature)
            # A log-prob's slopes by the logits are its place's one less the probabilities; an entropy's are
            # -p (log p + entropy).
            less = torch.zeros_like(logprobs[:, :1])
            if of_taken is not None:
                less += of_taken[part, None]
            if of_support is not None:
                less += of_support[part].sum(dim=1, keepdim=True)
            gradient = logprobs.exp()
            if of_entropy is not None:
                less = logprobs.add_(entropies[part, None]).mul_(of_entropy[part, None]).add_(less)
            gradient.mul_(less).neg_()
            if of_support is not None and ids is None:
                gradient += of_support[part]
            elif of_support is not None:
                gradient.scatter_add_(1, ids[part], of_support[part])
            if of_taken is not None:
                gradient.scatter_add_(1, labels[part, None], of_taken[part, None])
            gradient.div_(ctx.temperature)
            if wanted_bias:
                bias_gradient += gradient.sum(dim=0)
            rounded = gradient.to(hidden.dtype)
            if wanted_hidden:
                hidden_gradient[part] = _product(rounded, weight).to(hidden.dtype)
            if wanted_weight:
                weight_gradient += _product(rounded.t(), hidden[part])
        return (
            hidden_gradient,
            weight_gradient.to(weight.dtype) if wanted_weight else None,
            bias_gradient.to(bias.dtype) if wanted_bias else None,
            *[None] * 6,
        )


def _chunks(count: int, rows: int) -> list[slice]:
    return [slice(start, start + rows) for start in range(0, count, rows)]


def _logprobs(hidden: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    """(n, V) nats, float32 (float64 of float64 states)."""
    logits = _product(hidden, weight.t())
    if bias is not None:
        logits += bias
    return torch.log_softmax(logits.div_(temperature), dim=1)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right in float32 (float64 of float64), unrounded: not in the factors' bfloat16."""
    if left.is_cuda and left.dtype == right.dtype and left.dtype in (torch.bfloat16, torch.float16):
        return torch.mm(left, right, out_dtype=torch.float32)  # the tensor cores sum in float32 anyway
    dtype = torch.promote_types(torch.promote_types(left.dtype, right.dtype), torch.float32)
    return left.to(dtype) @ right.to(dtype)
