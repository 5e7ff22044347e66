"""Lays out rows of tokens behind prefixes for a model: padded to one width, or packed one after another.

Either form gives a model keys and values that lie before its rows, and keeps what it makes of new ones. Padded rows
need a mask of queries x keys; packed rows need an attention that knows where each of them begins (`packed_attention`).

A row is one of keys (`prompts.keyed`): ids, and in place of a picture's tokens its key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.cache_utils import Cache, CacheLayerMixin

from selfdistill.scoring.packed_attention import PACKED
from selfdistill.scoring.pictures import PICTURES, check_rows, placed_rows, reads_pictures, token_ids
from selfdistill.scoring.prompts import PromptPicture

#: Keys and values of a layer.
Layer = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Past:
    """Keys and values of N prefixes.

    Attributes:
        layers: padded (N, heads, S, D), packed (1, heads, S, D).
        lengths: (N,) of each prefix.
        visible: (N, S) bool of padded ones, which columns each has.
        begins: (N,) of packed ones, each one's first column.
        starts: what follows each, of a model that reads pictures (prompts.row_positions).
    """

    layers: list[Layer]
    lengths: Tensor
    visible: Tensor | None = None
    begins: Tensor | None = None
    starts: Sequence[tuple[int, int]] = ()


@dataclass(frozen=True)
class Rows:
    """Rows that are computed in one forward, each alone or behind a prefix.

    Attributes:
        keys: of each row.
        past: prefixes that were computed before; None without any.
        index: (N,) the place in `past` of each row's prefix; None without any.
        keep: whether keys and values of this forward are kept.
        pictures: key -> picture, of the rows.
    """

    keys: Sequence[Sequence[int]]
    past: Past | None = None
    index: Tensor | None = None
    keep: bool = False
    pictures: Mapping[int, PromptPicture] = field(default_factory=dict)

    @property
    def starts(self) -> list[tuple[int, int]] | None:
        """Returns what follows each row's prefix, of a model that reads pictures; None without prefixes."""
        return None if self.past is None else [self.past.starts[i] for i in self.index.tolist()]

    def layers(self, count: int) -> list[Layer | None]:
        """Return the keys and values of the prefixes, layer by layer; None each without any."""
        return [None] * count if self.past is None else self.past.layers


@dataclass(frozen=True)
class Asked:
    """One forward: arguments of `pictures.forward`, and the flat positions (M,) of its real tokens, row by row.

    `starts` as of Past, once the forward's own rows are among the prefixes.
    """

    inputs: dict[str, Any]
    picked: Tensor
    lengths: Tensor
    starts: Sequence[tuple[int, int]] = ()


class Form(Protocol):
    """Says how rows are laid out.

    Attributes:
        attention: name of the attention that the model uses meanwhile; None: its own.
        worth: as of `PrefixSchedule.response_batches`.
    """

    attention: str | None
    worth: int | None

    def ask(self, rows: Rows) -> Asked:
        """Lays out a forward; raises UserError as `pictures.check_rows`."""

    def past(self, asked: Asked, rows: Rows) -> Past:
        """Return the keys and values that a forward has kept, those before it included."""


@dataclass(frozen=True)
class Padded:
    """Rows padded on the right to the longest, behind prefixes that are padded likewise.

    Attributes:
        device: of the model.
        layers: that keep keys and values.
        attention: as of Form; the mask is that of sdpa, or eager's where `added_mask` is its dtype.
        added_mask: dtype of a mask that is added to the products; None: one of bools.
        config: of the model, where it may read pictures.
        worth: as of Form.
    """

    device: torch.device
    layers: int
    attention: str | None = None
    added_mask: torch.dtype | None = None
    config: PreTrainedConfig | None = None
    worth: int | None = None

    def ask(self, rows: Rows) -> Asked:
        """Pad N rows of keys to (N, longest) on the right, behind the past they go on from."""
        own = _of_pictures(self.config, rows)
        count, width = len(rows.keys), max(1, max(map(len, rows.keys)))
        input_ids = torch.zeros(count, width, dtype=torch.long)
        for number, row in enumerate(rows.keys):
            input_ids[number, : len(row)] = torch.tensor(token_ids(row, self.config), dtype=torch.long)
        lengths = torch.tensor([len(row) for row in rows.keys])
        real = (torch.arange(width) < lengths[:, None]).to(self.device)
        positions = torch.arange(width, device=self.device)[None].expand(count, -1)
        if rows.past is not None:
            positions = positions + rows.past.lengths[rows.index, None]
        layers = [_PaddedLayer(each, rows.index, rows.keep) for each in rows.layers(self.layers)]
        inputs = {
            "input_ids": input_ids.to(self.device),
            "position_ids": positions,
            "attention_mask": self._mask(width, rows.past, rows.index),
            "past_key_values": Cache(layers=layers),
            "use_cache": True,
        }
        if own is not None:
            whole = torch.zeros(4, count, width, dtype=torch.long)
            for number, each in enumerate(own.positions):
                whole[:, number, : each.shape[1]] = each
            inputs |= {"position_ids": whole.to(self.device), PICTURES: own.pictures}
        starts = () if own is None else own.ends
        return Asked(inputs, real.flatten().nonzero()[:, 0], lengths.to(self.device), starts)

    def past(self, asked: Asked, rows: Rows) -> Past:
        """Keep keys and values of the N rows, (N, past + longest), with a mask of the real ones."""
        width = asked.inputs["input_ids"].shape[1]
        visible, lengths = torch.arange(width, device=self.device) < asked.lengths[:, None], asked.lengths
        if rows.past is not None:
            visible = torch.cat([rows.past.visible[rows.index], visible], dim=1)
            lengths = lengths + rows.past.lengths[rows.index]
        layers = [layer.whole for layer in asked.inputs["past_key_values"].layers]
        return Past(layers, lengths, visible, starts=asked.starts)

    def _mask(self, width: int, past: Past | None, index: Tensor | None) -> Tensor | None:
        """Returns what each new token sees: its row's prefix, and the row up to itself. None: the model's causal mask.

        Padding on the right needs no mask: no real token sees it.
        """
        if past is None:
            return None
        causal = torch.ones(width, width, dtype=torch.bool, device=self.device).tril()
        before = past.visible[index][:, None, None]  # (N, 1, 1, S)
        rows = len(before)
        seen = torch.cat([before.expand(rows, 1, width, -1), causal.expand(rows, 1, width, width)], dim=3)
        if self.added_mask is None:
            return seen
        added = torch.zeros(seen.shape, dtype=self.added_mask, device=seen.device)
        return added.masked_fill_(~seen, torch.finfo(self.added_mask).min)


@dataclass(frozen=True)
class Packed:
    """Rows one after another without padding or mask.

    Attributes:
        device: of the model.
        layers: that keep keys and values.
        config: of the model, where it may read pictures.
    """

    device: torch.device
    layers: int
    config: PreTrainedConfig | None = None
    attention: ClassVar[str] = PACKED
    worth: ClassVar[None] = None  # there is no padding to save

    def ask(self, rows: Rows) -> Asked:
        """Lay N rows of keys one after another on one axis, behind the past they go on from.

        An empty row has one token that belongs to nobody: its keys are no part of what is kept.
        """
        own = _of_pictures(self.config, rows)
        held = torch.tensor([max(1, len(row)) for row in rows.keys])
        real = torch.tensor([len(row) for row in rows.keys])
        flat = torch.tensor([i for row in rows.keys for i in token_ids(row or (0,), self.config)], dtype=torch.long)
        begins = _begins(held).to(self.device)
        held, lengths = held.to(self.device), real.to(self.device)
        place = torch.arange(len(flat), device=self.device) - begins[:-1].repeat_interleave(held)
        positions, begins_k, order = place, begins, None
        if rows.past is not None:
            before = rows.past.lengths[rows.index]
            positions = place + before.repeat_interleave(held)
            begins_k = _begins(before + held)
            order = _keys_in_order(rows.past, rows.index, begins, begins_k)
        layers = [_PackedLayer(each, order, rows.keep) for each in rows.layers(self.layers)]
        inputs = {
            "input_ids": flat.to(self.device)[None],
            "position_ids": positions[None],
            "attention_mask": None,
            "past_key_values": Cache(layers=layers),
            "use_cache": True,
            "cu_seq_lens_q": begins.int(),
            "cu_seq_lens_k": begins_k.int(),
            "max_length_q": int(held.max()),
            "max_length_k": int(begins_k.diff().max()),
        }
        if own is not None:
            whole = [each if each.shape[1] else torch.zeros(4, 1, dtype=torch.long) for each in own.positions]
            inputs |= {"position_ids": torch.cat(whole, dim=1)[:, None].to(self.device), PICTURES: own.pictures}
        starts = () if own is None else own.ends
        return Asked(inputs, (place < lengths.repeat_interleave(held)).nonzero()[:, 0], lengths, starts)

    def past(self, asked: Asked, rows: Rows) -> Past:
        """Keep keys and values of the N rows, one after another on one axis, with where each begins."""
        lengths = asked.lengths if rows.past is None else asked.lengths + rows.past.lengths[rows.index]
        layers = [layer.whole for layer in asked.inputs["past_key_values"].layers]
        return Past(layers, lengths, begins=asked.inputs["cu_seq_lens_k"][:-1].long(), starts=asked.starts)


class _OfPictures(NamedTuple):
    """Holds of N rows positions (4, L) each, all pictures from left to right, and where what follows each begins."""

    positions: list[Tensor]
    pictures: list[PromptPicture]
    ends: list[tuple[int, int]]


def _of_pictures(config: PreTrainedConfig | None, rows: Rows) -> _OfPictures | None:
    """Returns what a model that reads pictures is told besides; None for a model of text alone."""
    if config is None or not reads_pictures(config):
        check_rows(config, rows.keys, rows.pictures)
        return None
    return _OfPictures(*placed_rows(config, rows.keys, rows.pictures, rows.starts))


class Filled(Exception):  # noqa: N818 (no error: all that was wanted is there)
    """Ends a forward whose last layer has its keys and values."""


class _Layer(CacheLayerMixin):
    """Gives what lies before, row by row, and what is new; keeps both where that is wanted.

    Attributes:
        ends: whether the forward ends here, by raising `Filled`.
    """

    ends = False

    def __init__(self, before: Layer | None, index: Tensor | None, keep: bool):
        super().__init__()
        self._before, self._index, self._keep = before, index, keep
        self.whole: Layer | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> Layer:
        whole = key_states, value_states
        if self._before is not None:
            whole = tuple(self._joined(old, new) for old, new in zip(self._before, whole, strict=True))
        if self._keep:
            self.whole = whole
        if self.ends:
            raise Filled
        return whole

    def _joined(self, old: Tensor, new: Tensor) -> Tensor:
        raise NotImplementedError

    def get_seq_length(self) -> int:
        return 0 if self._before is None else self._before[0].shape[2]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_cache_shape(self) -> int:
        return -1


class _PaddedLayer(_Layer):
    def _joined(self, old: Tensor, new: Tensor) -> Tensor:
        return torch.cat([old[self._index], new], dim=2)


class _PackedLayer(_Layer):
    def _joined(self, old: Tensor, new: Tensor) -> Tensor:
        return torch.cat([old, new], dim=2)[:, :, self._index]


def _keys_in_order(past: Past, index: Tensor, begins: Tensor, begins_k: Tensor) -> Tensor:
    """Columns of (old keys, new keys) in the order of the rows, each row's own behind its prefix's."""
    lengths, first = past.lengths[index], past.begins[index]
    old = past.layers[0][0].shape[2]
    counts = begins_k.diff()
    place = torch.arange(int(begins_k[-1]), device=index.device) - begins_k[:-1].repeat_interleave(counts)
    before = lengths.repeat_interleave(counts)
    of_prefix = first.repeat_interleave(counts) + place
    of_row = old + begins[:-1].repeat_interleave(counts) + place - before
    return torch.where(place < before, of_prefix, of_row)


def _begins(lengths: Tensor) -> Tensor:
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def without_gradient(past: Past) -> Past:
    """Return the same with keys and values as leaves, whose gradients can be taken back through what made them."""
    return replace(past, layers=[tuple(states.detach().requires_grad_() for states in layer) for layer in past.layers])
