"""Scores of many responses under fewer prompts: every distinct prompt is computed once, by a schedule.

A prompt's keys and values serve all responses that are scored under it, and what neighbouring prompts have in common at
the front (chat header, problem, framing) serves all of these. A plain forward reads a prompt once a response: a hinted
prompt, which holds a whole rollout, costs it half of its tokens.

A prompt's last token is read at the head of each response, since it predicts the response's first token; a response's
own last token predicts nothing that is asked for, and is not read. So a response takes as many tokens as it has.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from selfdistill.scoring.batching import batches_within
from selfdistill.scoring.head import Read
from selfdistill.scoring.lengths import layer_count
from selfdistill.scoring.prefix_schedule import PrefixSchedule, Wave
from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.reading import read_forward
from selfdistill.scoring.scores import Scores, Sequences

#: Cached keys allowed per token of a budget: a key costs about a quarter of a token's activations in each layer.
_KEYS = 4


@torch.no_grad()
def score_with_prefixes(
    model: PreTrainedModel,
    sequences: Sequences,
    schedule: PrefixSchedule,
    width: int,
    max_tokens: int,
    temperature: float = 1.0,
    query: Query = LOGPROBS_ONLY,
) -> Scores:
    """Score responses whose prompts are computed once each.

    Equivalent, but for the tokens that it forwards, to::

        score(model, sequences, width, max_tokens, temperature, query)  # scoring.scorer: each prompt once a response

    Args:
        model: one that `scoring.sharing.can_share`.
        sequences: N prompts with their responses.
        schedule: of these sequences.
        width: T of the scores, at least the longest response.
        max_tokens: padded tokens of responses a forward, whose keys, prompts' included, are four times as many at most
            (at least one row). Keys and values of one wave's prompts are held meanwhile.
        temperature: divides the logits.
        query: what is read besides the log-probs; `ids` (N, width, k).

    Returns:
        Scores (N, width), zero behind each response.
    """
    count, device = len(sequences.responses), model.device
    whole: dict[str, Tensor] = {"logprobs": torch.zeros(count, width, device=device)}
    for wave in schedule.waves:
        past = _read_prompts(model, schedule.bodies, wave)
        for part in _parts(model, sequences, schedule, wave, past, max_tokens):
            where = torch.tensor(part.rows, device=device)[part.inside.nonzero()[:, 0]], part.inside.nonzero()[:, 1]
            read = part.read(model, temperature, query.part(where))
            for name, value in read._asdict().items():
                if value is not None:
                    if name not in whole:
                        whole[name] = value.new_zeros(count, width, *value.shape[1:])
                    whole[name][where] = value
    return Scores(**whole, forwarded=schedule.tokens)


def backward_with_prefixes(
    model: PreTrainedModel,
    sequences: Sequences,
    schedule: PrefixSchedule,
    max_tokens: int,
    loss: Callable[[list[int], Scores], Tensor],
    temperature: float = 1.0,
    query: Query = LOGPROBS_ONLY,
) -> None:
    """Add the gradient of a sum of losses to that of the model's parameters, micro-batch by micro-batch; exact.

    What micro-batches give to a prompt's keys and values is added up, and taken back through the prompt once.
    Equivalent to::

        for rows in micro_batches(sequences, max_tokens):
            loss(rows, read_responses(model, sequences, rows, temperature, query.part(rows))).backward()

    Args:
        model, sequences, max_tokens, temperature, query: as of `score_with_prefixes`.
        schedule: of these sequences, without fronts.
        loss: of some rows, a scalar, from their Scores (rows, T), T their longest response, with gradient.
    """
    for wave in schedule.waves:
        _backward_wave(model, sequences, schedule, wave, max_tokens, loss, temperature, query)


def _backward_wave(
    model: PreTrainedModel,
    sequences: Sequences,
    schedule: PrefixSchedule,
    wave: Wave,
    max_tokens: int,
    loss: Callable[[list[int], Scores], Tensor],
    temperature: float,
    query: Query,
) -> None:
    """Add one wave's gradient: a call of its own, so that keys and values are gone before the next wave's are made."""
    past = _read_prompts(model, schedule.bodies, wave)
    apart = [tuple(states.detach().requires_grad_() for states in layer) for layer in past.layers]
    for part in _parts(model, sequences, schedule, wave, replace(past, layers=apart), max_tokens):
        of_part = query.part(part.rows).part((slice(None), slice(part.inside.shape[1])))
        read = part.read(model, temperature, of_part.part(part.inside))
        values = {name: part.spread(value) for name, value in read._asdict().items() if value is not None}
        loss(part.rows, Scores(**values)).backward()
    flat = [pair for layers in zip(past.layers, apart, strict=True) for pair in zip(*layers, strict=True)]
    used = [(states, leaf.grad) for states, leaf in flat if leaf.grad is not None and states.requires_grad]
    if used:
        torch.autograd.backward(*zip(*used, strict=True))


@dataclass(frozen=True)
class _Part:
    """Responses of one forward: rows of the sequences, the model's arguments, (N, T) bool real tokens and their ids."""

    rows: list[int]
    inputs: dict[str, Any]
    inside: Tensor
    labels: Tensor

    def read(self, model: PreTrainedModel, temperature: float, query: Query) -> Read:
        """Read the real tokens, row by row."""
        picked = self.inside.flatten().nonzero()[:, 0]
        return read_forward(model, self.inputs, picked, self.labels, query, temperature=temperature)

    def spread(self, values: Tensor) -> Tensor:
        """Values of the real tokens as (N, T, ...), zero behind each response; keeps gradients."""
        at, rest = self.inside.flatten().nonzero()[:, 0], values.shape[1:]
        return values.new_zeros(self.inside.numel(), *rest).index_copy(0, at, values).view(*self.inside.shape, *rest)


def _parts(
    model: PreTrainedModel, sequences: Sequences, schedule: PrefixSchedule, wave: Wave, past: "_Past", max_tokens: int
) -> Iterator[_Part]:
    """The responses under a wave's prompts, in micro-batches of similar length, longest first."""
    responses, before = sequences.responses, past.visible.shape[1]
    place = {prompt: row for row, prompt in enumerate(wave.prompts)}
    jobs = [(row, place[prompt]) for prompt in wave.prompts for row in schedule.uses[prompt]]
    jobs.sort(key=lambda job: (-len(responses[job[0]]), job))
    for part in batches_within(
        jobs,
        lambda job: (len(responses[job[0]]),),
        lambda width: max(width, (before + width) / _KEYS),
        max_tokens,
    ):
        rows = [row for row, _ in part]
        read = [(sequences.prompts[row][-1], *responses[row][:-1]) for row in rows]
        index = torch.tensor([at for _, at in part], device=model.device)
        inputs, inside = _inputs(model, read, past, index, keep=False)
        labels = torch.tensor([token for row in rows for token in responses[row]], device=model.device)
        yield _Part(rows, inputs, inside, labels)


@dataclass(frozen=True)
class _Past:
    """Keys and values of N prefixes, layer by layer (N, heads, S, D); which of the S columns each has; its length."""

    layers: list[tuple[Tensor, Tensor]]
    visible: Tensor
    lengths: Tensor


class _Layer(CacheLayerMixin):
    """Gives what lies before, row by row, and what is new; keeps both where that is wanted."""

    def __init__(self, before: tuple[Tensor, Tensor] | None, index: Tensor | None, keep: bool):
        super().__init__()
        self._before, self._index, self._keep = before, index, keep
        self.whole: tuple[Tensor, Tensor] | None = None

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs) -> tuple[Tensor, Tensor]:
        whole = key_states, value_states
        if self._before is not None:
            pairs = zip(self._before, whole, strict=True)
            whole = tuple(torch.cat([old[self._index], new], dim=2) for old, new in pairs)
        if self._keep:
            self.whole = whole
        return whole

    def get_seq_length(self) -> int:
        return 0 if self._before is None else self._before[0].shape[2]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_cache_shape(self) -> int:
        return -1


def _read_prompts(model: PreTrainedModel, bodies: Sequence[tuple[int, ...]], wave: Wave) -> _Past:
    """Keys and values of a wave's prompts, in its order."""
    past = index = None
    if any(wave.fronts):
        past = _extended(model, wave.fronts, None, None)
        index = torch.tensor(wave.front_of, device=model.device)
    return _extended(model, wave.rests(bodies), past, index)


def _extended(model: PreTrainedModel, rows: Sequence[Sequence[int]], past: _Past | None, index: Tensor | None) -> _Past:
    """Keys and values of rows behind the prefixes `index` of `past`."""
    inputs, mask = _inputs(model, rows, past, index, keep=True)
    model.base_model(**inputs)
    lengths, visible = mask.sum(dim=1), mask
    if past is not None:
        lengths, visible = lengths + past.lengths[index], torch.cat([past.visible[index], mask], dim=1)
    return _Past([layer.whole for layer in inputs["past_key_values"].layers], visible, lengths)


def _inputs(
    model: PreTrainedModel, rows: Sequence[Sequence[int]], past: _Past | None, index: Tensor | None, *, keep: bool
) -> tuple[dict[str, Any], Tensor]:
    """What the model is called with for rows of tokens (right-padded) behind prefixes, and (N, Q) bool: real tokens."""
    width, device = max(1, max(map(len, rows))), model.device
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    for number, row in enumerate(rows):
        input_ids[number, : len(row)] = torch.tensor(row, dtype=torch.long)
    real = (torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]).to(device)
    positions = torch.arange(width, device=device)[None].expand(len(rows), -1)
    if past is not None:
        positions = positions + past.lengths[index, None]
    layers = past.layers if past is not None else [None] * layer_count(model)
    inputs = {
        "input_ids": input_ids.to(device),
        "position_ids": positions,
        "attention_mask": _mask(model, width, past, index),
        "past_key_values": Cache(layers=[_Layer(layer, index, keep) for layer in layers]),
        "use_cache": True,
    }
    return inputs, real


def _mask(model: PreTrainedModel, width: int, past: _Past | None, index: Tensor | None) -> Tensor | None:
    """What each new token sees: its row's prefix, and the row up to itself. None: the model's own causal mask is that.

    Padding on the right needs no mask: no real token sees it.
    """
    if past is None:
        return None
    causal = torch.ones(width, width, dtype=torch.bool, device=model.device).tril()
    before = past.visible[index][:, None, None]  # (N, 1, 1, S)
    rows = len(before)
    seen = torch.cat([before.expand(rows, 1, width, -1), causal.expand(rows, 1, width, width)], dim=3)
    if model.config.get_text_config()._attn_implementation == "sdpa":
        return seen
    added = torch.zeros(seen.shape, dtype=model.dtype, device=seen.device)  # as eager attention takes it
    return added.masked_fill_(~seen, torch.finfo(model.dtype).min)
