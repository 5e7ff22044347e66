"""Models and tokenizers from a local folder: safetensors only, no code from the folder is run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging

from selfdistill.errors import UserError


def load_model(folder: Path, device: torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model in float32 and its tokenizer.

    Raises UserError where the folder lacks a config, safetensors weights, a tokenizer, or a chat template, where one of
    them cannot be read, and where a tensor of the model is missing from the weights.
    """
    folder = Path(folder)
    for pattern, what in (("config.json", "model config"), ("*.safetensors", "weights"), ("tokenizer*", "tokenizer")):
        if not any(folder.glob(pattern)):
            raise UserError(f"{folder}: no {what} ({pattern}) found; expected a model folder as transformers saves it")
    logging.disable_progress_bar()  # a bar of one shard for every small model only clutters the logs
    tokenizer = _loaded(AutoTokenizer.from_pretrained, folder, "tokenizer")
    if not tokenizer.chat_template:
        raise UserError(
            f"{folder}: the tokenizer has no chat template (chat_template.jinja, or chat_template in "
            "tokenizer_config.json); use an instruction-tuned model or add one"
        )
    options = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
    model, info = _loaded(AutoModelForCausalLM.from_pretrained, folder, "model", **options)
    if missing := sorted(info["missing_keys"]):  # transformers draws these at random, and says so only in the log
        raise UserError(
            f"{folder}: the weights lack {len(missing)} of the model's tensors ({', '.join(missing[:3])}, ...); "
            "they belong to another architecture or were saved incompletely"
        )
    return model.to(device).eval(), tokenizer


def _loaded(load: Callable, folder: Path, what: str, **options: Any) -> Any:
    try:
        return load(folder, trust_remote_code=False, local_files_only=True, **options)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{folder}: the {what} cannot be loaded: {reason}") from error


def pick_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
