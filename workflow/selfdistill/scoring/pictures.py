"""Runs forwards of rows that have pictures among their tokens: positions, features, and ids that may not be drawn.

Positions are given to the model always: left to itself it counts them from what it remembers of the last forward
(`rope_deltas`). Features of a picture are computed once for all rows of a forward that show it, with gradient where
there is one; without, they are kept as long as the vision tower's weights stay what they are.
"""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from selfdistill.errors import UserError
from selfdistill.scoring.prompts import PromptPicture, keyed, pictures_of, row_positions

#: Kinds of models (`model_type` of the config) whose pictures are known here.
KINDS = ("qwen3_vl",)
#: Key of a forward's arguments: its pictures, row by row and from left to right.
PICTURES = "pictures"
#: Numbers of kept features at most, over all pictures of a model.
_KEPT = 2**26
_TOKENS = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")


def reads_pictures(config: PreTrainedConfig) -> bool:
    """Returns whether a model of this config reads pictures here."""
    return getattr(config, "model_type", None) in KINDS


def banned_ids(config: PreTrainedConfig) -> tuple[int, ...]:
    """Return the ids that stand for pictures and videos, or begin and end them, which are no text: nobody draws them.

    Sampler and scorer leave them out of their distributions alike; none for models of text alone.
    """
    if not reads_pictures(config):
        return ()
    return tuple(sorted({getattr(config, name) for name in _TOKENS}))


def banned_columns(config: PreTrainedConfig, device: torch.device) -> Tensor | None:
    """Returns `banned_ids` as an index of logits' columns; None where there are none."""
    ids = banned_ids(config)
    return torch.tensor(ids, device=device) if ids else None


def freeze_vision_tower(model: PreTrainedModel) -> None:
    """Take the weights that read pictures out of training. Raises UserError where a model has none."""
    if not reads_pictures(model.config):
        raise UserError(
            f"optimizer.freeze_vision_tower is set, but a model of type {model.config.model_type} reads no pictures; "
            "leave it out"
        )
    model.base_model.visual.requires_grad_(False)


def token_ids(row: Sequence[int], config: PreTrainedConfig | None) -> list[int]:
    """Return the ids of a row of keys (`prompts.keyed`)."""
    return [i if i >= 0 else config.image_token_id for i in row]


def pictures_in(prompts: Sequence[Sequence[int]]) -> dict[int, PromptPicture]:
    """Return all pictures of some prompts by their keys."""
    return {picture.key: picture for prompt in prompts for picture in pictures_of(prompt)}


def check_rows(
    config: PreTrainedConfig | None, rows: Sequence[Sequence[int]], pictures: Mapping[int, PromptPicture]
) -> None:
    """Compare rows of keys with what a model can read.

    Raises:
        UserError: for pictures where the model reads none, and for ids of images and videos without a picture: they
            would be scored as words, and nothing would say so.
    """
    if not reads_pictures(config):
        if pictures:
            kind = getattr(config, "model_type", "of text alone")
            raise UserError(
                f"a model ({kind}) has a prompt with pictures, but reads none; take one of type {', '.join(KINDS)}, or "
                "data without pictures"
            )
        return
    empty = {config.image_token_id, config.video_token_id}
    for number, row in enumerate(rows):
        if found := empty.intersection(row):
            raise UserError(
                f"row {number + 1} of {len(rows)} has token {min(found)}, which stands for a picture or video, and no "
                "pixels for it: it lost its pictures on the way, or a problem's text or a response has image tokens"
            )


def row_inputs(
    model: PreTrainedModel,
    rows: Sequence[Sequence[int]],
    pictures: Mapping[int, PromptPicture],
    *,
    width: int,
    shifts: Sequence[int] | None = None,
    starts: Sequence[tuple[int, int]] | None = None,
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Return the positions and pictures of a forward of a model that reads pictures.

    Args:
        model: one that `reads_pictures`.
        rows: keys of tokens of each row.
        pictures: by key, those of the rows and maybe others.
        width: columns of the forward.
        shifts: the column of each row's first token; 0 without.
        starts: as of `prompts.row_positions`, of rows that follow others; (0, 0) without.

    Returns:
        position_ids (4, N, width), 0 at padding, and `pictures`; and each row's start of what follows it.

    Raises:
        UserError: as `check_rows`.
    """
    own, placed, ends = placed_rows(model.config, rows, pictures, starts)
    positions = torch.zeros(4, len(rows), width, dtype=torch.long)
    for number, each in enumerate(own):
        first = 0 if shifts is None else shifts[number]
        positions[:, number, first : first + each.shape[1]] = each
    return {"position_ids": positions.to(model.device), PICTURES: placed}, ends


def placed_rows(
    config: PreTrainedConfig,
    rows: Sequence[Sequence[int]],
    pictures: Mapping[int, PromptPicture],
    starts: Sequence[tuple[int, int]] | None = None,
) -> tuple[list[Tensor], list[PromptPicture], list[tuple[int, int]]]:
    """Positions (4, L) of each row, all their pictures from left to right, and each row's start of what follows it.

    Args and errors as of `row_inputs`; `config` is the model's.
    """
    check_rows(config, rows, pictures)
    before = [(0, 0)] * len(rows) if starts is None else starts
    found = [row_positions(row, pictures, start) for row, start in zip(rows, before, strict=True)]
    placed = [picture for row in rows for picture in _placed(row, pictures)]
    return [own for own, _ in found], placed, [end for _, end in found]


def sequence_inputs(
    model: Any, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], width: int, shifts: Sequence[int]
) -> dict[str, Any]:
    """Return the same for whole prompts with their responses; nothing for a model of text alone."""
    pictures = pictures_in(prompts)
    rows = [(*keyed(prompt), *response) for prompt, response in zip(prompts, responses, strict=True)]
    if not reads_pictures(model.config):
        check_rows(model.config, rows, pictures)
        return {}
    return row_inputs(model, rows, pictures, width=width, shifts=shifts)[0]


def forward(model: PreTrainedModel, inputs: Mapping[str, Any], module: nn.Module | None = None) -> Any:
    """Call a model with arguments that may have `pictures`, whose features it is given.

    Equivalent, but for how often a picture is encoded, to::

        pixels = torch.cat([picture.load() for picture in pictures])
        module(**inputs, pixel_values=pixels, image_grid_thw=[picture.grid for picture in pictures])

    Args:
        model: the whole model.
        inputs: of its forward.
        module: what is called in its place: its base, without the output layer.
    """
    inputs = dict(inputs)
    pictures = inputs.pop(PICTURES, None)
    called = model if module is None else module
    if not pictures:
        return called(**inputs)
    grids = torch.tensor([picture.grid for picture in pictures], device=model.device)
    with features_given(model, pictures):
        return called(**inputs, pixel_values=torch.empty(0, device=model.device), image_grid_thw=grids)


@contextmanager
def features_given(model: PreTrainedModel, pictures: Sequence[PromptPicture]) -> Iterator[None]:
    """Let a model take the features of these pictures for whatever pixels it is called with, inside the block."""
    tower, features = model.base_model.visual, picture_features(model, pictures)

    def given(*_: Any, **__: Any) -> BaseModelOutputWithDeepstackFeatures:
        levels = zip(*(each.deepstack for each in features), strict=True)
        return BaseModelOutputWithDeepstackFeatures(
            pooler_output=torch.cat([each.tokens for each in features]),
            deepstack_features=[torch.cat(level) for level in levels],
        )

    tower.forward = given
    try:
        yield
    finally:
        del tower.forward


@dataclass(frozen=True)
class Features:
    """Holds what a vision tower makes of a picture: tokens (n, H), and for each deepstack level the same."""

    tokens: Tensor
    deepstack: tuple[Tensor, ...]

    @property
    def numbers(self) -> int:
        """Count the numbers that are kept: n x H for the tokens and for each deepstack level."""
        return self.tokens.numel() * (1 + len(self.deepstack))


def picture_features(model: PreTrainedModel, pictures: Sequence[PromptPicture]) -> list[Features]:
    """Features of pictures, in order, each distinct one computed once.

    With gradient, all in one pass; without, one by one, so that a picture's features are the same bits whatever else
    is asked for, and kept while the weights are the same.
    """
    distinct = list(dict.fromkeys(pictures))
    tower = model.base_model.visual
    if torch.is_grad_enabled() and any(weights.requires_grad for weights in tower.parameters()):
        made = dict(zip(distinct, _encoded(model, distinct), strict=True))
        return [made[picture] for picture in pictures]
    kept = _kept_features(model)
    return [kept.of(picture, lambda picture: _encoded(model, [picture])[0]) for picture in pictures]


@torch.no_grad()
def _pixels(model: PreTrainedModel, pictures: Sequence[PromptPicture]) -> tuple[Tensor, Tensor]:
    grids = torch.tensor([picture.grid for picture in pictures], device=model.device)
    return torch.cat([picture.load() for picture in pictures]).to(model.device), grids


def _encoded(model: PreTrainedModel, pictures: Sequence[PromptPicture]) -> list[Features]:
    pixels, grids = _pixels(model, pictures)
    output = type(model.base_model).get_image_features(model.base_model, pixels, grids, return_dict=True)
    sizes = [picture.tokens for picture in pictures]
    levels = [level.split(sizes) for level in output.deepstack_features or ()]
    return [Features(tokens, tuple(level[i] for level in levels)) for i, tokens in enumerate(output.pooler_output)]


class _Kept:
    """Features of pictures under the weights that a vision tower has now, the latest used, up to a number."""

    def __init__(self) -> None:
        self._features: OrderedDict[PromptPicture, Features] = OrderedDict()
        self._weights: tuple = ()
        self._numbers = 0

    def under(self, weights: tuple) -> "_Kept":
        """Forget what was computed under other weights."""
        if weights != self._weights:
            self._features.clear()
            self._weights, self._numbers = weights, 0
        return self

    def of(self, picture: PromptPicture, encode: Callable[[PromptPicture], Features]) -> Features:
        if picture not in self._features:
            self._features[picture] = encode(picture)
            self._numbers += self._features[picture].numbers
        self._features.move_to_end(picture)
        found = self._features[picture]
        while self._numbers > _KEPT and len(self._features) > 1:
            self._numbers -= self._features.popitem(last=False)[1].numbers
        return found


_FEATURES: "weakref.WeakKeyDictionary[nn.Module, _Kept]" = weakref.WeakKeyDictionary()


def _kept_features(model: PreTrainedModel) -> _Kept:
    # Whoever changes a weight in place moves its version on; whoever gives it other memory moves the address.
    weights = tuple((each._version, each.data_ptr(), each.dtype) for each in model.base_model.visual.parameters())
    return _FEATURES.setdefault(model, _Kept()).under(weights)


def _placed(row: Sequence[int], pictures: Mapping[int, PromptPicture]) -> list[PromptPicture]:
    """The pictures of a row of keys, as often as they are there."""
    found, place = [], 0
    while place < len(row):
        if row[place] < 0:
            found.append(pictures[row[place]])
            place += found[-1].tokens
        else:
            place += 1
    return found
