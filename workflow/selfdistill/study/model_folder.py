"""Checks a model's folder by what it names, without its weights: while a study is planned, and before loading."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError

#: Where a tokenizer's chat template stands, but for the key of that name in its settings.
_TEMPLATES = ("chat_template.jinja", "additional_chat_templates/*.jinja")
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
#: Files any one of which holds a vocabulary.
_VOCABULARIES = ("tokenizer.json", "*.model", "vocab*", "*.tiktoken")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
#: Ends of the names of architectures that say which token comes next, as transformers has them.
_WRITES = re.compile(r"(CausalLM|LMHead|LMHeadModel|ForConditionalGeneration|GenerationDecoder)$")
#: Sections of a config under which packages say how they packed the weights.
_PACKED = ("quantization_config", "compression_config")
#: Keys under which a config names an implementation of attention.
_ATTENTION = ("attn_implementation", "_attn_implementation")


def check_folder(folder: Path) -> None:
    """Raise UserError unless a folder holds a language model, its tokenizer with a chat template, and safetensors.

    All that is missing is in one message. Whether the files can be read is known only where they are loaded.
    """
    refuse_adapter(folder)
    missing = []
    if not (folder / "config.json").is_file():
        missing.append("no config.json")
    if not ((folder / TOKENIZER_CONFIG).is_file() and any(map(any, map(folder.glob, _VOCABULARIES)))):
        missing.append(f"no tokenizer ({TOKENIZER_CONFIG} with tokenizer.json or its like)")
    elif not _has_chat_template(folder):
        places = f"{_TEMPLATES[0]}, or chat_template in {TOKENIZER_CONFIG}"
        missing.append(f"no chat template ({places}; instruction-tuned models have one)")
    weights = index_files(folder / INDEX) if (folder / INDEX).is_file() else {WEIGHTS}
    if absent := sorted(name for name in weights if not (folder / name).is_file()):
        told = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
        pickled = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
        why = f"; {pickled[0]} is a pickle, which may run code when it is read" if pickled else ""
        missing.append(f"no weights as safetensors ({told}{why})")
    if missing:
        raise UserError(
            f"{folder}: {'; '.join(missing)}; expected a model folder as transformers saves it: fetch it whole, or "
            "write it with save_pretrained of model and tokenizer"
        )
    config = check_config(folder)
    named = config.get("architectures") or []
    if "model_type" not in config:
        found = "names no model_type"
    elif config.get("is_encoder_decoder"):
        found = "is of an encoder with a decoder"
    elif named and not any(_WRITES.search(str(name)) for name in named):
        found = f"names {', '.join(map(str, named))}"
    else:
        return
    raise UserError(
        f"{folder / 'config.json'}: {found}; expected the config of a language model (...ForCausalLM of transformers): "
        "name another folder"
    )


def check_config(folder: Path) -> dict[str, Any]:
    """Return the folder's config.json.

    Raises UserError where it is not JSON, where the weights are quantised, and where the folder holds an adapter.
    """
    file = folder / "config.json"
    refuse_adapter(folder)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read as JSON ({error}); fetch the model again") from error
    if not isinstance(config, dict):
        raise UserError(f"{file}: expected keys and values, found {type(config).__name__}; fetch the model again")
    for key, value in _entries(config):
        if key in _PACKED and value:
            method = (value.get("quant_method") or value.get("format")) if isinstance(value, dict) else value
            raise UserError(
                f"{file}: {key} says that the weights are quantised ({method}), which cannot be trained and "
                "saved again as they are; take the model's unquantised weights, or convert them to bfloat16 first"
            )
    return config


def refuse_adapter(folder: Path) -> None:
    """Raises UserError where the folder holds a LoRA adapter, whatever stands beside it."""
    if (folder / "adapter_config.json").exists():
        raise UserError(
            f"{folder}: adapter_config.json says that this is a LoRA adapter, which would be left out of the weights "
            "beside it; merge it into its base (merge_and_unload of package peft, then save_pretrained) and name that "
            "folder"
        )


def named_attention(config: dict[str, Any]) -> str | None:
    """The implementation of attention that a config asks for, where it names one: a matter of the machine, not of the
    model, and often of a package that is not there.
    """
    return next((str(value) for key, value in _entries(config) if key in _ATTENTION and value), None)


def index_files(file: Path) -> set[str]:
    """Return the names of the files with weights, by their index; raises UserError for an index that is none."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))["weight_map"].values()
        if not names or not all(isinstance(name, str) and name for name in names):
            raise ValueError("weight_map names no files")
        return set(names)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file}: expected weight_map, a file for each tensor, found {type(error).__name__}: {error}; fetch it "
            "again"
        ) from error


def _has_chat_template(folder: Path) -> bool:
    """Return whether a tokenizer has a chat template, as far as its settings can be read: loading tells the rest."""
    if any(map(any, map(folder.glob, _TEMPLATES))):
        return True
    try:
        about = json.loads((folder / TOKENIZER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return isinstance(about, dict) and bool(about.get("chat_template"))


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    """All keys of a config and of the configs in it."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield key, value
            yield from _entries(value)
