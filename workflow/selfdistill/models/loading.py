"""Loads models and tokenizers from a local folder: safetensors only, and no code of the folder is run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen3VLForConditionalGeneration,
)
from transformers.utils import logging

from selfdistill.errors import UserError
from selfdistill.models.finite import refuse_not_finite
from selfdistill.models.folder_check import refuse_packed_tensors
from selfdistill.models.picture_check import check_pictures
from selfdistill.models.tokenizer_check import read_tokenizer
from selfdistill.scoring.lengths import vocabulary_size
from selfdistill.study.model_folder import check_config, named_attention

#: Characters of a message of somebody else's that are passed on.
_OWN_CODE = "contains custom code"  # of transformers, where a folder asks for code of its own
_MOST = 300
#: Classes of models that read pictures (scoring.pictures.KINDS); transformers has them under no causal model.
_OF_KIND = {"qwen3_vl": Qwen3VLForConditionalGeneration}


def load_model(folder: Path, device: torch.device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return a causal language model in float32 and its tokenizer.

    Raises UserError where the folder lacks a config, safetensors weights, a tokenizer, or a chat template, where one of
    them cannot be read, where a tensor of the model is missing from the weights, where the tokenizer has ids that the
    model does not know, and where it loses the spaces between words; of a model that reads pictures also where its
    parts do not fit each other (picture_check).
    """
    tokenizer = load_tokenizer(folder)
    return load_weights(folder, device), tokenizer


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer alone, everything but the weights checked as load_model does."""
    folder = Path(folder)
    for pattern, what in (("config.json", "model config"), ("*.safetensors", "weights"), ("tokenizer*", "tokenizer")):
        if not any(folder.glob(pattern)):
            raise UserError(f"{folder}: no {what} ({pattern}) found; expected a model folder as transformers saves it")
    tokenizer = read_tokenizer(folder)
    if not tokenizer.chat_template:
        raise UserError(
            f"{folder}: the tokenizer has no chat template (chat_template.jinja, or chat_template in "
            "tokenizer_config.json); use an instruction-tuned model or add one"
        )
    config = _loaded(AutoConfig.from_pretrained, folder, "model config")
    known = vocabulary_size(config)
    largest = max(tokenizer.get_vocab().values())
    if largest >= known:  # the other way round is usual: vocabularies are padded to round sizes
        raise UserError(
            f"{folder}: the tokenizer has ids up to {largest}, but the model's vocabulary has {known} rows "
            "(vocab_size in config.json); they do not belong together"
        )
    check_pictures(folder, config, tokenizer)
    return tokenizer


def load_config(folder: Path) -> PreTrainedConfig:
    """Return the model's config, as it is used here: with transformers' own choice of attention.

    Raises UserError where it cannot be read, and where the folder is no plain model (model_folder.check_config).
    """
    folder = Path(folder)
    named = named_attention(check_config(folder))
    config = _loaded(AutoConfig.from_pretrained, folder, "model config")
    if named is not None:
        config._attn_implementation = None
    for part in (config, config.get_text_config()):  # transformers takes an empty section for a quantised model
        if getattr(part, "quantization_config", "") in (None, {}):
            del part.quantization_config
    return config


def model_class(config: PreTrainedConfig) -> type:
    """The class that loads a model: by its kind where it reads pictures too, else transformers' of causal models."""
    return _OF_KIND.get(config.model_type, AutoModelForCausalLM)


def load_weights(folder: Path, device: torch.device) -> PreTrainedModel:
    """Load a folder's model in float32 without its tokenizer; raises UserError as `load_model` does."""
    logging.disable_progress_bar()  # a bar of one shard for every small model only clutters the logs
    folder = Path(folder)
    options = {
        "config": load_config(folder),
        "dtype": torch.float32,
        "use_safetensors": True,
        "output_loading_info": True,
    }
    model, info = _loaded(model_class(options["config"]).from_pretrained, folder, "model", **options)
    if missing := sorted(info["missing_keys"]):  # transformers draws these at random, and says so only in the log
        raise UserError(
            f"{folder}: the weights lack {len(missing)} of the model's tensors ({', '.join(missing[:3])}, ...); "
            "they belong to another architecture or were saved incompletely"
        )
    refuse_packed_tensors(folder, (name for name, _ in model.named_parameters()))
    refuse_not_finite(folder, model.named_parameters(), "take weights that are finite, or fetch them again")
    return model.to(device).eval()


def empty_model(config: PreTrainedConfig, dtype: torch.dtype) -> PreTrainedModel:
    """Return a model of this config whose weights say nothing."""
    kind = _OF_KIND.get(config.model_type)
    return AutoModelForCausalLM.from_config(config, dtype=dtype) if kind is None else kind(config).to(dtype)


def load_generation_config(folder: Path) -> GenerationConfig:
    """Returns what transformers would put beside the loaded model: the folder's, or what the model config says."""
    if (Path(folder) / "generation_config.json").exists():
        return _loaded(_generation_config, Path(folder), "generation config")
    return GenerationConfig.from_model_config(_loaded(AutoConfig.from_pretrained, Path(folder), "model config"))


def _generation_config(folder: Path, *, trust_remote_code: bool, **options: Any) -> GenerationConfig:
    """Reads it from a folder; from_pretrained would take the first option, unknown to it, for a field to be saved."""
    return GenerationConfig.from_pretrained(folder, **options)


def _loaded(load: Callable, folder: Path, what: str, **options: Any) -> Any:
    try:
        return load(folder, trust_remote_code=False, local_files_only=True, **options)
    except Exception as error:  # of transformers, tokenizers, safetensors and any package they ask for
        raise UserError(f"{folder}: the {what} cannot be loaded: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Returns what went wrong and what to do, in one line; many of these messages go on for a page."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    said = f"{said[:_MOST]} ..." if len(said) > _MOST else said
    if isinstance(error, ImportError):
        return f"{said}; it asks for a package that is not installed here: take a model that needs none"
    if _OWN_CODE in said:
        return f"{said.partition('. ')[0]}; that is never run here: take a model whose type transformers knows"
    if isinstance(error, SafetensorError):
        return f"{said}; fetch or save its weights again"
    if isinstance(error, (OSError, RuntimeError, ValueError)) and said:
        return said
    return f"{type(error).__name__}: {said}; its files do not fit transformers {transformers.__version__}"


def cast_weights(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """The model itself, its parameters in another precision.

    Buffers stay as they are, as where transformers loads in that precision: in bfloat16, rotary frequencies are off by
    whole turns some thousand positions on.
    """
    for weights in model.parameters():
        weights.data = weights.data.to(dtype)
    return model


def pick_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
