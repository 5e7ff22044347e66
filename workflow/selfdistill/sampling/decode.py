"""An own decode loop for small models, where transformers' generate spends most of its time on bookkeeping.

A static key-value cache with each row at its own position (no left padding), the prompts of one group read once and
their keys and values shared out, finished rows dropped from the batch as they end.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from selfdistill.errors import UserError
from selfdistill.randomness import Key, generator
from selfdistill.sampling.interface import Rollout, SamplingSettings
from selfdistill.sampling.picking import pick

_COMPACT_BELOW = 0.8  # share of rows still running under which copying the cache is cheaper than carrying the finished


class _RowCacheLayer(CacheLayerMixin):
    """Keys and values (B, H, S, D) of one layer, written at each row's own position."""

    def __init__(self, cache: "_RowCache"):
        super().__init__()
        self._cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, _, dim = key_states.shape
        self.keys = key_states.new_zeros(rows, heads, self._cache.capacity, dim)
        self.values = torch.zeros_like(self.keys)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        width = key_states.shape[2]
        if not self.is_initialized:  # prompts, right-padded: what lies behind a short one is overwritten later
            self.lazy_initialization(key_states, value_states)
            self.keys[:, :, :width], self.values[:, :, :width] = key_states, value_states
            return key_states, value_states
        rows, positions = self._cache.rows, self._cache.positions
        self.keys[rows, :, positions], self.values[rows, :, positions] = key_states[:, :, 0], value_states[:, :, 0]
        return self.keys[:, :, : self._cache.extent], self.values[:, :, : self._cache.extent]

    def select(self, index: Tensor) -> None:
        self.keys, self.values = self.keys.index_select(0, index), self.values.index_select(0, index)

    def get_seq_length(self) -> int:
        return self._cache.extent

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self._cache.extent, 0

    def get_max_cache_shape(self) -> int:
        return self._cache.capacity


class _RowCache(Cache):
    """The cache of a batch whose rows stand at different positions."""

    def __init__(self, layers: int, lengths: Tensor, capacity: int):
        self.capacity = capacity
        self.place(lengths)
        super().__init__(layers=[_RowCacheLayer(self) for _ in range(layers)])

    def place(self, positions: Tensor) -> None:
        """Where each row's next token goes."""
        self.positions = positions
        self.rows = torch.arange(len(positions), device=positions.device)
        self.extent = int(positions.max()) + 1

    def select(self, index: Tensor) -> None:
        for layer in self.layers:
            layer.select(index)
        self.place(self.positions[index])

    def visible(self) -> Tensor:
        """(B, 1, 1, extent) bool: keys up to and including each row's own position."""
        columns = torch.arange(self.extent, device=self.positions.device)
        return (columns <= self.positions[:, None])[:, None, None]


class DecodeLoop:
    """Sampler for any transformers causal model with full attention and a key-value cache."""

    def __init__(self, model: PreTrainedModel, pad_id: int, end_ids: Sequence[int], max_rows: int = 256):
        """`end_ids` end a response; `max_rows` bounds how many run at once (memory).

        Raises UserError for a model with sliding-window or other partial attention: every row sees its whole past here.
        """
        if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=model.config).layers):
            raise UserError(
                f"{model.name_or_path or type(model).__name__}: has sliding-window or other partial attention, which "
                "the own decode loop cannot do; set rollout.engine: transformers, or take a model with full attention"
            )
        self._model, self._pad_id, self._max_rows = model, pad_id, max_rows
        self._end_ids = torch.tensor(sorted(end_ids), device=model.device)

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Sequence[int]], settings: SamplingSettings, keys: Sequence[tuple[Key, ...]]
    ) -> list[Rollout]:
        """See Sampler. Rows do not influence one another's draws, only (at 1e-6) one another's rounding."""
        was_training = self._model.training
        self._model.eval()
        try:
            rollouts: list[Rollout] = []
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
        tokens = torch.zeros(len(prompts), limit, dtype=torch.long, device=device)
        logprobs = torch.zeros(len(prompts), limit, device=device)
        entropies = torch.zeros_like(logprobs)
        lengths = torch.full((len(prompts),), limit, device=device)
        stopped = torch.zeros(len(prompts), dtype=torch.bool, device=device)
        active = torch.arange(len(prompts), device=device)  # rows of the results that the cache's rows stand for
        for step in range(limit):
            drawn, logprob, entropy = pick(logits, uniforms[active, step], settings)
            tokens[active, step], logprobs[active, step], entropies[active, step] = drawn, logprob, entropy
            ended = torch.isin(drawn, self._end_ids) & ~stopped[active]
            lengths[active[ended]] = step + 1
            stopped[active[ended]] = True
            running = ~stopped[active]
            left = int(running.sum())
            if left == 0 or step + 1 == limit:
                break
            if left < _COMPACT_BELOW * len(active):
                index = running.nonzero()[:, 0]
                active, drawn = active[index], drawn[index]
                cache.select(index)
            logits = self._next_logits(drawn, cache)
        return _rollouts(tokens, logprobs, entropies, lengths, stopped)

    def _read_prompts(self, prompts, limit: int) -> tuple[Tensor, "_RowCache"]:
        """Logits (B, V) after each prompt, and a cache that holds the prompts; equal prompts are read once."""
        device = self._model.device
        distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
        # All but each prompt's last token at once; that one is read like a drawn token, and gives the first logits.
        before = torch.tensor([len(prompt) - 1 for prompt in distinct], device=device)
        width = max(int(before.max()), 1)
        input_ids = torch.full((len(distinct), width), self._pad_id, device=device)
        for row, prompt in enumerate(distinct):
            input_ids[row, : len(prompt) - 1] = torch.tensor(prompt[:-1], device=device)
        cache = _RowCache(self._model.config.num_hidden_layers, before, width + limit)
        causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        positions = torch.arange(width, device=device)[None]
        self._forward(self._model.base_model, input_ids, positions, causal[None, None], cache)
        logits = self._next_logits(torch.tensor([prompt[-1] for prompt in distinct], device=device), cache)
        number = {prompt: row for row, prompt in enumerate(distinct)}
        index = torch.tensor([number[tuple(prompt)] for prompt in prompts], device=device)
        cache.select(index)
        return logits[index], cache

    def _next_logits(self, tokens: Tensor, cache: "_RowCache") -> Tensor:
        """Logits (B, V) after one more token a row, by the whole model: some scale or cap what their head gives."""
        output = self._forward(self._model, tokens[:, None], cache.positions[:, None], cache.visible(), cache)
        cache.place(cache.positions + 1)
        return output.logits[:, 0]

    def _forward(self, module, input_ids: Tensor, position_ids: Tensor, visible: Tensor, cache: "_RowCache"):
        # Additive, which every attention implementation takes; eager attention would add a boolean mask as 0 and 1.
        mask = torch.zeros(visible.shape, dtype=module.dtype, device=visible.device)
        mask = mask.masked_fill(~visible, torch.finfo(module.dtype).min).expand(len(input_ids), -1, -1, -1)
        return module(
            input_ids=input_ids, position_ids=position_ids, attention_mask=mask, past_key_values=cache, use_cache=True
        )


def _rollouts(tokens, logprobs, entropies, lengths, stopped) -> list[Rollout]:
    rows = zip(tokens.tolist(), logprobs.cpu(), entropies.cpu(), lengths.tolist(), stopped.tolist(), strict=True)
    return [
        Rollout(ids[:n], lp[:n].numpy().copy(), h[:n].numpy().copy(), "stop" if stop else "length")
        for ids, lp, h, n, stop in rows
    ]
