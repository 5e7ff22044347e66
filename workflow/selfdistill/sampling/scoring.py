"""Log-probabilities of given responses under a model, and distributions at their tokens, with or without gradient.

Prompts are left-padded and responses right-padded, so that every response starts at one known column of the batch and
the head runs on response positions only. Lengths are explicit throughout: nothing is inferred from pad ids, which may
be legitimate tokens of a response (spec D14).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel


@dataclass(frozen=True)
class Sequences:
    """Prompts and responses as token ids, row by row."""

    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]

    @property
    def lengths(self) -> list[int]:
        return [len(p) + len(r) for p, r in zip(self.prompts, self.responses, strict=True)]


@dataclass(frozen=True)
class Scores:
    """What a model says of N responses of up to T tokens, float32; finite and meaningless behind a shorter one.

    Attributes:
        logprobs: (N, T) nats of the responses' tokens; zero behind a shorter one.
        ids: (N, T, k) int64 of the support; None where it is the full vocabulary, or was not asked for.
        support: (N, T, S) nats at the support.
        entropy: (N, T) nats, over the full vocabulary.
    """

    logprobs: Tensor
    ids: Tensor | None = None
    support: Tensor | None = None
    entropy: Tensor | None = None


class Scorer(Protocol):
    """Weights that can be asked for scores, wherever they are."""

    @property
    def vocabulary(self) -> int: ...

    @property
    def device(self) -> torch.device:
        """Where the scores are to be."""

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
        """Scores (N, width) of all sequences, without gradient; zero behind each response.

        Arguments as in `read_responses`, with `ids` (N, width, k). `alone`: each sequence by itself, in a batch
        of another shape than otherwise.
        """


def micro_batches(sequences: Sequences, max_tokens: int) -> list[list[int]]:
    """Split rows into batches of similar length with at most `max_tokens` padded tokens (always at least one row).

    A batch is padded as response_logprobs pads it: to its longest prompt plus its longest response, which may belong to
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
    logits = model(
        input_ids=input_ids,
        attention_mask=attention,
        position_ids=positions.to(device),
        use_cache=False,
        logits_to_keep=width + 1,
    ).logits[:, :-1]
    logprobs = torch.log_softmax(logits.float() / temperature, dim=-1)
    taken = logprobs.gather(-1, input_ids[:, before:, None])[..., 0] * attention[:, before:]
    if ids is None and top_k:
        ids = logprobs.detach().topk(top_k, dim=-1).indices
    if ids is not None:
        ids = ids[:, :width]
        support = logprobs.gather(-1, ids)
    else:
        support = logprobs if top_k == 0 else None
    return Scores(taken, ids, support, -(logprobs.exp() * logprobs).sum(dim=-1) if entropy else None)


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
) -> Scores:
    """Scores (N, width) of all sequences, without gradient, in micro-batches; zero behind each micro-batch's longest.

    Arguments as in read_responses, with `ids` (N, width, k); `max_tokens` padded tokens a forward.
    """
    found: dict[str, Tensor] = {}
    count = len(sequences.responses)
    for rows in micro_batches(sequences, max_tokens):
        part_ids = None if ids is None else ids[rows]
        what = {"top_k": top_k, "ids": part_ids, "entropy": entropy, "padding": padding}
        part = read_responses(model, sequences, rows, temperature, **what)
        for name, value in vars(part).items():
            if value is not None:
                if name not in found:
                    found[name] = value.new_zeros(count, width, *value.shape[2:])
                found[name][rows, : value.shape[1]] = value
    return Scores(**{"logprobs": torch.zeros(count, width, device=model.device), **found})


@dataclass(frozen=True)
class ModelScorer:
    """A Scorer of a model in this process: `max_tokens` padded tokens a forward, logits divided by `temperature`."""

    model: PreTrainedModel
    max_tokens: int
    temperature: float = 1.0

    @property
    def vocabulary(self) -> int:
        return self.model.config.vocab_size

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
        budget, padding = (1, 1) if alone else (self.max_tokens, 0)
        what = {"top_k": top_k, "ids": ids, "entropy": entropy, "padding": padding}
        return score(self.model, sequences, width, budget, self.temperature, **what)
