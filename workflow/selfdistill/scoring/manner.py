"""Finds out how rows of a model may share one forward, by trying a few short rows once.

Padding is to change nothing. It does where a model keeps states in place of keys and values and does not mask its
padding, and there the model says so nowhere. What is asked is answered by forwards without gradient, which leave
random state and mode as they are.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfdistill.errors import UserError
from selfdistill.scoring.head import without
from selfdistill.scoring.lengths import length_of_fixed_rotation, rotation_kinds, vocabulary_size
from selfdistill.scoring.pictures import banned_columns
from selfdistill.scoring.scores import Sequences

#: Nats that rounding may move a log-prob by, in float32 and in half precision, without anything being wrong.
#: (of a pretrained model of 135 million weights in float32, padding moves them by 3e-5, of the tiny ones by 5e-6).
ROUNDING, HALF_ROUNDING = 5e-4, 0.1
#: A model's own rounding, by another shape of batch without padding: so many times as much counts as rounding, too,
_TIMES, _MOST = 10, 100  # but no more than so many times what is usual
#: How many tokens are compared at each position.
_LIKELY = 32
#: Two rows as the scorer pads them: prompt and response of either.
_PROMPTS, _RESPONSES = (3, 8), (6, 3)
#: The attribute of a model that holds the answer; copies of the model have it, too.
_ANSWER = "_selfdistill_manner"


@dataclass(frozen=True)
class Manner:
    """By how many nats the log-probs of short rows differ from those of each row alone.

    Attributes:
        padded: of two rows with padding on both sides, and their positions, as the scorer gives them.
        right: of two rows with padding on the right alone, without positions, as a warm start gives them.
        column: of one row behind a column of padding.
        pair: of a row beside a copy of itself, without padding.
        rounding: what counts as none.
    """

    padded: float
    right: float
    column: float
    pair: float
    rounding: float

    @property
    def together(self) -> bool:
        """Returns whether rows of unlike lengths may share a forward."""
        return self.padded <= self.rounding


def manner_of(model: Any) -> Manner | None:
    """Return the answer of a model, asked at the first call; None for what is no model of transformers."""
    if not isinstance(model, PreTrainedModel):
        return None
    if _ANSWER not in vars(model):
        setattr(model, _ANSWER, _ask(model))
    return vars(model)[_ANSWER]


def apart(model: Any, sequences: Sequences) -> bool:
    """Returns whether each of these rows must have a forward of its own.

    So where padding changes what the model says, and where its rotary frequencies would be chosen by the longest row.

    Raises UserError where they would depend on what went through the model before, too.
    """
    if parts := getattr(model, "parts", None):
        return any(apart(part, sequences) for part in parts)
    manner = manner_of(model)
    if manner is None:
        return False
    return not manner.together or turned_by_company(model.config, max(sequences.lengths, default=0))


def turned_by_company(config: Any, longest: int) -> bool:
    """Returns whether rows of up to `longest` tokens have other rotary frequencies beside a longer row than alone.

    Raises UserError where not even a row alone has frequencies of its own ("dynamic": they grow with whatever was
    longest so far).
    """
    limit = length_of_fixed_rotation(config)
    if limit is None or longest <= limit:
        return False
    if rotation_kinds(config) != ["longrope"]:
        check_rotation(config, longest)
    return True


def check_rotation(config: Any, longest: int) -> None:
    """Raises UserError where rows of up to `longest` tokens pass the length from which frequencies are no longer fixed.

    Behind it a sampler, which has keys of earlier forwards, and a scorer do not compute the same.
    """
    limit = length_of_fixed_rotation(config)
    if limit is not None and longest > limit:
        text = config.get_text_config()
        raise UserError(
            f"{text.model_type}: prompt, hint and response can reach {longest} tokens, but behind {limit} its rotary "
            f"frequencies ({', '.join(rotation_kinds(config))}) are chosen by the longest row of a forward, so that "
            f"sampler and scorer would not compute the same; lower the limits of prompts, hints and responses to "
            f"{limit} tokens together, or take a model with fixed frequencies"
        )


def tokens_for(model: PreTrainedModel, count: int) -> list[int]:
    """So many ids spread over the vocabulary, none of which the config gives a meaning of its own (pad, end, image)."""
    config = model.config.get_text_config()
    size = vocabulary_size(model.config)
    special = {
        value
        for part in (config, model.config)
        for name, value in vars(part).items()
        if name.endswith(("_token_id", "_token_index")) and isinstance(value, int)
    }
    plain = [i for i in range(min(size, 4096)) if i not in special] or list(range(size))
    return [plain[(5 + 37 * i + i * i) % len(plain)] for i in range(count)]


@contextmanager
def undisturbed(model: PreTrainedModel):
    """Evaluation without gradient, after which mode and random state are what they were."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
            yield
    finally:
        model.train(was_training)


def plain_logprobs(model: PreTrainedModel, tokens: Sequence[int]) -> Tensor:
    """(T, V) nats after each token of one row: a forward of it alone, without padding, mask, positions or cache."""
    logits = model(input_ids=torch.tensor([list(tokens)], device=model.device), use_cache=False).logits[0]
    return _logprobs(model, logits)


def _logprobs(model: PreTrainedModel, logits: Tensor) -> Tensor:
    return torch.log_softmax(without(logits.float(), banned_columns(model.config, logits.device)), dim=-1)


def rounding_of(model: PreTrainedModel) -> float:
    """Nats by which log-probs may differ between shapes of batches, by the precision of the weights."""
    return rounding_in(model.dtype)


def rounding_in(dtype: torch.dtype) -> float:
    """Nats by which log-probs may differ between shapes of batches that are computed in this precision."""
    return ROUNDING if dtype in (torch.float32, torch.float64) else HALF_ROUNDING


def _ask(model: PreTrainedModel) -> Manner:
    lengths = [prompt + response for prompt, response in zip(_PROMPTS, _RESPONSES, strict=True)]
    rows = [tokens_for(model, sum(lengths))[: lengths[0]], tokens_for(model, sum(lengths))[lengths[0] :]]
    with undisturbed(model):
        alone = [plain_logprobs(model, row) for row in rows]
        widest = max(_PROMPTS)
        shifts = [widest - prompt for prompt in _PROMPTS]
        padded = _error(alone, _batch(model, rows, shifts, positions=True), shifts)
        right = _error(alone, _batch(model, rows, [0, 0], positions=False), [0, 0])
        column = _error(alone[:1], _batch(model, rows[:1], [1], positions=True), [1])
        pair = _error([alone[0]] * 2, _batch(model, [rows[0]] * 2, [0, 0], positions=True), [0, 0])
    usual = rounding_of(model)
    return Manner(padded, right, column, pair, min(max(usual, _TIMES * pair), _MOST * usual))


def _batch(model: PreTrainedModel, rows: Sequence[Sequence[int]], shifts: Sequence[int], *, positions: bool) -> Tensor:
    """(B, L, V) nats of rows that begin behind so many columns of padding, as wide as the longest needs."""
    width = max(len(row) + shift for row, shift in zip(rows, shifts, strict=True))
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    attention = torch.zeros(len(rows), width, dtype=torch.long)
    for i, (row, shift) in enumerate(zip(rows, shifts, strict=True)):
        input_ids[i, shift : shift + len(row)] = torch.tensor(row)
        attention[i, shift : shift + len(row)] = 1
    inputs = {"input_ids": input_ids, "attention_mask": attention}
    if positions:
        inputs["position_ids"] = (attention.cumsum(dim=1) - 1).clamp(min=0)
    inputs = {name: value.to(model.device) for name, value in inputs.items()}
    return _logprobs(model, model(**inputs, use_cache=False).logits)


def _error(alone: Sequence[Tensor], batch: Tensor, shifts: Sequence[int]) -> float:
    """The largest difference in nats at any token; infinite where something is not a number."""
    batched = [row[shift : shift + len(own)] for row, own, shift in zip(batch, alone, shifts, strict=True)]
    return max(distance(own, row) for own, row in zip(alone, batched, strict=True))


def distance(first: Tensor, second: Tensor) -> float:
    """The largest difference in nats between two (T, V), at the likeliest tokens of the first; infinite with a NaN.

    Of tokens that are next to impossible rounding moves the log-probs of a large model further.
    """
    likely = first.topk(min(_LIKELY, first.shape[-1]), dim=-1).indices
    worst = float((first.gather(-1, likely) - second.gather(-1, likely)).abs().max())
    return worst if worst == worst else float("inf")
