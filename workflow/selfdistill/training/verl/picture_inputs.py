"""Passes pictures to verl's engine: references travel with rows, and each distinct picture is encoded once.

verl would carry the pixels of a prompt with every rollout of it; and where a row has image tokens and no pixels, its
forward takes a blank picture times zero and goes on.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor
from transformers import PreTrainedModel

from selfdistill.models.pictures import PictureReader, processor_settings
from selfdistill.scoring.pictures import PICTURES as PLACED
from selfdistill.scoring.pictures import placed_rows
from selfdistill.scoring.prompts import Prompt, PromptPicture, keyed, pictures_of
from selfdistill.study.run_settings import ChatSettings
from selfdistill.tasks.pictures import Picture

#: Key of a request: for each row, references to its pictures as UTF-8 JSON, one number a byte.
PICTURES = "pictures"


def packed_references(prompts: Sequence[Sequence[int]]) -> list[list[int]] | None:
    """Return what `PICTURES` holds for some prompts; None where none has a picture.

    Raises ValueError for pictures that are in no file.
    """
    if not any(map(pictures_of, prompts)):
        return None
    return [list(json.dumps([*map(_reference, pictures_of(prompt))]).encode()) for prompt in prompts]


def _reference(picture: PromptPicture) -> dict[str, Any]:
    return {"picture": picture.origin.reference, "grid": list(picture.grid), "bounds": list(picture.bounds)}


class PictureInputs:
    """Holds what a model that reads pictures is given in a forward of verl's engine."""

    def __init__(self, module: PreTrainedModel, folder: Path):
        """Make one of a model, before it is sharded, and of its folder, which says how pictures are cut."""
        self._config, self._folder = module.config, Path(folder)
        self._readers: dict[tuple[int, int], PictureReader] = {}
        self._order: list[int] = []
        self._grids: Tensor | None = None
        tower = module.base_model.visual
        tower.register_forward_pre_hook(self._of_distinct, with_kwargs=True)
        tower.register_forward_hook(self._of_all)

    def ask(self, micro_batch: TensorDict, *, packed: bool) -> dict[str, Tensor]:
        """Return what the next forward takes besides its ids.

        Args:
            micro_batch: rows as of `wire`, in the order of the forward.
            packed: one behind the other, or each padded on its right.

        Returns:
            position_ids (4, 1, all tokens) or (4, B, L), and pixel_values and image_grid_thw where there are pictures.

        Raises:
            UserError: for image tokens without a picture, and for pictures that cannot be read.
        """
        device = micro_batch["input_ids"].device
        prompts = self.prompts(micro_batch)
        responses = [each.tolist() for each in micro_batch["responses"].unbind()]
        rows = [(*keyed(prompt), *response) for prompt, response in zip(prompts, responses, strict=True)]
        known = {picture.key: picture for prompt in prompts for picture in pictures_of(prompt)}
        positions, placed, _ = placed_rows(self._config, rows, known)
        if packed:
            whole = torch.cat(positions, dim=1)[:, None]
        else:
            whole = torch.zeros(4, len(rows), max(map(len, rows)), dtype=torch.long)
            for number, each in enumerate(positions):
                whole[:, number, : each.shape[1]] = each
        return {"position_ids": whole.to(device)} | self._pixels(placed, device)

    def with_pixels(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments of `scoring.pictures.forward` as verl's forward takes them: pixels in place of pictures."""
        placed = inputs.get(PLACED, ())
        told = {name: value for name, value in inputs.items() if name != PLACED}
        return told | self._pixels(placed, inputs["input_ids"].device)

    def _pixels(self, placed: Sequence[PromptPicture], device: torch.device) -> dict[str, Tensor]:
        """Pixels of the distinct pictures of the next forward, and grids in the order in which they are shown."""
        self._order, self._grids = [], None
        if not placed:
            return {}
        distinct = list(dict.fromkeys(placed))
        self._order = [distinct.index(picture) for picture in placed]
        self._grids = torch.tensor([picture.grid for picture in distinct], device=device)
        pixels = torch.cat([picture.load() for picture in distinct]).to(device)
        return {"pixel_values": pixels, "image_grid_thw": self._grids[self._order]}

    def prompts(self, micro_batch: TensorDict) -> list[Sequence[int]]:
        """Return the prompts of a request, with their pictures. Raises UserError where they have not their tokens."""
        ids = [each.tolist() for each in micro_batch["prompts"].unbind()]
        if PICTURES not in micro_batch:
            return ids
        held = [json.loads(bytes(each.tolist())) for each in micro_batch[PICTURES].unbind()]
        pictures = [[self._picture(reference) for reference in row] for row in held]
        return [Prompt(row, own) if own else row for row, own in zip(ids, pictures, strict=True)]

    def _picture(self, reference: Mapping[str, Any]) -> PromptPicture:
        bounds = tuple(reference["bounds"])
        if bounds not in self._readers:
            chat = ChatSettings(min_pixels=bounds[0], max_pixels=bounds[1])
            settings, token = processor_settings(self._folder), self._config.image_token_id
            self._readers[bounds] = PictureReader(settings, token, chat, str(self._folder))
        (picture,) = self._readers[bounds].of([Picture.at(reference["picture"])])
        if list(picture.grid) != reference["grid"]:
            raise RuntimeError(f"{self._folder}: cuts a picture into {picture.grid} patches, not {reference['grid']}")
        return picture

    def _of_distinct(self, tower: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple | None:
        """The tower is given each distinct picture once, and so its grid; without pictures nothing is changed."""
        return None if self._grids is None else (args, kwargs | {"grid_thw": self._grids})

    def _of_all(self, tower: torch.nn.Module, args: tuple, output: Any) -> Any:
        """Returns what it makes of them, for each place where one is shown."""
        if self._grids is None:
            return None
        sizes = (self._grids.prod(dim=1) // self._config.vision_config.spatial_merge_size**2).tolist()

        def spread(values: Tensor) -> Tensor:
            parts = values.split(sizes)
            return torch.cat([parts[i] for i in self._order])

        output.pooler_output = spread(output.pooler_output)
        output.deepstack_features = [spread(level) for level in output.deepstack_features or ()]
        return output
