"""Computes the attention of a decode step: one query a row.

transformers' sdpa attention repeats keys and values for every query head of a group where a mask is given: it copies
the whole cache at every token and layer. Here the heads of a group stand in for queries, which read the same keys; and
with so few of them, plain products of matrices are faster on a CPU than the kernels made for long queries.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from selfdistill.scoring.attention import attending_as

_NAME = "selfdistill_decode"


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Computes what transformers' sdpa attention does, to rounding; it is called for all but one float32 query a row.

    Args:
        module: of the attention, as transformers passes it.
        query: (B, heads, L, D). key: (B, heads of keys, S, D). value: the same, of a width E of its own.
        attention_mask: (B, 1, L, S), additive.
        scaling: of the products; D ** -0.5 without.
        options: whatever else transformers passes.

    Returns:
        (B, L, heads, E), and None for the weights.
    """
    rows, heads, length, dim = query.shape
    shared = key.shape[1]
    if length > 1 or query.dtype != torch.float32 or attention_mask is None or attention_mask.shape[1] > 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **options)
    grouped = query.reshape(rows, shared, heads // shared, dim) * (dim**-0.5 if scaling is None else scaling)
    scores = torch.matmul(grouped, key.transpose(2, 3)).add_(attention_mask)
    return torch.matmul(scores.softmax(dim=-1), value).view(rows, 1, heads, value.shape[3]), None


AttentionInterface.register(_NAME, grouped_attention)


def decode_attention(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Let a model use it within the block, where it otherwise uses transformers' sdpa attention."""
    usual = model.config.get_text_config()._attn_implementation == "sdpa" and model._supports_attention_backend
    return attending_as(model, _NAME if usual else None)
