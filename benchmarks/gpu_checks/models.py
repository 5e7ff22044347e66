"""Random-weight Qwen3 models of real shapes, and of a tiny one for tests; and rows of tokens for them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from selfdistill.randomness import generator

#: Deviation of the logits, nats: as in a model that has learned, not the half that random weights give.
_SHARPNESS = 3.0


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen3."""

    hidden: int
    mlp: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int = 128
    vocabulary: int = 151_936


SHAPES = {
    "0.6B": Shape(1024, 3072, 28, 16, 8),
    "1.7B": Shape(2048, 6144, 28, 16, 8),
    "4B": Shape(2560, 9728, 36, 32, 8),
    "tiny": Shape(32, 64, 2, 4, 2, 8, 211),
}


def random_qwen3(shape: str, dtype: torch.dtype, device: torch.device, positions: int = 40_960) -> Qwen3ForCausalLM:
    """Return a model of that shape whose weights are random and the same each time on one kind of device."""
    sizes = SHAPES[shape]
    config = Qwen3Config(
        vocab_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        intermediate_size=sizes.mlp,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen3ForCausalLM._from_config(config, dtype=dtype, attn_implementation="sdpa").eval()
    model.model.norm.weight.data.fill_(_SHARPNESS / (config.initializer_range * sizes.hidden**0.5))
    return model


def tokens(count: int, vocabulary: int, *key: Any) -> list[int]:
    """Return so many random ids; the same for the same key."""
    return generator("gpu checks", *key).integers(vocabulary, size=count).tolist()


def seconds_of(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call by the clock, all that it gave the device to do included, and what it returned."""
    wait()
    began = time.monotonic()
    found = call()
    wait()
    return time.monotonic() - began, found


def peak_of(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return by how many GiB a call raises the device's peak memory, and what it returned; NaN on a CPU."""
    if not torch.cuda.is_available():
        return float("nan"), call()
    wait()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = call()
    wait()
    return (torch.cuda.max_memory_allocated() - before) / 2**30, found


def wait() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def without_memory(error: Exception) -> bool:
    """Whether a call failed for want of memory."""
    return isinstance(error, torch.OutOfMemoryError)
