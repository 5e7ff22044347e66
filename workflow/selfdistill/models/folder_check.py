"""Checks the weights of a model's folder: whether they are plain numbers. What it names: study.model_folder."""

import re
from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open

from selfdistill.errors import UserError
from selfdistill.study.model_folder import INDEX, WEIGHTS, index_files

#: Types of tensors as safetensors names them, whose values are the weights.
_PLAIN = ("F64", "F32", "F16", "BF16")
#: Names of tensors by which stored values are to be multiplied before they are the weights.
_SCALE = re.compile(
    r"(?:\.|_)(?:weight_scale(?:_inv|_2)?|weight\.(?:absmax|quant_state\b.*|SCB)|qweight|qzeros|scales)$"
)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers reads: one, or those of the index."""
    if (folder / WEIGHTS).exists() or not (folder / INDEX).exists():
        return [folder / WEIGHTS] if (folder / WEIGHTS).exists() else sorted(folder.glob("*.safetensors"))
    return [folder / name for name in sorted(index_files(folder / INDEX))]


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
