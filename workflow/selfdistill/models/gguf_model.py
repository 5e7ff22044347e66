"""Converts a model in a GGUF file, as llama.cpp reads it, to float32 safetensors."""

from collections import Counter
from pathlib import Path
from typing import Any

import torch
from tokenizers import decoders, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.loading import load_model
from selfdistill.models.saving import save_model
from selfdistill.schemas import nearest
from selfdistill.scoring.lengths import position_count


def convert(file: Path, end: str, pad: str, output_dir: Path) -> dict[str, Any]:
    """Write weights, configuration and tokenizer into `output_dir`, and load them again as a check.

    Quantised weights become what they stand for; nothing is rounded again.

    Args:
        file: the GGUF file.
        end: the token that ends a turn of the chat template, and so a response. What files name as their end of
            sequence may be another one, which no response would ever end with.
        pad: the token that fills up rows.
        output_dir: folder to make.

    Returns:
        quantisation (type -> number of tensors) and licence (its identifier, None where the file names none).

    Raises:
        UserError: without the packages gguf and accelerate, for a file that transformers cannot read, and for a token
            that is not in the vocabulary.
    """
    try:
        import accelerate  # noqa: F401  transformers asks for it
        from gguf import GGUFReader
    except ImportError as error:
        raise UserError(f"{file.name}: reading it takes package {error.name}; pip install gguf accelerate") from None
    try:
        reader = GGUFReader(file)
        options = {"gguf_file": file.name, "local_files_only": True, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(file.parent, **options)
        model, info = AutoModelForCausalLM.from_pretrained(
            file.parent, dtype=torch.float32, output_loading_info=True, **options
        )
    except Exception as error:  # garbage in the file ends in whatever its readers stumble over
        reason = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]
        raise UserError(f"{file.name}: cannot be read as a GGUF model ({reason}); name another file") from error
    if missing := sorted(info["missing_keys"]):
        raise UserError(f"{file.name}: lacks {len(missing)} of the model's tensors ({missing[0]}, ...); name another")
    _correct_text(tokenizer, _field(reader, "tokenizer.ggml.pre"), file)
    ids = {"eos_token_id": _id(tokenizer, end, "end", file), "pad_token_id": _id(tokenizer, pad, "pad", file)}
    tokenizer.eos_token, tokenizer.pad_token = end, pad
    if (positions := position_count(model.config)) is not None:
        tokenizer.model_max_length = positions
    for name, value in ids.items():
        tokenizer.init_kwargs.pop(name, None)  # the file's own, which would be saved beside the tokens
        setattr(model.config, name, value)
        setattr(model.generation_config, name, value)
    save_model(model, tokenizer, output_dir)
    _, saved = load_model(output_dir, torch.device("cpu"))
    if (found := {name: getattr(saved, name) for name in ids}) != ids:
        raise UserError(f"{file.name}: its tokenizer does not keep its end and pad tokens ({found}, set were {ids})")
    return {
        "quantisation": dict(Counter(tensor.tensor_type.name for tensor in reader.tensors).most_common()),
        "licence": _field(reader, "general.license"),
    }


def _id(tokenizer: PreTrainedTokenizerBase, token: str, key: str, file: Path) -> int:
    vocabulary = tokenizer.get_vocab()
    if token not in vocabulary:
        raise UserError(
            f"{file.name}: {key} {token!r} is no token of its vocabulary; the nearest is "
            f"{nearest(token, vocabulary)!r}: correct the model's `package` in config/models.yaml"
        )
    return vocabulary[token]


def _correct_text(tokenizer: PreTrainedTokenizerBase, split: str | None, file: Path) -> None:
    """Have the tokenizer cut text as the model learned it, and join it again without a change.

    The file names the way of cutting; transformers cuts for all byte-level vocabularies as GPT-2 does, and so would,
    for instance, read a blank line before a digit as two tokens where the model knows one.
    """
    if split != "smollm":
        raise UserError(
            f"{file.name}: its tokenizer cuts text in the way {split!r}, and 'smollm' is the one that is known here; "
            "take the model from the hub (source: hub), where its tokenizer is complete"
        )
    digits = pre_tokenizers.Digits(individual_digits=True)
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytewise])
    tokenizer.backend_tokenizer.decoder = decoders.ByteLevel()
    tokenizer.clean_up_tokenization_spaces = False  # would take spaces out before full stops


def _field(reader: Any, name: str) -> Any:
    field = reader.get_field(name)
    return None if field is None else field.contents()
