"""Scores of many responses under fewer prompts: every distinct prompt is computed once.

A prompt's keys and values serve all responses that are scored under it, and what neighbouring prompts have in common at
the front (chat header, problem, framing) serves all of these. A plain forward reads a prompt once a response: a hinted
prompt, which holds a whole rollout, costs it half of its tokens.

A prompt's last token is read at the head of each response, since it predicts the response's first token; a response's
own last token predicts nothing that is asked for, and is not read. So a response takes as many tokens as it has.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from selfdistill.scoring.head import Read
from selfdistill.scoring.lengths import layer_count
from selfdistill.scoring.reading import read_forward
from selfdistill.scoring.scores import Scores, Sequences

_WORTH = 0.1  # of its prompts' tokens that a shared front must save, to be worth a forward of its own
_NEIGHBOURS = 64  # most prompts that share one front
_KEYS = 4  # keys that may be held for each computed token of the budget: a layer's cost a quarter of its activations


@dataclass(frozen=True)
class Cluster:
    """Prompts (numbers of them) that begin with the same `front` tokens."""

    prompts: list[int]
    front: int


@dataclass(frozen=True)
class Wave:
    """Prompts that are computed in one forward, longest first, with their fronts.

    Attributes:
        prompts: numbers of prompts.
        fronts: the distinct fronts as token ids.
        front_of: which of these each prompt begins with.
    """

    prompts: list[int]
    fronts: list[tuple[int, ...]]
    front_of: list[int]


@dataclass(frozen=True)
class PrefixPlan:
    """What is computed for some sequences, and in which order.

    Attributes:
        bodies: distinct prompts without their last tokens.
        waves: of prompts, all of which have a response.
        uses: prompt -> rows of the sequences.
        tokens: that go through the model, padding not counted.
    """

    bodies: list[tuple[int, ...]]
    waves: list[Wave]
    uses: list[list[int]]
    tokens: int


def plan_prefixes(sequences: Sequences, max_tokens: int, *, fronts: bool = True) -> PrefixPlan:
    """Plan the scores of sequences: waves of at most `max_tokens` padded tokens of prompts, fronts included, or of one.

    Rows without a response have no use of their prompt. `fronts`: whether prompts may share one.
    """
    number: dict[tuple[int, ...], int] = {}
    uses: list[list[int]] = []
    for row, (prompt, response) in enumerate(zip(sequences.prompts, sequences.responses, strict=True)):
        if len(response):
            place = number.setdefault(tuple(prompt), len(uses))
            if place == len(uses):
                uses.append([])
            uses[place].append(row)
    bodies = [prompt[:-1] for prompt in number]
    found = clusters(bodies) if fronts else [Cluster([prompt], 0) for prompt in range(len(bodies))]
    waves = _waves(bodies, found, max_tokens)
    computed = sum(
        sum(map(len, wave.fronts))
        + sum(
            len(bodies[prompt]) - len(wave.fronts[front])
            for prompt, front in zip(wave.prompts, wave.front_of, strict=True)
        )
        for wave in waves
    )
    return PrefixPlan(bodies, waves, uses, computed + sum(map(len, sequences.responses)))


def clusters(bodies: Sequence[tuple[int, ...]]) -> list[Cluster]:
    """Distinct prompts in clusters whose fronts together save most tokens; deterministic, in an order of their own.

    A front leaves at least one token of each of its prompts. One that would save less than a tenth of its prompts'
    tokens is not taken.
    """
    order = sorted(range(len(bodies)), key=lambda i: bodies[i])
    shared = [_common(bodies[a], bodies[b]) for a, b in itertools.pairwise(order)]
    # Of the first `end` prompts in order: the most tokens that they can save, and where their last cluster then begins.
    saved, begun = [0], [0]
    for end in range(1, len(order) + 1):
        best, begin, front, tokens = (
            saved[end - 1],
            end - 1,
            len(bodies[order[end - 1]]) - 1,
            len(bodies[order[end - 1]]),
        )
        for start in range(end - 2, max(end - 1 - _NEIGHBOURS, -1), -1):
            length = len(bodies[order[start]])
            front, tokens = min(front, shared[start], length - 1), tokens + length
            if front <= 0:
                break
            gain = front * (end - start - 1)
            if gain >= _WORTH * tokens and saved[start] + gain > best:
                best, begin = saved[start] + gain, start
        saved.append(best)
        begun.append(begin)
    found, end = [], len(order)
    while end:
        members = order[begun[end] : end]
        common = min(shared[begun[end] : end - 1], default=0)
        shortest = min(len(bodies[i]) for i in members)
        found.append(Cluster(members, min(common, shortest - 1) if len(members) > 1 else 0))
        end = begun[end]
    return found[::-1]


@torch.no_grad()
def score_with_prefixes(
    model: PreTrainedModel,
    sequences: Sequences,
    plan: PrefixPlan,
    width: int,
    max_tokens: int,
    temperature: float = 1.0,
    *,
    top_k: int | None = None,
    ids: Tensor | None = None,
    entropy: bool = False,
) -> Scores:
    """As scoring.scorer.score, of a model that `can_share`, by a plan for these sequences; zero behind each response.

    Args:
        max_tokens: padded tokens of responses a forward, whose keys, prompts' included, are four times as many at most
            (at least one row). Keys and values of one wave's prompts are held meanwhile.
    """
    count, device = len(sequences.responses), model.device
    found: dict[str, Tensor] = {"logprobs": torch.zeros(count, width, device=device)}
    for wave in plan.waves:
        past = _read_prompts(model, plan.bodies, wave)
        for part in _parts(model, sequences, plan, wave, past, max_tokens):
            where = torch.tensor(part.rows, device=device)[part.inside.nonzero()[:, 0]], part.inside.nonzero()[:, 1]
            part_ids = None if ids is None else ids[where]
            read = part.read(model, temperature, ids=part_ids, top_k=top_k, entropy=entropy)
            for name, value in read._asdict().items():
                if value is not None:
                    if name not in found:
                        found[name] = value.new_zeros(count, width, *value.shape[1:])
                    found[name][where] = value
    return Scores(**found, forwarded=plan.tokens)


def backward_with_prefixes(
    model: PreTrainedModel,
    sequences: Sequences,
    plan: PrefixPlan,
    max_tokens: int,
    loss: Callable[[list[int], Scores], Tensor],
    temperature: float = 1.0,
    *,
    top_k: int | None = None,
    ids: Tensor | None = None,
) -> None:
    """Add the gradient of a sum of losses to that of the model's parameters, micro-batch by micro-batch; exact.

    What micro-batches give to a prompt's keys and values is added up, and taken back through the prompt once. Arguments
    as of `score_with_prefixes`, but:

    Args:
        plan: without fronts.
        loss: of some rows, a scalar, from their Scores (rows, T), T their longest response, with gradient.
    """
    for wave in plan.waves:
        _backward_wave(model, sequences, plan, wave, max_tokens, loss, temperature, top_k, ids)


def _backward_wave(
    model: PreTrainedModel,
    sequences: Sequences,
    plan: PrefixPlan,
    wave: Wave,
    max_tokens: int,
    loss: Callable[[list[int], Scores], Tensor],
    temperature: float,
    top_k: int | None,
    ids: Tensor | None,
) -> None:
    """Of one wave: when it returns, its keys, values and gradients are gone before those of the next are made."""
    past = _read_prompts(model, plan.bodies, wave)
    apart = [tuple(states.detach().requires_grad_() for states in layer) for layer in past.layers]
    for part in _parts(model, sequences, plan, wave, replace(past, layers=apart), max_tokens):
        given = None if ids is None else ids[part.rows][:, : part.inside.shape[1]]
        read = part.read(model, temperature, top_k=top_k, ids=None if given is None else given[part.inside])
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

    def read(self, model: PreTrainedModel, temperature: float, **what: Any) -> Read:
        """What the model says of the real tokens, row by row."""
        picked = self.inside.flatten().nonzero()[:, 0]
        return read_forward(model, self.inputs, picked, self.labels, temperature=temperature, **what)

    def spread(self, values: Tensor) -> Tensor:
        """Values of the real tokens as (N, T, ...), zero behind each response; keeps gradients."""
        at, rest = self.inside.flatten().nonzero()[:, 0], values.shape[1:]
        return values.new_zeros(self.inside.numel(), *rest).index_copy(0, at, values).view(*self.inside.shape, *rest)


def _parts(
    model: PreTrainedModel, sequences: Sequences, plan: PrefixPlan, wave: Wave, past: "_Past", max_tokens: int
) -> Iterator[_Part]:
    """The responses under a wave's prompts, in micro-batches."""
    place = {prompt: row for row, prompt in enumerate(wave.prompts)}
    jobs = [(row, place[prompt]) for prompt in wave.prompts for row in plan.uses[prompt]]
    for part in _micro_batches(jobs, sequences.responses, past.visible.shape[1], max_tokens):
        rows = [row for row, _ in part]
        queries = [(sequences.prompts[row][-1], *sequences.responses[row][:-1]) for row in rows]
        index = torch.tensor([at for _, at in part], device=model.device)
        inputs, inside = _inputs(model, queries, past, index, keep=False)
        labels = torch.tensor([token for row in rows for token in sequences.responses[row]], device=model.device)
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
    fronts = [len(wave.fronts[front]) for front in wave.front_of]
    rest = [bodies[prompt][front:] for prompt, front in zip(wave.prompts, fronts, strict=True)]
    return _extended(model, rest, past, index)


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


def _waves(bodies: Sequence[tuple[int, ...]], found: Sequence[Cluster], max_tokens: int) -> list[Wave]:
    """Clusters, those with the longest prompts first, cut where a wave is full; what is cut has its front twice."""

    def rest(cluster: Cluster) -> int:
        return max(len(bodies[i]) for i in cluster.prompts) - cluster.front

    waves: list[Wave] = []
    before = width = 0  # of the last wave: its longest front, and the longest rest
    for cluster in sorted(found, key=lambda each: (-rest(each), each.prompts)):
        front: tuple[int, ...] | None = None
        for prompt in sorted(cluster.prompts, key=lambda i: (-len(bodies[i]), i)):
            wider = max(before, cluster.front), max(width, len(bodies[prompt]) - cluster.front)
            if not waves or (len(waves[-1].prompts) + 1) * sum(wider) > max_tokens:
                waves.append(Wave([], [], []))
                wider, front = (cluster.front, len(bodies[prompt]) - cluster.front), None
            if front is None:
                front = bodies[prompt][: cluster.front]
                waves[-1].fronts.append(front)
            waves[-1].prompts.append(prompt)
            waves[-1].front_of.append(len(waves[-1].fronts) - 1)
            before, width = wider
    return waves


def _micro_batches(
    jobs: Sequence[tuple[int, int]], responses: Sequence[Sequence[int]], before: int, max_tokens: int
) -> Iterator[list[tuple[int, int]]]:
    """(row, prompt) pairs in batches of responses of similar length, longest first, behind `before` keys each."""
    part: list[tuple[int, int]] = []
    for job in sorted(jobs, key=lambda each: (-len(responses[each[0]]), each)):
        if part:
            width = len(responses[part[0][0]])
            if (len(part) + 1) * max(width, (before + width) / _KEYS) > max_tokens:
                yield part
                part = []
        part.append(job)
    if part:
        yield part


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts have in common at the front."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))
