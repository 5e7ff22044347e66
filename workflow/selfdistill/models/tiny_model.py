"""Builds the toy's language model: a very small Qwen3 and a word-level tokenizer whose tokens are whole phrases.

Template sentences are one token each, so that real prompts stay verbatim and short (a three-person puzzle takes some
forty tokens) and a model of a few hundred thousand weights can spend them on the task.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from selfdistill.randomness import seed_of
from selfdistill.tasks import arithmetic, knights, prompts

PAD, START, END, UNKNOWN = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|unk|>"
#: What every chat is written with, besides a task's phrases.
CHAT_PIECES = ("user\n", "system\n", "assistant\n", r"\boxed{", "}")


def chat_template(content: str) -> str:
    """Returns the template of a chat, `content` being how a message's content is written."""
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n" + content + "<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


@dataclass(frozen=True)
class TinyModel:
    """Sizes of the tiny Qwen3. initializer_range 0.08: with Qwen3's 0.02 a model this narrow does not take off."""

    hidden_size: int = 64
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    mlp_size: int = 256
    max_positions: int = 2048
    initializer_range: float = 0.08


def build_tokenizer(more: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """Return the tokenizer of the toy tasks.

    Any text encodes; characters outside the phrases become the unknown token.

    Args:
        more: phrases that one task has beside those of all; their tokens come last, so that the others keep their ids.
    """
    pieces = [*CHAT_PIECES, *prompts.PHRASES, *arithmetic.PHRASES, *knights.PHRASES, *more]
    template = chat_template("{{ message['content'] }}")
    return word_tokenizer([PAD, START, END, UNKNOWN], list(dict.fromkeys(pieces)), template)


def word_tokenizer(special: Sequence[str], pieces: Sequence[str], chat_template: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer whose tokens are the pieces, the longest first where several fit.

    Args:
        special: control tokens, PAD, END and UNKNOWN among them; their ids come first, in this order.
        pieces: all others, in the order of their ids; any other character is UNKNOWN.
        chat_template: the tokenizer's.
    """
    vocabulary = {token: i for i, token in enumerate([*special, *pieces])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    longest_first = sorted(pieces, key=lambda piece: (-len(piece), piece))
    pattern = "|".join([*map(_escaped, longest_first), r"[\s\S]"])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[token for token in special if token not in (PAD, END, UNKNOWN)],
        clean_up_tokenization_spaces=False,
        chat_template=chat_template,
    )


def _escaped(text: str) -> str:
    return "".join("\\" + c if c in r"\^$.|?*+()[]{}-&~#" else c for c in text)


def language_config(sizes: TinyModel, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Returns the config of a tiny language model, in Qwen3's words."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": sizes.hidden_size,
        "intermediate_size": sizes.mlp_size,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head_dim,
        "max_position_embeddings": sizes.max_positions,
        "initializer_range": sizes.initializer_range,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def build_model(sizes: TinyModel, tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """A freshly initialised float32 model; its vocabulary is exactly the tokenizer's (vLLM masks any surplus)."""
    config = Qwen3Config(**language_config(sizes, tokenizer), dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(seed, "initial weights"))
        return Qwen3ForCausalLM(config).float()
