"""Finds weights with NaN or infinity, by the names of their tensors."""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from selfdistill.errors import UserError


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> list[str]:
    """Return the names of the floating-point tensors that hold NaN or infinity, in the order given."""
    return [name for name, value in tensors if value.is_floating_point() and not _is_finite(value)]


def refuse_not_finite(where: object, tensors: Iterable[tuple[str, Tensor]], remedy: str) -> None:
    """Raises UserError, naming the first tensor, where one of them holds NaN or infinity."""
    if names := not_finite(tensors):
        raise UserError(
            f"{where}: {len(names)} of the weights' tensors hold NaN or infinity, the first is {names[0]}; {remedy}"
        )


def why_not_finite(model: PreTrainedModel) -> str:
    """Says of a model that computed no number whether its weights are at fault, or its forward."""
    if names := not_finite(model.named_parameters()):
        return f"its weights hold NaN or infinity, first in {names[0]}"
    return "its weights are finite, but what it computes from them overflows"


def _is_finite(value: Tensor) -> bool:
    """Without a mask as large as the tensor: a NaN reaches either end, an infinity is one of them."""
    if value.numel() == 0:
        return True
    if isinstance(value, DTensor):
        value = value.to_local()
    low, high = torch.aminmax(value.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))
