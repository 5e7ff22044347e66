"""What a model's folder says of itself: whether it is a whole model, and whether its weights are plain numbers."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from selfdistill.errors import UserError

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
#: Sections of a config under which packages say how they packed the weights.
_PACKED = ("quantization_config", "compression_config")
#: Keys under which a config names an implementation of attention.
_ATTENTION = ("attn_implementation", "_attn_implementation")
#: Types of tensors as safetensors names them, whose values are the weights.
_PLAIN = ("F64", "F32", "F16", "BF16")
#: Names of tensors by which stored values are to be multiplied before they are the weights.
_SCALE = re.compile(
    r"(?:\.|_)(?:weight_scale(?:_inv|_2)?|weight\.(?:absmax|quant_state\b.*|SCB)|qweight|qzeros|scales)$"
)


def check_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json.

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
    model, and often of a package that is not there."""
    return next((str(value) for key, value in _entries(config) if key in _ATTENTION and value), None)


def index_files(file: Path) -> set[str]:
    """Names of the files with weights, by their index; raises UserError for an index that is none."""
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


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads: one, or those of the index."""
    if (folder / _WEIGHTS).exists() or not (folder / _INDEX).exists():
        return [folder / _WEIGHTS] if (folder / _WEIGHTS).exists() else sorted(folder.glob("*.safetensors"))
    return [folder / name for name in sorted(index_files(folder / _INDEX))]


def refuse_packed_tensors(folder: Path, parameters: Iterable[str]) -> None:
    """Raises UserError where a weight is stored in integers or 8 bits, which would be taken for the weight itself, or
    beside a scale that nothing of the model reads.

    Args:
        folder: of the model.
        parameters: names of the model's own, all of which are floating-point numbers.
    """
    known = set(parameters)
    suffixes = {name.partition(".")[2] for name in known}
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not a mapping)
                if name not in known and name not in suffixes and _SCALE.search(name):
                    raise UserError(
                        f"{file}: tensor {name} is a scale of quantised weights, which this model does not read: what "
                        "is stored beside it is not the weights themselves; take the model's unquantised weights"
                    )
                kind = tensors.get_slice(name).get_dtype()
                weight = name.endswith("weight") or name in known or name in suffixes
                if kind not in _PLAIN and weight:
                    raise UserError(
                        f"{file}: tensor {name} is stored as {kind}, expected floating point of 16 bits or more: "
                        "its values are not the weights themselves; take the model's unquantised weights"
                    )


def _entries(config: Any) -> Iterator[tuple[str, Any]]:
    """All keys of a config and of the configs in it."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield key, value
            yield from _entries(value)
