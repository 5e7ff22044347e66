"""Computes how a model's vision tower takes a picture: sizes, patches, pixels, from the numbers in its folder.

The image processor is transformers' own of NumPy and Pillow, which wants no torchvision; the tokens of a picture are
counted from its size, so that prompts can be made before any picture is decoded.
"""

import json
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil, smart_resize

from selfdistill.errors import UserError
from selfdistill.files import write_text
from selfdistill.scoring.pictures import KINDS
from selfdistill.scoring.prompts import PromptPicture
from selfdistill.study.run_settings import ChatSettings
from selfdistill.tasks.pictures import PLACEHOLDER, Picture
from selfdistill.tasks.schema import Problem

#: Ids of the config, and the spelling of the token that each is of (Qwen's own; picture_check holds a folder to them).
SPELT = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
PREPROCESSOR = "preprocessor_config.json"
_PROCESSOR = "processor_config.json"  # where newer folders have it, as section image_processor
#: What transformers and vLLM make a processor from, beside the tokenizer's files.
_FILES = (PREPROCESSOR, _PROCESSOR, "video_preprocessor_config.json")
_NORMALISED = ("image_mean", "image_std", "rescale_factor", "do_rescale", "do_normalize", "resample")
#: Numbers of pixels that are kept at most, of the latest pictures.
_KEPT = 2**26


class PictureReader:
    """Reads pictures for one model. Those of a step are decoded once, and kept up to a quarter of a gigabyte.

    Attributes:
        token: the id that stands for a picture in a prompt.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        token: int,
        chat: ChatSettings,
        name: str,
        files: Mapping[str, str] | None = None,
    ):
        """Make a reader.

        Args:
            settings: of the folder's preprocessor_config.json.
            token: image_token_id.
            chat: of the run, whose bounds of pixels go first.
            name: the folder, for messages.
            files: texts of the folder's `processor_files`; None: settings alone.

        Raises:
            UserError: for settings without sizes, and where the least pixels are more than the most.
        """
        self.token, self._name = token, name
        self._files = {PREPROCESSOR: json.dumps(settings, indent=2) + "\n"} if files is None else dict(files)
        size = settings.get("size") or {}
        self._least = chat.min_pixels or settings.get("min_pixels") or size.get("shortest_edge")
        self._most = chat.max_pixels or settings.get("max_pixels") or size.get("longest_edge")
        if not self._least or not self._most:
            raise UserError(
                f"{name}: {PREPROCESSOR} has no bounds of a picture's pixels (size: shortest_edge, longest_edge); set "
                "chat.min_pixels and chat.max_pixels"
            )
        if self._least > self._most:
            raise UserError(
                f"{name}: pictures are to have at least {self._least} and at most {self._most} pixels; lower "
                f"chat.min_pixels, or raise chat.max_pixels (where they are not set, {PREPROCESSOR} says it)"
            )
        self._patch, self._merge = settings["patch_size"], settings["merge_size"]
        known = {key: settings[key] for key in _NORMALISED if settings.get(key) is not None}
        self._processor = Qwen2VLImageProcessorPil(
            size={"shortest_edge": self._least, "longest_edge": self._most},
            patch_size=self._patch,
            merge_size=self._merge,
            temporal_patch_size=settings["temporal_patch_size"],
            **known,
        )
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def bounds(self) -> tuple[int, int]:
        """Returns the least and the most pixels of a picture as the model is shown it."""
        return self._least, self._most

    def of(self, pictures: Sequence[Picture]) -> tuple[PromptPicture, ...]:
        """Return pictures as a prompt has them; none is decoded yet.

        Raises UserError for one that is two hundred times as long as it is wide.
        """
        return tuple(map(self._one, pictures))

    def pixels(self, picture: Picture) -> Tensor:
        """Return the pixels of a picture (patches, numbers of a patch), float32.

        Raises UserError where it cannot be read.
        """
        key = picture.digest
        if key not in self._kept:
            made = self._processor(images=[self.resized(picture)], do_resize=False, return_tensors="pt")
            self._kept[key] = made["pixel_values"].to(torch.float32)
        self._kept.move_to_end(key)
        found = self._kept[key]
        while len(self._kept) > 1 and sum(each.numel() for each in self._kept.values()) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def resized(self, picture: Picture) -> Image.Image:
        """Return a picture in the size in which the model sees it, for whoever cuts it into patches by itself (vLLM).

        Raises UserError as `pixels`.
        """
        height, width = self._size(picture)
        image = picture.image()
        return image if image.size == (width, height) else image.resize((width, height), self._processor.resample)

    def save(self, folder: Path) -> None:
        """Write the processor's files as they were read, beside a model."""
        write_processor_files(self._files, folder)

    def _size(self, picture: Picture) -> tuple[int, int]:
        try:
            return smart_resize(picture.height, picture.width, self._patch * self._merge, self._least, self._most)
        except ValueError as error:
            raise UserError(f"{picture.source}: {picture.width} x {picture.height} pixels: {error}; drop it") from error

    def _one(self, picture: Picture) -> PromptPicture:
        height, width = self._size(picture)
        grid = 1, height // self._patch, width // self._patch
        load = partial(self.pixels, picture)
        return PromptPicture(picture.digest, grid, self._merge, self.token, load, picture, self.bounds)


def picture_reader(folder: Path, config: PreTrainedConfig, chat: ChatSettings) -> PictureReader | None:
    """Return the reader of a model's pictures; None for a model of text alone.

    Args:
        folder: of the model.
        config: as `models.loading.load_config` gives it, which checks that the folder's parts agree.
        chat: settings of the run.

    Raises:
        UserError: as `processor_settings` and `PictureReader`.
    """
    if config.model_type not in KINDS:
        return None
    folder = Path(folder)
    settings, files = processor_settings(folder), processor_files(folder)
    return PictureReader(settings, config.image_token_id, chat, str(folder), files)


def processor_settings(folder: Path) -> dict[str, Any]:
    """Returns what a folder says of its image processor.

    Raises UserError where it says nothing, or not all that is needed.
    """
    file = folder / PREPROCESSOR
    try:
        if file.exists():
            settings = json.loads(file.read_text(encoding="utf-8"))
        else:
            file = folder / _PROCESSOR
            settings = json.loads(file.read_text(encoding="utf-8"))["image_processor"]
        missing = [key for key in ("patch_size", "merge_size", "temporal_patch_size") if not settings.get(key)]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(
            f"{folder}: reads pictures, but neither {PREPROCESSOR} nor section image_processor of {_PROCESSOR} can be "
            f"read ({type(error).__name__}: {error}); fetch it with the model"
        ) from error
    if missing:
        raise UserError(f"{file}: has no {', '.join(missing)}; fetch the file anew with the model")
    return settings


def processor_files(folder: Path) -> dict[str, str]:
    """Return the texts of the files that others make a model's processor from, by name: of those that there are."""
    return {name: (folder / name).read_text(encoding="utf-8") for name in _FILES if (folder / name).exists()}


def write_processor_files(files: Mapping[str, str], folder: Path) -> None:
    """Write a model's `processor_files` beside its weights, as they were."""
    for name, text in files.items():
        write_text(Path(folder) / name, text)


def problem_pictures(problem: Problem, reader: PictureReader | None) -> tuple[PromptPicture, ...]:
    """Return the pictures of a problem as a prompt has them.

    Raises UserError for a problem with pictures where the model reads none, and for one whose text spells the tokens
    that stand for them where it does: the step that asks it would find that they have no pixels.
    """
    texts = [problem.problem, *(message.content for message in problem.messages)] if reader is not None else []
    for spelling in (SPELT["image_token_id"], SPELT["video_token_id"]):
        if any(spelling in text for text in texts):
            raise UserError(
                f"problem {problem.id}: its text has {spelling}, which the model takes for a picture or video; take it "
                f"out of the problem, or write {PLACEHOLDER} where a picture is meant"
            )
    if not problem.images:
        return ()
    if reader is None:
        raise UserError(
            f"problem {problem.id}: has {len(problem.images)} pictures, but the model reads none; take one of type "
            f"{', '.join(KINDS)}, or data without pictures"
        )
    return reader.of(problem.images)
