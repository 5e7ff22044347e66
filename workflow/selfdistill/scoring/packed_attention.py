"""Computes attention of packed rows with fewer queries than keys: a row's last tokens behind cached keys.

The kernel is torch's own for lengths that vary (FlashAttention) on a GPU in half precision, and elsewhere a product a
row, which computes the same and is what tests compare.
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None

#: The name under which models use it.
PACKED = "selfdistill_packed"
_HALVES = (torch.bfloat16, torch.float16)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    *,
    cu_seq_lens_q: Tensor,
    cu_seq_lens_k: Tensor,
    max_length_q: int,
    max_length_k: int,
    **options: Any,
) -> tuple[Tensor, None]:
    """Let each query see the keys of its row up to its own, which is as far from the row's end as it is.

    Args:
        module: of the attention, as transformers passes it.
        query: (1, heads, Q, D), rows one after another. key: (1, heads of keys, S, D). value: the same.
        attention_mask: None; which keys belong to which query is said by the lengths.
        scaling: of the products; D ** -0.5 without.
        cu_seq_lens_q, cu_seq_lens_k: (N + 1,) int32, where each row begins, and the end of the last one.
        max_length_q, max_length_k: of the longest row.
        options: whatever else transformers passes.

    Returns:
        (1, Q, heads, D), and None for the weights.
    """
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    if has_kernel(q.device, q.dtype):
        found = _by_kernel(q, k, v, cu_seq_lens_q, cu_seq_lens_k, max_length_q, max_length_k, scaling)
    else:
        found = row_by_row(q, k, v, cu_seq_lens_q.tolist(), cu_seq_lens_k.tolist(), scaling)
    return found[None], None


def has_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Returns whether torch has a kernel for this; without one, rows are computed one after another."""
    return varlen_attn is not None and device.type == "cuda" and dtype in _HALVES


def row_by_row(
    query: Tensor, key: Tensor, value: Tensor, begins_q: list[int], begins_k: list[int], scaling: float | None
) -> Tensor:
    """(Q, heads, D) by a product for each row; arguments as of `packed_attention`, without their first axis."""
    groups = query.shape[1] // key.shape[1]
    found = []
    for i in range(len(begins_q) - 1):
        q = query[begins_q[i] : begins_q[i + 1]].transpose(0, 1)
        of_row = slice(begins_k[i], begins_k[i + 1])
        k, v = (states[of_row].transpose(0, 1).repeat_interleave(groups, dim=0) for states in (key, value))
        seen = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool, device=q.device).tril(k.shape[1] - q.shape[1])
        found.append(functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scaling).transpose(0, 1))
    return torch.cat(found)


def _by_kernel(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    begins_q: Tensor,
    begins_k: Tensor,
    longest_q: int,
    longest_k: int,
    scaling: float | None,
) -> Tensor:
    """Computes it by torch's kernel, in whatever form this torch has it (heads in groups came after 2.11)."""
    known = inspect.signature(varlen_attn).parameters
    causal = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
    if "enable_gqa" in known:
        causal["enable_gqa"] = True
    else:
        groups = query.shape[1] // key.shape[1]
        key, value = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    if "scale" in known:
        causal["scale"] = scaling
    elif scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    return varlen_attn(
        query.contiguous(), key.contiguous(), value.contiguous(), begins_q, begins_k, longest_q, longest_k, **causal
    )


AttentionInterface.register(PACKED, packed_attention)
