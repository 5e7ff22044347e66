"""Represents prompts that have pictures among their tokens."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from selfdistill.errors import UserError


@dataclass(frozen=True)
class PromptPicture:
    """A picture as a model reads it.

    Attributes:
        digest: of the picture (tasks.pictures).
        grid: its patches: times (1), rows, columns.
        merge: so many patches a side make one token.
        token: the id that stands for each of its tokens in a prompt.
        load: returns its pixels (patches, numbers of a patch), float32, as the model's vision tower takes them.
        origin: the picture itself (tasks.pictures.Picture), for whoever reads it elsewhere.
        bounds: the least and the most pixels that the grid was made with.
    """

    digest: str
    grid: tuple[int, int, int]
    merge: int
    token: int
    load: Callable[[], Tensor] = field(compare=False, repr=False)
    origin: Any = field(default=None, compare=False, repr=False)
    bounds: tuple[int, int] = field(default=(0, 0), compare=False, repr=False)

    @property
    def patches(self) -> int:
        """Count the patches that the vision tower reads: time x height x width."""
        return self.grid[0] * self.grid[1] * self.grid[2]

    @property
    def tokens(self) -> int:
        """Returns how many tokens it takes in a prompt."""
        return self.patches // self.merge**2

    @property
    def key(self) -> int:
        """Returns a number below zero, the same for equal pictures alone: 60 bits of the digest, and the grid."""
        return -1 - ((int(self.digest[:15], 16) << 32) | (self.grid[1] << 16) | self.grid[2])


class Prompt(tuple[int, ...]):
    """Token ids with pictures among them; what has no pictures is any sequence of ids.

    Attributes:
        pictures: those that the tokens stand for, in their order.
        keys: the ids, with each picture's key in place of its tokens. Prompts of equal keys are equal, pictures and
            all; of equal ids they may show different pictures.
    """

    pictures: tuple[PromptPicture, ...]
    keys: tuple[int, ...]

    def __new__(cls, ids: Iterable[int], pictures: Sequence[PromptPicture]) -> "Prompt":
        """Raise UserError unless each picture has its tokens in one row, in order, and text behind the last."""
        made = super().__new__(cls, ids)
        made.pictures = tuple(pictures)
        made.keys = _keys(made, made.pictures)
        return made

    def __reduce__(self) -> tuple:
        return Prompt, (tuple(self), self.pictures)


def pictures_of(prompt: Sequence[int]) -> tuple[PromptPicture, ...]:
    """Return the pictures of a prompt; none of plain ids."""
    return prompt.pictures if isinstance(prompt, Prompt) else ()


def keyed(prompt: Sequence[int]) -> tuple[int, ...]:
    """Return what tells a prompt from others: its ids, and the key of a picture in place of each of its tokens."""
    return prompt.keys if isinstance(prompt, Prompt) else tuple(prompt)


def vision_tokens(prompt: Sequence[int]) -> int:
    """Count the tokens of a prompt that stand for pictures."""
    return sum(picture.tokens for picture in pictures_of(prompt))


def expanded(ids: Sequence[int], pictures: Sequence[PromptPicture]) -> Prompt:
    """Return the prompt of ids in which each picture has one token, as a chat template writes it.

    Raises UserError where there are more or fewer of these tokens than pictures.
    """
    (token,) = {picture.token for picture in pictures}
    if (found := list(ids).count(token)) != len(pictures):
        raise UserError(
            f"the chat template wrote {found} image tokens (id {token}) for {len(pictures)} pictures; take a model "
            "whose template shows each image part once"
        )
    left = iter(pictures)
    return Prompt([each for i in ids for each in ([i] * next(left).tokens if i == token else [i])], pictures)


def collapsed(prompt: Sequence[int]) -> list[int]:
    """Return the inverse of `expanded`: ids with one token a picture."""
    left, ids, place = iter(pictures_of(prompt)), [], 0
    token = prompt.pictures[0].token if pictures_of(prompt) else None
    while place < len(prompt):
        ids.append(prompt[place])
        place += next(left).tokens if prompt[place] == token else 1
    return ids


def row_positions(
    row: Sequence[int], pictures: Mapping[int, PromptPicture], start: tuple[int, int] = (0, 0)
) -> tuple[Tensor, tuple[int, int]]:
    """Return the positions of a row for rotary embeddings of time, height and width (Qwen3-VL's).

    A token of text is one further than whatever stands before it, on all axes; those of a picture count its rows and
    columns from there, and what follows goes on behind the longer side.

    Args:
        row: keys of tokens (`keyed`); pictures are whole.
        pictures: by key.
        start: tokens before the row, and the position of its first one.

    Returns:
        (4, L) int64: the token's number in its row, then the three axes. And the `start` of what follows.
    """
    count, at = start
    positions = torch.empty(4, len(row), dtype=torch.long)
    positions[0] = torch.arange(count, count + len(row))
    place = 0
    while place < len(row):
        if row[place] >= 0:
            end = place
            while end < len(row) and row[end] >= 0:
                end += 1
            positions[1:, place:end] = torch.arange(at, at + end - place)
            at, place = at + end - place, end
            continue
        picture = pictures[row[place]]
        times, rows, columns = picture.grid[0], picture.grid[1] // picture.merge, picture.grid[2] // picture.merge
        axes = torch.meshgrid(*map(torch.arange, (times, rows, columns)), indexing="ij")
        positions[1:, place : place + picture.tokens] = at + torch.stack([axis.flatten() for axis in axes])
        at, place = at + max(rows, columns), place + picture.tokens
    return positions, (count + len(row), at)


def _keys(ids: Sequence[int], pictures: Sequence[PromptPicture]) -> tuple[int, ...]:
    keys, place, token = list(ids), 0, pictures[0].token if pictures else None
    for number, picture in enumerate(pictures):
        while place < len(ids) and ids[place] != token:
            place += 1
        end = place + picture.tokens
        if list(ids[place:end]) != [token] * picture.tokens:
            raise UserError(
                f"a prompt has fewer image tokens (id {token}) than picture {number + 1} of {len(pictures)} needs "
                f"({picture.tokens}); it was cut, or encoded with other bounds of pixels"
            )
        keys[place:end] = [picture.key] * picture.tokens
        place = end
    if token is not None and (token in ids[place:] or place == len(ids)):
        raise UserError(
            f"a prompt has more image tokens (id {token}) than its {len(pictures)} pictures need, or ends with them"
        )
    return tuple(keys)
