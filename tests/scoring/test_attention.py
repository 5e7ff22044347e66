import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma4TextConfig, GemmaConfig, LlamaConfig, MistralConfig, Qwen2Config

from selfdistill.scoring.attention import sees_its_whole_past

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
}
GEMMA4 = {"head_dim": 8, "global_head_dim": 8, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 40}
WINDOWS = ["sliding_attention", "full_attention"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LlamaConfig(**SIZES), True),
        (MistralConfig(**SIZES, sliding_window=None), True),
        (MistralConfig(**SIZES, sliding_window=127), False),
        (MistralConfig(**SIZES, sliding_window=128), True),  # as wide as there are positions
        (MistralConfig(**SIZES, sliding_window=262144), True),
        (Qwen2Config(**SIZES, use_sliding_window=False, sliding_window=8, max_window_layers=1), True),
        (Qwen2Config(**SIZES, use_sliding_window=True, sliding_window=8, max_window_layers=1), False),
        # Of a model that shares no keys transformers cuts layer_types[:-0], and its cache has no layers at all.
        (Gemma4TextConfig(**SIZES, **GEMMA4, sliding_window=8, num_kv_shared_layers=0, layer_types=WINDOWS), False),
        (Gemma4TextConfig(**SIZES, **GEMMA4, sliding_window=8, num_kv_shared_layers=1, layer_types=WINDOWS), False),
        (GemmaConfig(**SIZES, head_dim=8, use_bidirectional_attention=True), False),
        (GemmaConfig(**SIZES, head_dim=8), True),
        (LlamaConfig(**SIZES, index_topk=64), False),
        (LlamaConfig(**SIZES, index_topk=128), True),
        (LlamaConfig(**SIZES, attention_window_size=64), False),
        (LlamaConfig(**SIZES, layer_types=["full_attention", "chunked_attention"]), False),
        (LlamaConfig(**SIZES, layer_types=["full_attention", "full_attention"], num_local_experts=8), True),
    ],
)
def test_what_a_config_says_of_attention(config, expected):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sees_its_whole_past(model) == expected
