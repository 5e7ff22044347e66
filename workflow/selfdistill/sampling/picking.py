"""One token from a row of logits: temperature, top-k, top-p, and a uniform number."""

import torch
from torch import Tensor

from selfdistill.sampling.interface import SamplingSettings


def pick(logits: Tensor, uniforms: Tensor, settings: SamplingSettings) -> tuple[Tensor, Tensor, Tensor]:
    """Draw one token a row by inverting the cumulative distribution at a given uniform number.

    Args:
        logits: (B, V).
        uniforms: (B,) float64 in [0, 1).
        settings: temperature, top_p, top_k.

    Returns:
        token ids (B,), their log-probs (B,) and entropies (B,) under the full distribution at the temperature, nats.
    """
    logits = logits.float() / (settings.temperature or 1.0)
    logprobs = torch.log_softmax(logits, dim=-1)
    probabilities = logprobs.exp()
    tokens = logits.argmax(dim=-1) if settings.temperature == 0 else _invert(probabilities, uniforms, settings)
    entropies = -(probabilities * logprobs).sum(dim=-1)
    return tokens, logprobs.gather(-1, tokens[:, None])[:, 0], entropies


def _invert(probabilities: Tensor, uniforms: Tensor, settings: SamplingSettings) -> Tensor:
    # Sorted once for both filters; stable, so that ties fall the same way on every run.
    ordered, ids = probabilities.sort(dim=-1, descending=True, stable=True)
    if settings.top_k:
        ordered, ids = ordered[:, : settings.top_k], ids[:, : settings.top_k]
    cumulative = ordered.double().cumsum(dim=-1)
    total = cumulative[:, -1:]  # top-p is taken of what top-k left, as transformers and vLLM do
    if settings.top_p < 1:
        beyond = cumulative - ordered >= settings.top_p * total
        beyond[:, 0] = False  # the most likely token always stays
        total = cumulative.masked_fill(beyond, 0).amax(dim=-1, keepdim=True)
    index = torch.searchsorted(cumulative, uniforms.to(cumulative)[:, None] * total, right=True)
    return ids.gather(-1, index.clamp(max=ids.shape[-1] - 1))[:, 0]
