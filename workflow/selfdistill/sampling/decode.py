"""Implements a decode loop for small models, where transformers' generate spends most of its time on bookkeeping.

A static key-value cache with a column for each step: prompts on the left, each padded on its right to the longest, and
then the tokens drawn, which all rows write at the same column, whatever their own positions are. The prompts of one
group are read once, pictures and all, and their keys and values shared out, finished rows dropped from the batch as
they end.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from selfdistill.errors import UserError
from selfdistill.models.finite import why_not_finite
from selfdistill.randomness import Key, generator
from selfdistill.sampling.decode_attention import decode_attention
from selfdistill.sampling.interface import Rollout, SamplingSettings, not_finite
from selfdistill.sampling.picking import pick
from selfdistill.scoring.attention import sees_its_whole_past
from selfdistill.scoring.lengths import layer_count
from selfdistill.scoring.manner import check_rotation
from selfdistill.scoring.pictures import (
    banned_columns,
    check_rows,
    forward,
    pictures_in,
    reads_pictures,
    row_inputs,
    token_ids,
)
from selfdistill.scoring.prompts import keyed

_COMPACT_BELOW = 0.8  # share of rows still running under which copying the cache is cheaper than carrying the finished


class _ColumnCacheLayer(CacheLayerMixin):
    """Keys and values (B, H, S, D) of one layer."""

    def __init__(self, cache: "_ColumnCache"):
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, _, dim = key_states.shape
        self.keys = key_states.new_empty(rows, heads, self._cache.capacity, dim)
        # Latent attention (DeepSeek's) has values of another width than keys.
        self.values = value_states.new_empty(rows, heads, self._cache.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin, end = self._cache.extent - key_states.shape[2], self._cache.extent
        self.keys[:, :, begin:end], self.values[:, :, begin:end] = key_states, value_states
        return self.keys[:, :, :end], self.values[:, :, :end]

    def select(self, index: Tensor) -> None:
        """Rows of another batch; what is behind the columns written so far is not copied."""
        self.keys, self.values = self._selected(self.keys, index), self._selected(self.values, index)

    def _selected(self, states: Tensor, index: Tensor) -> Tensor:
        selected = states.new_empty(len(index), *states.shape[1:])
        selected[:, :, : self._cache.extent] = states[:, :, : self._cache.extent].index_select(0, index)
        return selected

    def get_seq_length(self) -> int:
        return self._cache.extent

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.extent, 0

    def get_max_cache_shape(self) -> int:
        return self._cache.capacity


class _ColumnCache(Cache):
    """The cache of a batch whose rows write the same columns at different positions.

    Attributes:
        capacity: columns that there can be.
        extent: columns that are there once the forward at hand has written its own.
        positions: (B,) of each row's next token.
    """

    def __init__(self, layers: int, lengths: Tensor, width: int, capacity: int, dtype: torch.dtype):
        """`lengths` (B,) of the prompts, which are to fill the first `width` columns; `dtype` of the masks."""
        self.capacity, self.extent, self.positions = capacity, width, lengths
        columns = torch.arange(capacity, device=lengths.device)
        hidden = (columns >= lengths[:, None]) & (columns < width)
        # Additive, which every attention implementation takes; eager attention would add a boolean mask as 0 and 1.
        self._mask = torch.zeros(hidden.shape, dtype=dtype, device=lengths.device)
        self._mask = self._mask.masked_fill(hidden, torch.finfo(dtype).min)[:, None, None]
        super().__init__(layers=[_ColumnCacheLayer(self) for _ in range(layers)])

    @property
    def mask(self) -> Tensor:
        """Returns (B, 1, 1, extent): what each row's token may see, its own column included."""
        return self._mask[..., : self.extent]

    def select(self, index: Tensor) -> None:
        for layer in self.layers:
            layer.select(index)
        self._mask, self.positions = self._mask[index], self.positions[index]


class _Drawn(NamedTuple):
    """Holds what was drawn for N rows of up to T tokens; zero behind the last.

    Attributes:
        rows: (N,) int64, which rows of the batch these are.
        tokens: (N, T) int64. logprobs, entropies: (N, T) nats. support: (N, T, k) int64.
        lengths: (N,) int64. stopped: (N,) bool, True where an end token was drawn.
    """

    rows: Tensor
    tokens: Tensor
    logprobs: Tensor
    entropies: Tensor
    support: Tensor
    lengths: Tensor
    stopped: Tensor

    @classmethod
    def nothing(cls, rows: int, settings: SamplingSettings, device: torch.device) -> "_Drawn":
        limit = settings.max_response_tokens
        tokens = torch.zeros(rows, limit, dtype=torch.long, device=device)
        support = tokens.new_zeros(rows, limit, settings.support)
        logprobs = torch.zeros(rows, limit, device=device)
        stopped = torch.zeros(rows, dtype=torch.bool, device=device)
        lengths = torch.full((rows,), limit, device=device)
        entropies = torch.zeros_like(logprobs)
        return cls(torch.arange(rows, device=device), tokens, logprobs, entropies, support, lengths, stopped)

    def select(self, index: Tensor) -> "_Drawn":
        return _Drawn(*(value[index] for value in self))

    def rollouts(self) -> list[tuple[int, Rollout]]:
        """Return each with its row of the batch."""
        lists = (v.tolist() for v in (self.rows, self.tokens, self.lengths, self.stopped))
        arrays = (v.cpu().numpy() for v in (self.logprobs, self.entropies, self.support))
        found = []
        for row, ids, n, stop, *of_tokens in zip(*lists, *arrays, strict=True):
            logprobs, entropies, support = (each[:n].copy() for each in of_tokens)
            why = "stop" if stop else "length"
            found.append((row, Rollout(ids[:n], logprobs, entropies, why, support if support.shape[1] else None)))
        return found


class DecodeLoop:
    """Sampler for any transformers causal model with full attention and a key-value cache."""

    def __init__(self, model: PreTrainedModel, pad_id: int, end_ids: Sequence[int], max_rows: int = 256):
        """`end_ids` end a response; `max_rows` bounds how many run at once (memory).

        Raises UserError for a model with sliding-window or other partial attention: every row sees its whole past here.
        """
        if not sees_its_whole_past(model):
            raise UserError(
                f"{model.name_or_path or type(model).__name__}: has sliding-window or other partial attention, which "
                "the own decode loop cannot do; set rollout.engine: transformers, or take a model with full attention"
            )
        self._model, self._pad_id, self._max_rows = model, pad_id, max_rows
        self._end_ids = torch.tensor(sorted(end_ids), device=model.device)
        self._banned = banned_columns(model.config, model.device)

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Sequence[int]], settings: SamplingSettings, keys: Sequence[tuple[Key, ...]]
    ) -> list[Rollout]:
        """Draw a response to every prompt; see Sampler.

        Equivalent to, for each prompt and its key::

            for uniform in generator(*key).random(settings.max_response_tokens):
                logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[:, -1]
                response.append(int(pick(logits, torch.tensor([uniform]), settings)[0]))  # until an end token

        Rows do not influence one another's draws, only (at 1e-6) one another's rounding. Ids of pictures are not drawn.

        Raises:
            UserError: where rotary frequencies would depend on the longest row, where logits are not finite, and as
                `pictures.check_rows`.
        """
        check_rotation(self._model.config, max(map(len, prompts), default=0) + settings.max_response_tokens)
        was_training = self._model.training
        self._model.eval()
        try:
            rollouts: list[Rollout] = []
            with decode_attention(self._model):
                for begin in range(0, len(prompts), self._max_rows):
                    part = slice(begin, begin + self._max_rows)
                    rollouts += self._sample_batch(prompts[part], settings, keys[part])
            return rollouts
        finally:
            self._model.train(was_training)

    def _sample_batch(self, prompts, settings, keys) -> list[Rollout]:
        limit, device = settings.max_response_tokens, self._model.device
        uniforms = torch.from_numpy(np.stack([generator(*key).random(limit) for key in keys])).to(device)
        logits, cache = self._read_prompts(prompts, limit)
        drawn = _Drawn.nothing(len(prompts), settings, device)  # of the rows that the cache has
        finished: list[tuple[int, Rollout]] = []
        for step in range(limit):
            picked = pick(logits, uniforms[:, step], settings, self._banned)
            tokens = picked.tokens
            if not (torch.isfinite(picked.logprobs) | drawn.stopped).all():
                raise not_finite(self._model.name_or_path or type(self._model).__name__, why_not_finite(self._model))
            for name, values in picked._asdict().items():
                getattr(drawn, name)[:, step] = values
            ended = torch.isin(tokens, self._end_ids) & ~drawn.stopped
            drawn.lengths.masked_fill_(ended, step + 1)
            drawn.stopped.logical_or_(ended)
            left = len(tokens) - int(drawn.stopped.sum())
            if left == 0 or step + 1 == limit:
                break
            if left < _COMPACT_BELOW * len(tokens):
                finished += drawn.select(drawn.stopped.nonzero()[:, 0]).rollouts()
                index = (~drawn.stopped).nonzero()[:, 0]
                drawn, tokens, uniforms = drawn.select(index), tokens[index], uniforms[index]
                cache.select(index)
            logits = self._next_logits(tokens, cache)
        return [rollout for _, rollout in sorted(finished + drawn.rollouts(), key=lambda pair: pair[0])]

    def _read_prompts(self, prompts, limit: int) -> tuple[Tensor, _ColumnCache]:
        """Logits (B, V) after each prompt, and a cache that holds the prompts; equal prompts are read once."""
        device, dtype, config = self._model.device, self._model.dtype, self._model.config
        distinct = list(dict.fromkeys(keyed(prompt) for prompt in prompts))
        # All but each prompt's last token at once; that one is read like a drawn token, and gives the first logits.
        before = torch.tensor([len(prompt) - 1 for prompt in distinct], device=device)
        width = max(int(before.max()), 1)
        input_ids = torch.full((len(distinct), width), self._pad_id, device=device)
        for row, prompt in enumerate(distinct):
            input_ids[row, : len(prompt) - 1] = torch.tensor(token_ids(prompt[:-1], config), device=device)
        following, inputs = self._laid_out([prompt[:-1] for prompt in distinct], prompts, before, width)
        cache = _ColumnCache(layer_count(self._model), before, width, width + limit, dtype)
        cache.positions = following
        causal = torch.full((width, width), torch.finfo(dtype).min, dtype=dtype, device=device).triu(1)
        causal = causal.expand(len(distinct), 1, width, width)
        self._forward(self._model.base_model, input_ids, causal, cache, **inputs)
        logits = self._next_logits(torch.tensor([prompt[-1] for prompt in distinct], device=device), cache)
        number = {prompt: row for row, prompt in enumerate(distinct)}
        index = torch.tensor([number[keyed(prompt)] for prompt in prompts], device=device)
        cache.select(index)
        return logits[index], cache

    def _laid_out(self, bodies, prompts, lengths: Tensor, width: int) -> tuple[Tensor, dict[str, Any]]:
        """Positions (B,) of what follows each body, and what the forward of the bodies is told of positions and
        pictures; `prompts` have the pictures.
        """
        pictures = pictures_in(prompts)
        if not reads_pictures(self._model.config):
            check_rows(self._model.config, bodies, pictures)
            return lengths, {"position_ids": torch.arange(width, device=lengths.device)[None]}
        inputs, starts = row_inputs(self._model, bodies, pictures, width=width)
        return torch.tensor([position for _, position in starts], device=lengths.device), inputs

    @torch.inference_mode()  # on a small model a twelfth of a step is torch's bookkeeping for gradients
    def _next_logits(self, tokens: Tensor, cache: _ColumnCache) -> Tensor:
        """Logits (B, V) after one more token a row, by the whole model: some scale or cap what their head gives."""
        cache.extent += 1
        output = self._forward(self._model, tokens[:, None], cache.mask, cache, position_ids=cache.positions[:, None])
        cache.positions = cache.positions + 1
        return output.logits[:, 0]

    def _forward(self, module, input_ids: Tensor, mask: Tensor, cache: _ColumnCache, **told: Any):
        inputs = {"input_ids": input_ids, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
        return forward(self._model, inputs | told, module)
