"""Log-probabilities of given responses under a model, with or without gradient.

Prompts are left-padded and responses right-padded, so that every response starts at one known column of the batch and
the head runs on response positions only. Lengths are explicit throughout: nothing is inferred from pad ids, which may
be legitimate tokens of a response (spec D14).
"""

from collections.abc import Sequence
from dataclasses import dataclass

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


def response_logprobs(
    model: PreTrainedModel, sequences: Sequences, rows: Sequence[int], temperature: float = 1.0
) -> Tensor:
    """Log-probs of the response tokens of the given rows.

    Returns:
        (len(rows), T) float32 nats with T the longest of these responses; zero behind a shorter one. Carries gradient
        unless called under no_grad. Rows must have at least one prompt token.
    """
    prompts, responses = [sequences.prompts[i] for i in rows], [sequences.responses[i] for i in rows]
    before, width = max(map(len, prompts)), max(map(len, responses))
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
    taken = logprobs.gather(-1, input_ids[:, before:, None])[..., 0]
    return taken * attention[:, before:]


@torch.no_grad()
def score(
    model: PreTrainedModel, sequences: Sequences, width: int, max_tokens: int, temperature: float = 1.0
) -> Tensor:
    """Log-probs (N, width) of all rows, without gradient, in micro-batches; zero behind each response."""
    scored = torch.zeros(len(sequences.responses), width, device=model.device)
    for rows in micro_batches(sequences, max_tokens):
        logprobs = response_logprobs(model, sequences, rows, temperature)
        scored[rows, : logprobs.shape[1]] = logprobs
    return scored
