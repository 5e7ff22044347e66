"""Computes log-probs of given responses under a model, and distributions at their tokens, with or without gradient.

Prompts are left-padded and responses right-padded, so that every response starts at one known column of the batch and
the head runs on response positions only. Lengths are explicit throughout: nothing is inferred from pad ids, which may
be legitimate tokens of a response (docs/departures.md D14).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfdistill.scoring.batching import batches_within
from selfdistill.scoring.lengths import vocabulary_size
from selfdistill.scoring.manner import apart, manner_of
from selfdistill.scoring.pictures import sequence_inputs
from selfdistill.scoring.prefix_schedule import WORTH_SHARING, PrefixSchedule, schedule_prefixes
from selfdistill.scoring.prompts import vision_tokens
from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.reading import read_forward
from selfdistill.scoring.scores import Scores, Sequences
from selfdistill.scoring.shared_prefixes import ModelForwards, score_with_prefixes
from selfdistill.scoring.sharing import can_share


def micro_batches(sequences: Sequences, max_tokens: int) -> list[list[int]]:
    """Split rows into batches of similar length with at most `max_tokens` padded tokens, or of one row.

    A batch is padded as read_responses pads it: to its longest prompt plus its longest response, which may belong to
    different rows. A token of a picture counts twice: its patches go through the vision tower besides. Deterministic;
    longest rows first, so that a lack of memory shows at once.
    """
    lengths = sequences.lengths

    def widths(row: int) -> tuple[int, int, int]:
        prompt = sequences.prompts[row]
        return len(prompt), len(sequences.responses[row]), vision_tokens(prompt)

    longest_first = sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
    return list(batches_within(longest_first, widths, lambda *width: sum(width), max_tokens))


def read_responses(
    model: PreTrainedModel,
    sequences: Sequences,
    rows: Sequence[int],
    temperature: float = 1.0,
    query: Query = LOGPROBS_ONLY,
    *,
    padding: int = 0,
) -> Scores:
    """Score the given rows in one forward, with gradient unless called under no_grad.

    Only the responses' own positions are read; behind a shorter response all is zero, but for ids that were given.

    Args:
        model: anything called as a causal language model of transformers.
        rows: which sequences; each must have at least one prompt token.
        temperature: divides the logits.
        query: what is read besides the log-probs; `ids` (len(rows), T or more, k).
        padding: columns of padding on the left beyond what the longest prompt leaves: another shape, the same scores.

    Returns:
        Scores (len(rows), T), T the longest of these responses.
    """
    inputs, picked, labels = response_inputs(sequences, rows, model, padding=padding)
    width = max(len(sequences.responses[i]) for i in rows)
    attended = inputs["attention_mask"]
    inside = attended[:, attended.shape[1] - width :].bool()  # none of them where no response has a token
    flat = inside.flatten().nonzero()[:, 0]
    query = query.part((slice(None), slice(width)))
    read = read_forward(model, inputs, picked, labels, query.part(inside), temperature=temperature)

    def spread(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        rest = values.shape[1:]
        return values.new_zeros(inside.numel(), *rest).index_copy(0, flat, values).view(*inside.shape, *rest)

    ids = spread(read.ids) if query.ids is None else query.ids
    return Scores(spread(read.logprobs), ids, spread(read.support), spread(read.entropy))


def response_inputs(
    sequences: Sequences, rows: Sequence[int], model: PreTrainedModel, *, padding: int = 0
) -> tuple[dict[str, Any], Tensor, Tensor]:
    """Put rows into one forward, prompts padded on the left and responses on the right.

    Args:
        sequences, rows, padding, model: as of `read_responses`.

    Returns:
        Arguments of `pictures.forward`, the last max-length columns being those of the responses; the flat positions
        (M,) whose next token is a response's, row by row; and these tokens (M,).

    Raises:
        UserError: as `pictures.check_rows`.
    """
    device = model.device
    prompts, responses = [sequences.prompts[i] for i in rows], [sequences.responses[i] for i in rows]
    before, width = max(map(len, prompts)) + padding, max(map(len, responses))
    input_ids = torch.zeros(len(rows), before + width, dtype=torch.long)
    attention = torch.zeros(len(rows), before + width, dtype=torch.long)
    for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        first, last = before - len(prompt), before + len(response)
        input_ids[i, first:last] = torch.tensor([*prompt, *response], dtype=torch.long)
        attention[i, first:last] = 1
    positions = (attention.cumsum(dim=1) - 1).clamp(min=0)
    input_ids, attention = input_ids.to(device), attention.to(device)
    inside = attention[:, before:].bool()
    flat = inside.flatten().nonzero()[:, 0]
    # A token is predicted one position before its own.
    picked = (flat // width) * (before + width) + before - 1 + flat % width
    inputs = {
        "input_ids": input_ids,
        "attention_mask": attention,
        "position_ids": positions.to(device),
        "use_cache": False,
    }
    inputs |= sequence_inputs(model, prompts, responses, before + width, [before - len(prompt) for prompt in prompts])
    return inputs, picked, input_ids[:, before:][inside]


@torch.no_grad()
def score(
    model: PreTrainedModel,
    sequences: Sequences,
    width: int,
    max_tokens: int,
    temperature: float = 1.0,
    query: Query = LOGPROBS_ONLY,
    *,
    padding: int = 0,
    copies: int = 1,
) -> Scores:
    """Score all sequences in micro-batches, without gradient.

    Equivalent to::

        read_responses(model, sequences, range(len(sequences.responses)), temperature, query)  # and zeros up to width

    Args:
        model: anything called as a causal language model of transformers.
        sequences: N prompts with their responses.
        width: T of the scores, at least the longest response.
        max_tokens: padded tokens a forward; of one row at least.
        temperature: divides the logits.
        query: what is read besides the log-probs; `ids` (N, width, k).
        padding: as in `read_responses`.
        copies: how many times a forward has each row: another shape, the same scores.

    Returns:
        Scores (N, width), zero behind each response.
    """
    whole: dict[str, Tensor] = {}
    count = len(sequences.responses)
    for rows in micro_batches(sequences, max_tokens):
        repeated = [row for row in rows for _ in range(copies)]
        part = read_responses(model, sequences, repeated, temperature, query.part(repeated), padding=padding)
        for name, value in part.rows(slice(None, None, copies)).tensors.items():
            if name not in whole:
                whole[name] = value.new_zeros(count, width, *value.shape[2:])
            whole[name][rows, : value.shape[1]] = value
    whole = {"logprobs": torch.zeros(count, width, device=model.device), **whole}
    return Scores(**whole, forwarded=sum(sequences.lengths))


def worthwhile_schedule(
    model: PreTrainedModel, sequences: Sequences, max_tokens: int, *, fronts: bool = True
) -> PrefixSchedule | None:
    """Schedule shared prompts, or return None where the model does not allow it or it saves less than a tenth.

    Args:
        model: that is to score the sequences.
        sequences, max_tokens, fronts: as of `schedule_prefixes`.
    """
    if not can_share(model):
        return None
    schedule = schedule_prefixes(sequences, max_tokens, fronts=fronts)
    return schedule if schedule.tokens <= WORTH_SHARING * sum(sequences.lengths) else None


@dataclass(frozen=True)
class ModelScorer:
    """A Scorer of a model in this process: `max_tokens` padded tokens a forward, logits divided by `temperature`.

    Prompts of several responses are computed once, where the model allows it and it saves enough tokens.
    """

    model: PreTrainedModel
    max_tokens: int
    temperature: float = 1.0

    @property
    def vocabulary(self) -> int:
        """V, ids of the output layer."""
        return vocabulary_size(self.model.config)

    @property
    def device(self) -> torch.device:
        """Returns where the model is, and its scores will be."""
        return self.model.device

    def __call__(
        self,
        sequences: Sequences,
        width: int,
        query: Query = LOGPROBS_ONLY,
        *,
        alone: bool = False,
    ) -> Scores:
        """Score N sequences without gradient: (N, width), zero behind each response."""
        if alone:
            return score(self.model, sequences, width, 1, self.temperature, query, **_another_shape(self.model))
        if (schedule := worthwhile_schedule(self.model, sequences, self.max_tokens)) is not None:
            forwards = ModelForwards(self.model, self.temperature)
            return score_with_prefixes(forwards, sequences, schedule, width, self.max_tokens, query)
        budget = token_budget(self.model, sequences, self.max_tokens)
        return score(self.model, sequences, width, budget, self.temperature, query)


def token_budget(model: PreTrainedModel, sequences: Sequences, max_tokens: int) -> int:
    """Padded tokens a forward: `max_tokens`, or those of one row where rows may not share one (scoring.manner)."""
    return 1 if apart(model, sequences) else max_tokens


def _another_shape(model: PreTrainedModel) -> dict[str, int]:
    """Returns what makes the forward of one row differ from the one that it had, and nothing else: a column of padding.

    Some models do not mask the padding of a row alone; of these the row has a copy beside it. Where not even that
    leaves its scores alone, no other shape is left.
    """
    parts = getattr(model, "parts", None) or [model]
    manners = [manner for part in parts if (manner := manner_of(part)) is not None]
    if all(manner.column <= manner.rounding for manner in manners):
        return {"padding": 1}
    return {"copies": 2} if all(manner.pair <= manner.rounding for manner in manners) else {}
