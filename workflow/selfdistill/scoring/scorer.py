"""Log-probabilities of given responses under a model, and distributions at their tokens, with or without gradient.

Prompts are left-padded and responses right-padded, so that every response starts at one known column of the batch and
the head runs on response positions only. Lengths are explicit throughout: nothing is inferred from pad ids, which may
be legitimate tokens of a response (docs/departures.md D14).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfdistill.scoring.lengths import vocabulary_size
from selfdistill.scoring.manner import apart, manner_of
from selfdistill.scoring.reading import read_forward
from selfdistill.scoring.scores import Scores, Sequences
from selfdistill.scoring.shared_prefixes import PrefixPlan, plan_prefixes, score_with_prefixes
from selfdistill.scoring.sharing import can_share

#: The share of a plain forward's tokens above which sharing prompts is not worth its smaller forwards.
_WORTH_SHARING = 0.9


def micro_batches(sequences: Sequences, max_tokens: int) -> list[list[int]]:
    """Split rows into batches of similar length with at most `max_tokens` padded tokens (always at least one row).

    A batch is padded as read_responses pads it: to its longest prompt plus its longest response, which may belong to
    different rows. Deterministic; longest rows first, so that a lack of memory shows at once.
    """
    lengths = sequences.lengths
    batches: list[list[int]] = []
    before, width = 0, 0  # of the last batch
    for row in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        prompt, response = len(sequences.prompts[row]), len(sequences.responses[row])
        wider = max(before, prompt), max(width, response)
        if batches and (len(batches[-1]) + 1) * sum(wider) <= max_tokens:
            batches[-1].append(row)
            before, width = wider
        else:
            batches.append([row])
            before, width = prompt, response
    return batches


def read_responses(
    model: PreTrainedModel,
    sequences: Sequences,
    rows: Sequence[int],
    temperature: float = 1.0,
    *,
    top_k: int | None = None,
    ids: Tensor | None = None,
    entropy: bool = False,
    padding: int = 0,
) -> Scores:
    """Scores of the given rows, with T the longest of their responses; with gradient unless called under no_grad.

    Only the responses' own positions are read; behind a shorter response all is zero, but for ids that were given.

    Args:
        model: anything called as a causal language model of transformers.
        rows: which sequences; each must have at least one prompt token.
        temperature: divides the logits.
        top_k: read the support at so many ids, the model's own most likely; 0 is the full vocabulary.
        ids: (len(rows), T or more, k) read the support at these ids instead.
        entropy: also give the entropies.
        padding: columns of padding on the left beyond what the longest prompt leaves: another shape, the same scores.
    """
    prompts, responses = [sequences.prompts[i] for i in rows], [sequences.responses[i] for i in rows]
    before, width = max(map(len, prompts)) + padding, max(map(len, responses))
    device = model.device
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
    given = None if ids is None else ids[:, :width]
    found = read_forward(
        model,
        {"input_ids": input_ids, "attention_mask": attention, "position_ids": positions.to(device), "use_cache": False},
        picked,
        input_ids[:, before:][inside],
        temperature=temperature,
        ids=None if given is None else given[inside],
        top_k=top_k,
        entropy=entropy,
    )

    def spread(values: Tensor | None) -> Tensor | None:
        if values is None:
            return None
        rest = values.shape[1:]
        return values.new_zeros(inside.numel(), *rest).index_copy(0, flat, values).view(*inside.shape, *rest)

    own_ids = spread(found.ids) if given is None else given
    return Scores(spread(found.logprobs), own_ids, spread(found.support), spread(found.entropy))


@torch.no_grad()
def score(
    model: PreTrainedModel,
    sequences: Sequences,
    width: int,
    max_tokens: int,
    temperature: float = 1.0,
    *,
    top_k: int | None = None,
    ids: Tensor | None = None,
    entropy: bool = False,
    padding: int = 0,
    copies: int = 1,
) -> Scores:
    """Scores (N, width) of all sequences, without gradient, in micro-batches; zero behind each response.

    Arguments as in read_responses, with `ids` (N, width, k); `max_tokens` padded tokens a forward, which has every row
    `copies` times: another shape, the same scores.
    """
    found: dict[str, Tensor] = {}
    count = len(sequences.responses)
    for rows in micro_batches(sequences, max_tokens):
        repeated = [row for row in rows for _ in range(copies)]
        part_ids = None if ids is None else ids[repeated]
        what = {"top_k": top_k, "ids": part_ids, "entropy": entropy, "padding": padding}
        part = read_responses(model, sequences, repeated, temperature, **what).rows(slice(None, None, copies))
        for name, value in part.tensors.items():
            if name not in found:
                found[name] = value.new_zeros(count, width, *value.shape[2:])
            found[name][rows, : value.shape[1]] = value
    found = {"logprobs": torch.zeros(count, width, device=model.device), **found}
    return Scores(**found, forwarded=sum(sequences.lengths))


def worthwhile_plan(
    model: PreTrainedModel, sequences: Sequences, max_tokens: int, *, fronts: bool = True
) -> PrefixPlan | None:
    """How prompts are shared, where the model allows it and it saves a tenth of the tokens or more; arguments as of
    `plan_prefixes`."""
    if not can_share(model):
        return None
    plan = plan_prefixes(sequences, max_tokens, fronts=fronts)
    return plan if plan.tokens <= _WORTH_SHARING * sum(sequences.lengths) else None


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
        return vocabulary_size(self.model.config)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def __call__(
        self,
        sequences: Sequences,
        width: int,
        *,
        top_k: int | None = None,
        ids: Tensor | None = None,
        entropy: bool = False,
        alone: bool = False,
    ) -> Scores:
        what = {"top_k": top_k, "ids": ids, "entropy": entropy}
        if alone:
            return score(self.model, sequences, width, 1, self.temperature, **_another_shape(self.model), **what)
        if (plan := worthwhile_plan(self.model, sequences, self.max_tokens)) is not None:
            return score_with_prefixes(self.model, sequences, plan, width, self.max_tokens, self.temperature, **what)
        budget = token_budget(self.model, sequences, self.max_tokens)
        return score(self.model, sequences, width, budget, self.temperature, **what)


def token_budget(model: PreTrainedModel, sequences: Sequences, max_tokens: int) -> int:
    """Padded tokens a forward: `max_tokens`, or those of one row where rows may not share one (scoring.manner)."""
    return 1 if apart(model, sequences) else max_tokens


def _another_shape(model: PreTrainedModel) -> dict[str, int]:
    """What makes the forward of one row differ from the one that it had, and nothing else: a column of padding.

    Some models do not mask the padding of a row alone; of these the row has a copy beside it. Where not even that
    leaves its scores alone, no other shape is left.
    """
    parts = getattr(model, "parts", None) or [model]
    manners = [manner for part in parts if (manner := manner_of(part)) is not None]
    if all(manner.column <= manner.rounding for manner in manners):
        return {"padding": 1}
    return {"copies": 2} if all(manner.pair <= manner.rounding for manner in manners) else {}
