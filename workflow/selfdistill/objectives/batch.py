"""What an objective sees: one optimizer step's rollouts as tensors, and what it computes from them before the student.

Shapes: B rollouts, T response tokens (right-padded), K wrong hints. Log-probabilities are in nats, of sampled tokens,
float32, under the full vocabulary at the rollout temperature.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

_ROWWISE = ("advantages", "wrong_mask", "hinted", "kept")


@dataclass(frozen=True)
class Batch:
    """One optimizer step's rollouts: the *global* batch over which losses are normalised.

    Attributes:
        response_mask: (B, T) bool, True on response tokens; a pad id inside a response is a token like any other.
        advantages: (B,) sequence advantages.
        old_logprobs: (B, T) of the policy that sampled, recomputed or as sampled.
        importance: (B, T) rollout-correction weights, or None for 1.
        reference_logprobs: (B, T) of the initial policy, where a KL term wants them.
        current_logprobs: (B, T) of the student before this step, where a signal is relative to the student.
        correct_logprobs: (B, T) of the teacher under the correct hint.
        wrong_logprobs: (B, K, T) of the teacher under wrong hints.
        wrong_mask: (B, K) bool, True on real hints; rows are ragged.
        hinted: (B,) bool, True where the row has every hint that the method asks for.
        kept: (B,) bool, False for rows that left the batch altogether (they count in no denominator).
    """

    response_mask: Tensor
    advantages: Tensor
    old_logprobs: Tensor
    importance: Tensor | None = None
    reference_logprobs: Tensor | None = None
    current_logprobs: Tensor | None = None
    correct_logprobs: Tensor | None = None
    wrong_logprobs: Tensor | None = None
    wrong_mask: Tensor | None = None
    hinted: Tensor | None = None
    kept: Tensor | None = None

    @property
    def token_mask(self) -> Tensor:
        """(B, T) bool: response tokens of rows that are still in the batch."""
        return self.response_mask if self.kept is None else self.response_mask & self.kept[:, None]

    @property
    def rollouts(self) -> int:
        """How many rows are still in the batch."""
        return len(self.advantages) if self.kept is None else int(self.kept.sum())

    def rows(self, index: Tensor) -> "Batch":
        """The given rows of every tensor, as a micro-batch or an optimizer step's share of a larger batch."""
        return replace(self, **{name: value[index] for name, value in self._present().items()})

    def narrowed(self, width: int) -> "Batch":
        """The first `width` of the T columns, for a micro-batch of short responses."""
        tokenwise = {n: v[..., :width] for n, v in self._present().items() if n not in _ROWWISE}
        return replace(self, **tokenwise)

    def extended(self, **tensors: Tensor) -> "Batch":
        """With more of the optional tensors."""
        return replace(self, **tensors)

    def _present(self) -> dict[str, Tensor]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Targets:
    """What a loss needs besides the student, fixed for the whole global batch before it is split into micro-batches.

    Attributes:
        advantages: (B, T) advantage of each token, after any modulation.
        weights: (B, T) factor of each token's loss, global denominators and path coefficients included; the loss of
            the batch is the plain sum of weights times token losses, whatever the micro-batching.
        metrics: scalars about the signal, for the log.
    """

    advantages: Tensor
    weights: Tensor
    metrics: dict[str, float]

    def rows(self, index: Tensor) -> "Targets":
        return replace(self, advantages=self.advantages[index], weights=self.weights[index])

    def narrowed(self, width: int) -> "Targets":
        return replace(self, advantages=self.advantages[:, :width], weights=self.weights[:, :width])


@dataclass(frozen=True)
class Needs:
    """What a method wants scored for each rollout before its update.

    `mixed_groups`: groups of one outcome leave the batch (they have no contrast, and zero advantages).
    """

    correct_hint: bool = False
    wrong_hints: bool = False
    mixed_groups: bool = False
    current_logprobs: bool = False


def mean_over(values: Tensor, mask: Tensor) -> float:
    """Mean of values where mask is True; 0 for an empty mask. Masked-out values may be anything, NaN included."""
    count = int(mask.sum())
    return float(torch.where(mask, values, 0).sum()) / count if count else 0.0
