"""Families of models, tiny: what docs/models.md says of each, and what tests hold it to.

Each is built from its own config in transformers, two layers of width 32, with the toy's vocabulary.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

TRAINS, ONE_BY_ONE, REFUSED = "trains", "trains, one row at a time", "is refused"
_ABSENT: Any = object()  # of a field that the config does not have
_SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.2,
}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
_LINEAR = {
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "layer_types": ["linear_attention", "full_attention"],
    "head_dim": 8,
}
_WINDOW = {"sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LATENT = {
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 6,
    "num_key_value_heads": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_DEEPSEEK4 = {
    "head_dim": 16,
    "num_key_value_heads": 1,
    "q_lora_rank": 16,
    "o_lora_rank": 16,
    "o_groups": 2,
    "qk_rope_head_dim": 4,
    "partial_rotary_factor": 0.25,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "index_n_heads": 2,
    "index_head_dim": 16,
    "layer_types": ["heavily_compressed_attention", "compressed_sparse_attention"],
    "mlp_layer_types": ["moe", "moe"],
}
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}
_GEMMA4 = {
    "head_dim": 8,
    "global_head_dim": 8,
    "hidden_size_per_layer_input": 8,
    "num_kv_shared_layers": 0,
    "vocab_size_per_layer_input": 128,
    **_WINDOW,
}
_LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "rope_theta": 1e4,
    "original_max_position_embeddings": 512,
}
_GPT2 = {
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 1024,
    **dict.fromkeys([name for name in _SIZES if name != "initializer_range"], _ABSENT),
}
_NEMOTRON = {
    "num_hidden_layers": _ABSENT,
    "head_dim": 8,
    "layers_block_type": ["mamba", "attention"],
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "ssm_state_size": 8,
    "n_groups": 1,
    "chunk_size": 8,
}
_GRANITE = {
    "layer_types": ["mamba", "attention"],
    "num_local_experts": 0,
    "shared_intermediate_size": 48,
    "mamba_chunk_size": 8,
    **_MAMBA,
}
_FULL = "full attention"
_WINDOWS = "sliding windows"
_STATES = "states in place of keys and values"


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        name: as its makers call it.
        model_type: as config.json calls it.
        config: name of its config in transformers.
        attention: what its layers keep of the past, for the table.
        own: whether the own decode loop draws from it.
        outcome: TRAINS, ONE_BY_ONE or REFUSED.
        why: the reason, where it is refused or rows are taken one by one, for the table.
        said: words of the message that refuses it.
        sizes: fields of its config beside the usual ones.
        text: name and fields of the text's config, where that is one of several.
        auto: what of transformers makes such a model.
    """

    name: str
    model_type: str
    config: str
    attention: str = _FULL
    own: bool = True
    outcome: str = TRAINS
    why: str = ""
    said: str = ""
    sizes: dict[str, Any] = field(default_factory=dict)
    text: tuple[str, dict[str, Any]] | None = None
    auto: str = "AutoModelForCausalLM"

    def build(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        """A random model; its biases and gates are not zero, as those of a trained one are not."""
        ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None}
        usual = {"vocab_size": len(tokenizer), **_SIZES, **ends}
        if self.text is None:
            fields = {**usual, **self.sizes}
        else:
            name, own = self.text
            fields = {**self.sizes, "text_config": getattr(transformers, name)(**{**usual, **own})}
        config = getattr(transformers, self.config)(**{k: v for k, v in fields.items() if v is not _ABSENT})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = getattr(transformers, self.auto).from_config(config, dtype=torch.float32)
            with torch.no_grad():
                for key, weight in model.named_parameters():
                    if weight.ndim == 1 and "norm" not in key and "A_log" not in key:
                        weight.normal_(std=0.2)
        return model.eval()

    @property
    def row(self) -> str:
        """The family's row of the table in docs/models.md."""
        engines = "" if self.outcome == REFUSED else "own, transformers" if self.own else "transformers"
        return f"| {self.name} | `{self.model_type}` | {self.attention} | {self.outcome} | {engines} | {self.why} |"


def table() -> str:
    """The table of docs/models.md."""
    heads = ("family", "model_type", "attention", "what happens", "rollout.engine", "why")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|", *(family.row for family in FAMILIES)]
    return "\n".join(lines)


_SLIDING = {"attention": _WINDOWS, "own": False}
_STATEFUL = {"attention": _STATES, "own": False}

FAMILIES = (
    Family("Llama 2, 3", "llama", "LlamaConfig"),
    Family("Qwen2, Qwen2.5", "qwen2", "Qwen2Config"),
    Family("Qwen3", "qwen3", "Qwen3Config", sizes={"head_dim": 8}),
    Family("Qwen3, experts", "qwen3_moe", "Qwen3MoeConfig", sizes={"head_dim": 8, **_EXPERTS}),
    Family(
        "Qwen3-Next",
        "qwen3_next",
        "Qwen3NextConfig",
        sizes={**_LINEAR, **_EXPERTS, "shared_expert_intermediate_size": 16},
        **_STATEFUL,
    ),
    Family("Qwen3.5, text", "qwen3_5_text", "Qwen3_5TextConfig", sizes=_LINEAR, **_STATEFUL),
    Family("OLMo 2", "olmo2", "Olmo2Config"),
    Family("OLMo 3", "olmo3", "Olmo3Config", sizes=_WINDOW, **_SLIDING),
    Family("Gemma 2", "gemma2", "Gemma2Config", sizes={"head_dim": 8, **_WINDOW}, **_SLIDING),
    Family("Gemma 3, text", "gemma3_text", "Gemma3TextConfig", sizes={"head_dim": 8, **_WINDOW}, **_SLIDING),
    Family(
        "Gemma 3, text and images",
        "gemma3",
        "Gemma3Config",
        sizes={"vision_config": _VISION, "mm_tokens_per_image": 4},
        text=("Gemma3TextConfig", {"head_dim": 8, **_WINDOW}),
        **_SLIDING,
    ),
    Family("Gemma 4, text", "gemma4_text", "Gemma4TextConfig", sizes=_GEMMA4, **_SLIDING),
    Family(
        "Gemma 4, text and images",
        "gemma4",
        "Gemma4Config",
        sizes={"vision_config": None, "audio_config": None},
        text=("Gemma4TextConfig", _GEMMA4),
        **_SLIDING,
    ),
    Family("Mistral 7B v0.1", "mistral", "MistralConfig", sizes={"sliding_window": 8}, **_SLIDING),
    Family("Mistral 7B v0.3, Nemo", "mistral", "MistralConfig", sizes={"sliding_window": None}),
    Family("Ministral 3", "ministral3", "Ministral3Config", sizes={"head_dim": 8}),
    Family(
        "Mistral Small 3.1, text and images",
        "mistral3",
        "Mistral3Config",
        sizes={"vision_config": {"model_type": "pixtral", **_VISION}},
        text=("MistralConfig", {"sliding_window": None, "head_dim": 8}),
        auto="AutoModelForImageTextToText",
        outcome=REFUSED,
        why="transformers has it for images with text only",
        said="Unrecognized configuration class",
    ),
    Family("Mixtral", "mixtral", "MixtralConfig", sizes={"num_local_experts": 4}),
    Family(
        "Phi-3, Phi-4-mini",
        "phi3",
        "Phi3Config",
        sizes={"rope_parameters": _LONGROPE, "original_max_position_embeddings": 512, "sliding_window": 262144},
        why="up to `original_max_position_embeddings` tokens (4,096) in all; refused with longer limits (`longrope`)",
    ),
    Family("SmolLM3", "smollm3", "SmolLM3Config"),
    Family("Granite 3", "granite", "GraniteConfig"),
    Family("Granite 4.0", "granitemoehybrid", "GraniteMoeHybridConfig", sizes=_GRANITE, **_STATEFUL),
    Family(
        "Falcon-H1",
        "falcon_h1",
        "FalconH1Config",
        sizes={"head_dim": 8, "mamba_d_ssm": 64, "mamba_chunk_size": 8, **_MAMBA},
        **_STATEFUL,
    ),
    Family("DeepSeek-V2", "deepseek_v2", "DeepseekV2Config", sizes=_LATENT, attention="latent attention"),
    Family("DeepSeek-V3, R1", "deepseek_v3", "DeepseekV3Config", sizes=_LATENT, attention="latent attention"),
    Family("GPT-2", "gpt2", "GPT2Config", sizes=_GPT2),
    Family("GPT-NeoX, Pythia", "gpt_neox", "GPTNeoXConfig"),
    Family(
        "gpt-oss",
        "gpt_oss",
        "GptOssConfig",
        sizes={"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, **_WINDOW},
        why="bfloat16 copies; the published MXFP4 weights are quantised, and refused",
        **_SLIDING,
    ),
    Family("BLOOM", "bloom", "BloomConfig", sizes={"n_layer": 2, "n_head": 4}, attention="ALiBi", own=False),
    Family("Mamba", "mamba", "MambaConfig", sizes={"state_size": 8}, **_STATEFUL),
    Family("LFM2", "lfm2", "Lfm2Config", sizes={"layer_types": ["conv", "full_attention"]}, **_STATEFUL),
    Family(
        "RecurrentGemma",
        "recurrent_gemma",
        "RecurrentGemmaConfig",
        sizes={
            "lru_width": 32,
            "block_types": ["recurrent", "attention"],
            "attention_window_size": 2048,
            "head_dim": 8,
        },
        outcome=ONE_BY_ONE,
        why="padding flows into its states",
        **_STATEFUL,
    ),
    Family(
        "Nemotron-H",
        "nemotron_h",
        "NemotronHConfig",
        sizes=_NEMOTRON,
        outcome=REFUSED,
        why="on a CPU its scan gives a token another log-prob when the row goes on",
        said="depend on the tokens behind it",
        **_STATEFUL,
    ),
    Family(
        "RWKV-4",
        "rwkv",
        "RwkvConfig",
        sizes={"attention_hidden_size": 32, "context_length": 1024},
        outcome=REFUSED,
        why="drawing with its state is not what a plain forward gives",
        said="engine transformers",
        **_STATEFUL,
    ),
    Family(
        "xLSTM",
        "xlstm",
        "xLSTMConfig",
        sizes={"num_heads": 4, "num_blocks": 2},
        outcome=REFUSED,
        why="transformers cannot draw from it in batches of other sizes than the first",
        said="engine transformers cannot draw",
        **_STATEFUL,
    ),
    Family(
        "DeepSeek-V4",
        "deepseek_v4",
        "DeepseekV4Config",
        sizes=_DEEPSEEK4,
        attention="compressed keys",
        own=False,
        outcome=REFUSED,
        why="padding and caches do not follow the compression",
        said="chooses or compresses its keys",
    ),
    Family(
        "GLM-5",
        "glm_moe_dsa",
        "GlmMoeDsaConfig",
        sizes={**_LATENT, "index_topk": 2048, "index_n_heads": 2, "index_head_dim": 8},
        attention="chosen keys",
        own=False,
        outcome=REFUSED,
        why="its log-probs of a token depend on the tokens behind it",
        said="depend on the tokens behind it",
    ),
    Family(
        "BERT as a decoder's config leaves it",
        "bert",
        "BertConfig",
        attention="both ways",
        own=False,
        outcome=REFUSED,
        why="no causal language model",
        said="depend on the tokens behind it",
    ),
)
