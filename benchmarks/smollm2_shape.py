"""A model of SmolLM2-135M's shape with random weights, and a tokenizer of as many words: no download."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def random_smollm2(folder: Path, layers: int = 30) -> Path:
    """Put random weights of SmolLM2-135M's shape into a folder, with a tokenizer of words that decode to themselves.

    Args:
        folder: to be written to, and returned.
        layers: fewer for tests.
    """
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=layers,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).float().save_pretrained(folder)
    words = ["<|pad|>", "<|im_end|>", "<|im_start|>", "<|unk|>", "user", "assistant"]
    words += [f"\u2581w{number}" for number in range(49_152 - len(words))]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<|unk|>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    inner.decoder = decoders.Metaspace(prepend_scheme="never")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        unk_token="<|unk|>",
        additional_special_tokens=["<|im_start|>"],
        clean_up_tokenization_spaces=False,
        chat_template=(
            "{% for message in messages %}<|im_start|> {{ message['content'] }}<|im_end|>{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>{% endif %}"
        ),
    )
    tokenizer.save_pretrained(folder)
    return folder
