"""Saves a model so that it can be read again: tries that before a training, reads it back after it."""

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.finite import refuse_not_finite
from selfdistill.models.folder_check import weight_files
from selfdistill.models.loading import load_model, load_weights
from selfdistill.models.pictures import PictureReader
from selfdistill.scoring.manner import plain_logprobs, rounding_of, tokens_for, undisturbed

_GENERATION = "generation_config.json"
_TOKENS = 12  # of the text whose log-probs are compared


def save_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, pictures: PictureReader | None = None
) -> None:
    """Write weights, configs and tokenizer as transformers loads them, and read them back.

    The generation config is written as it came with the base model, even where transformers would refuse to save it.

    Args:
        model: in evaluation or training; it is not changed.
        tokenizer: the model's.
        folder: to make.
        pictures: the model's reader of pictures, whose settings are written beside; None of a model of text alone.

    Raises:
        UserError: where a weight is not finite, and where what was written is not, when it is loaded, the same model:
            by its tensors and by the log-probs of a text. The folder is then not to be used.
    """
    check_savable(model, tokenizer)
    refuse_not_finite(
        folder, model.named_parameters(), "the training diverged: lower optimizer.learning_rate and train anew"
    )
    with plain_generation_config(model) as recommended:
        model.save_pretrained(folder, safe_serialization=True)
        write_generation_config(recommended, folder)
    tokenizer.save_pretrained(folder)
    if pictures is not None:
        pictures.save(folder)
    _read_back(model, folder)


def check_savable(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write all but the weights into a folder that is dropped again: what can fail there fails before a training.

    Raises UserError where config, generation config or tokenizer cannot be saved.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            model.config.save_pretrained(folder)
            write_generation_config(model.generation_config, Path(folder))
            tokenizer.save_pretrained(folder)
        except Exception as error:  # whatever their own checks raise
            reason = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]
            raise UserError(
                f"{model.name_or_path or type(model).__name__}: config or tokenizer cannot be saved again ({reason}), "
                "so a trained model could not be published; mend them in the base model's folder"
            ) from error


@contextmanager
def plain_generation_config(model: PreTrainedModel):
    """Gives the model's generation config, in whose place the model has an empty one within the block.

    transformers refuses to save what it loaded where temperature, top_p or top_k stand beside no do_sample.
    """
    recommended, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield recommended
    finally:
        model.generation_config = recommended


def write_generation_config(config: GenerationConfig | None, folder: Path) -> None:
    """Writes what save_pretrained would, without its checks; nothing where the model has none."""
    if config is None:
        (folder / _GENERATION).unlink(missing_ok=True)
    else:
        config.to_json_file(folder / _GENERATION, use_diff=True, keys_to_pop=["compile_config"])


def check_tensors(folder: Path, expected: Mapping[str, Tensor]) -> None:
    """Compare a folder's tensors, one after the other, with those that were to be written.

    Tensors that have another name or form in files than in memory, as joined experts have, are compared as they are
    when the folder is loaded.

    Raises UserError where one is missing, differs, or is not finite.
    """
    found: set[str] = set()
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  (not a mapping)
                value = tensors.get_tensor(name)
                refuse_not_finite(file, [(name, value)], "the training diverged: lower the learning rate")
                if name in expected and not _equal(value, expected[name]):
                    raise _unlike(folder, name)
                found.add(name)
    if missing := sorted(expected.keys() - found):
        loaded = load_weights(folder, torch.device("cpu")).state_dict()
        for name in missing:
            if name not in loaded or not _equal(loaded[name], expected[name]):
                raise _unlike(folder, name)


def _read_back(model: PreTrainedModel, folder: Path) -> None:
    model.zero_grad(set_to_none=True)  # makes room for what is loaded
    with undisturbed(model):
        loaded, _ = load_model(folder, torch.device("cpu"))
        _compare(folder, loaded.named_parameters(), dict(model.named_parameters()))
        tokens = tokens_for(model, _TOKENS)
        if model.device.type == "cpu" and model.dtype == torch.float32:  # else equal weights are summed otherwise
            difference = (plain_logprobs(model, tokens) - plain_logprobs(loaded, tokens)).abs().max()
            if not float(difference) <= rounding_of(model):
                raise UserError(
                    f"{folder}: read back, the saved model's log-probs of a text are {float(difference):.2g} nats from "
                    "those of the model that was saved; it is not published: take another base model"
                )


def _compare(folder: Path, loaded: Iterable[tuple[str, Tensor]], own: Mapping[str, Tensor]) -> None:
    names = set()
    for name, value in loaded:
        if name not in own or not _equal(value, own[name]):
            raise _unlike(folder, name)
        names.add(name)
    if missing := sorted(own.keys() - names):
        raise _unlike(folder, missing[0])


def _equal(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and torch.equal(first.detach().cpu().float(), second.detach().cpu().float())


def _unlike(folder: Path, name: str) -> UserError:
    return UserError(
        f"{folder}: read back, tensor {name} is missing or not what was saved, so transformers does not save this kind "
        "of model as it loads it; it is not published: take another base model"
    )
