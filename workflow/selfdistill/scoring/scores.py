"""Declares sequences to be scored, their scores, and the interface of a scorer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from selfdistill.scoring.query import LOGPROBS_ONLY, Query


@dataclass(frozen=True)
class Sequences:
    """Prompts and responses as token ids, row by row."""

    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]

    @property
    def lengths(self) -> list[int]:
        """Returns the tokens of each prompt with its response."""
        return [len(p) + len(r) for p, r in zip(self.prompts, self.responses, strict=True)]


@dataclass(frozen=True)
class Scores:
    """Holds what a model says of N responses of up to T tokens, float32; zero behind a shorter one, but for given ids.

    Attributes:
        logprobs: (N, T) nats of the responses' tokens.
        ids: (N, T, k) int64 of the support; None where it is the full vocabulary, or was not asked for.
        support: (N, T, S) nats at the support.
        entropy: (N, T) nats, over the full vocabulary.
        forwarded: tokens that went through the model for it, padding not counted.
    """

    logprobs: Tensor
    ids: Tensor | None = None
    support: Tensor | None = None
    entropy: Tensor | None = None
    forwarded: int = 0

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Returns those that are there, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def rows(self, index: slice | Sequence[int]) -> "Scores":
        """Return some rows of all of them; `forwarded` stays that of the whole."""
        return replace(self, **{name: value[index] for name, value in self.tensors.items()})


class Scorer(Protocol):
    """Weights that can be asked for scores, wherever they are."""

    @property
    def vocabulary(self) -> int:
        """V, ids that a full-vocabulary support has."""

    @property
    def device(self) -> torch.device:
        """Returns where the scores are to be."""

    def __call__(
        self,
        sequences: Sequences,
        width: int,
        query: Query = LOGPROBS_ONLY,
        *,
        alone: bool = False,
    ) -> Scores:
        """Score all sequences, without gradient.

        Args:
            sequences: N prompts with their responses.
            width: T of the scores, at least the longest response.
            query: what is read besides the log-probs; `ids` (N, width, k).
            alone: whether each sequence is scored by itself, in a batch of another shape than otherwise.

        Returns:
            Scores (N, width), zero behind each response.
        """
