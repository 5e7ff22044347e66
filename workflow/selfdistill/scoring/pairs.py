"""Compares what two models say at the same tokens, a few rows of logits at a time.

Whole distributions of both, over a vocabulary of 150,000, would take gigabytes for one long response.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from selfdistill.scoring.reading import read_in_parts
from selfdistill.scoring.scorer import micro_batches, response_inputs, token_budget
from selfdistill.scoring.scores import Sequences

#: Logits of one model that are held at once, at most.
_ELEMENTS = 2**25


class Pair(NamedTuple):
    """Log-probs (n, V) of two models at n tokens, float32 nats, and the tokens (n,) that were drawn there."""

    first: Tensor
    second: Tensor
    labels: Tensor


#: Name -> (n,) of a pair.
Compare = Callable[[Pair], dict[str, Tensor]]


@torch.no_grad()
def compare_pairs(
    models: tuple[PreTrainedModel, PreTrainedModel],
    sequences: Sequences,
    compare: Compare,
    *,
    max_tokens: int,
    temperature: float = 1.0,
) -> list[dict[str, np.ndarray]]:
    """Compare two models at every token of some responses: two forwards a row, whatever is compared.

    Equivalent, for each row, to::

        first, second = (log_softmax(model(prompt + response).logits / temperature) for model in models)
        compare(Pair(first, second, response))  # at the positions before each token of the response

    Args:
        models: the first and the second, with equally many rows in their output layers.
        sequences: N prompts and responses.
        compare: of any number of tokens; each is asked for once.
        max_tokens: padded tokens a forward; of one row at least.
        temperature: divides the logits of both.

    Returns:
        For each sequence name -> (T,) float32.
    """
    found: list[dict[str, np.ndarray]] = [{} for _ in sequences.responses]
    budget = min(token_budget(model, sequences, max_tokens) for model in models)
    for rows in micro_batches(sequences, budget):
        readers = []
        for model in models:
            inputs, picked, labels = response_inputs(sequences, rows, model)
            readers.append(read_in_parts(model, inputs, picked, temperature))
        size = max(1, _ELEMENTS // readers[0].vocabulary)
        parts = []
        for begin in range(0, len(picked), size):
            part = slice(begin, begin + size)
            parts.append(compare(Pair(*(reader.logprobs(part) for reader in readers), labels[part])))
        values = {name: torch.cat([part[name] for part in parts]).float().cpu().numpy() for name in parts[0]}
        ends = np.cumsum([len(sequences.responses[row]) for row in rows])[:-1]
        for name, flat in values.items():
            for row, each in zip(rows, np.split(flat, ends), strict=True):
                found[row][name] = each
    return found
