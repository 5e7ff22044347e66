"""Picks one token from a row of logits: temperature, top-k, top-p, and a uniform number."""

from typing import NamedTuple

import torch
from torch import Tensor

from selfdistill.sampling.interface import SamplingSettings
from selfdistill.scoring.head import without


class Picked(NamedTuple):
    """Holds one token of each of B rows.

    Attributes:
        tokens: (B,) int64.
        logprobs, entropies: (B,) nats, under the full distribution at the temperature.
        support: (B, k) int64, the most likely ids of that distribution, as many as the settings ask for.
    """

    tokens: Tensor
    logprobs: Tensor
    entropies: Tensor
    support: Tensor


@torch.inference_mode()
def pick(logits: Tensor, uniforms: Tensor, settings: SamplingSettings, banned: Tensor | None = None) -> Picked:
    """Draw one token a row by inverting the cumulative distribution at a given uniform number.

    Args:
        logits: (B, V).
        uniforms: (B,) float64 in [0, 1).
        settings: temperature, top_p, top_k, support.
        banned: ids that are in no distribution, as of `scoring.head.read`.
    """
    logits = without(logits.float() / (settings.temperature or 1.0), banned)
    logprobs = torch.log_softmax(logits, dim=-1)
    probabilities = logprobs.exp()
    tokens = logits.argmax(dim=-1) if settings.temperature == 0 else _invert(probabilities, uniforms, settings)
    entropies = -(probabilities * logprobs).sum(dim=-1)
    support = logprobs.topk(settings.support, dim=-1).indices
    return Picked(tokens, logprobs.gather(-1, tokens[:, None])[:, 0], entropies, support)


def _invert(probabilities: Tensor, uniforms: Tensor, settings: SamplingSettings) -> Tensor:
    ordered, ids = _descending(probabilities, settings.top_k)
    cumulative = ordered.double().cumsum(dim=-1)
    total = cumulative[:, -1:]  # top-p is taken of what top-k left, as transformers and vLLM do
    if settings.top_p < 1:
        beyond = cumulative - ordered >= settings.top_p * total
        beyond[:, 0] = False  # the most likely token always stays
        total = cumulative.masked_fill(beyond, 0).amax(dim=-1, keepdim=True)
    index = torch.searchsorted(cumulative, uniforms.to(cumulative)[:, None] * total, right=True)
    return ids.gather(-1, index.clamp(max=ids.shape[-1] - 1))[:, 0]


def _descending(probabilities: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The `top_k` largest of each row (0: all), (B, k), largest first, of equal ones the lower id, and their ids.

    A stable sort, so that ties fall the same way on every run; but sorting a pretrained model's vocabulary takes as
    long as its layers do, so the largest are looked for first, unless equal ones stand on both sides of the cut.
    """
    if 0 < top_k < probabilities.shape[-1]:
        largest, ids = probabilities.topk(top_k, dim=-1)
        if int((probabilities >= largest[:, -1:]).sum()) == largest.numel():
            ids = ids.sort(dim=-1).values
            ordered, order = probabilities.gather(-1, ids).sort(dim=-1, descending=True, stable=True)
            return ordered, ids.gather(-1, order)
    ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    return (ordered[:, :top_k], ids[:, :top_k]) if top_k else (ordered, ids)
