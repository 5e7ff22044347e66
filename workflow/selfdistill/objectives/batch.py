"""Declares what an objective reads (one optimizer step's rollouts as tensors), asks for, and returns.

Shapes: B rollouts, T response tokens (right-padded), K wrong hints, V vocabulary, k top ids, S = k or V: the support on
which two distributions are compared. Log-probabilities are in nats, float32, under the full vocabulary at the rollout
temperature, and of the sampled tokens unless a support is named. Behind a response they are finite and mean nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from selfdistill.errors import UserError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped

#: Metric -> values (B, T) and the tokens (B, T) bool that it is a mean over.
Watched = dict[str, tuple[Tensor, Tensor]]

#: Fields of Batch without an axis of tokens.
ROWWISE = ("advantages", "correct", "wrong_mask", "hinted", "kept")
#: A tensor that nobody brought: None. It passes for a tensor, since a loss reads only what its `needs` asked for.
ABSENT: Any = None
_WITH_SUPPORT = ("support_ids", "correct_support", "wrong_support")


@dataclass(frozen=True)
class Batch:
    """One optimizer step's rollouts: the *global* batch over which losses are normalised.

    Attributes:
        response_mask: (B, T) bool, True on response tokens; a pad id inside a response is a token like any other.
        advantages: (B,) sequence advantages.
        step: training step, counted from 1, for schedules.
        old_logprobs: (B, T) of the policy that sampled, recomputed or as sampled.
        correct: (B,) bool, the verifier's verdict.
        importance: (B, T) rollout-correction weights, or None for 1.
        reference_logprobs: (B, T) of the initial policy, where a KL term wants them.
        teacher_reference_logprobs: (B, T) of the model that the teacher is compared with (`teacher.reference`).
        current_logprobs: (B, T) of the student before this step, where a signal is relative to the student; of hinted
            rows only, as are all the teacher's.
        correct_logprobs: (B, T) of the teacher under the correct hint; of a plain one, after the student's own prompt,
            and so are the next ones.
        wrong_logprobs: (B, K, T) of the teacher under wrong hints.
        wrong_mask: (B, K) bool, True on real hints; rows are ragged.
        support_ids: (B, T, k) int64, the ids at which distributions are read; None for the full vocabulary.
        correct_support: (B, T, S) of the teacher under the correct hint at these ids.
        wrong_support: (B, T, S) of the teacher under the first wrong hint at these ids.
        teacher_entropy: (B, T) nats of the teacher under the correct hint, over the full vocabulary.
        hinted: (B,) bool, True where the row has every hint that the method asks for, and the teacher was asked.
        kept: (B,) bool, False for rows that left the batch altogether (they count in no denominator).
        entropy_weights: (B, T) of the entropy bonus: `update.entropy_coef` times the global token weights; None without
            one.
    """

    response_mask: Bool[Tensor, "B T"]
    advantages: Float[Tensor, " B"]
    old_logprobs: Float[Tensor, "B T"]
    step: int = 1
    correct: Bool[Tensor, " B"] = ABSENT
    importance: Float[Tensor, "B T"] = ABSENT
    reference_logprobs: Float[Tensor, "B T"] = ABSENT
    teacher_reference_logprobs: Float[Tensor, "B T"] = ABSENT
    current_logprobs: Float[Tensor, "B T"] = ABSENT
    correct_logprobs: Float[Tensor, "B T"] = ABSENT
    wrong_logprobs: Float[Tensor, "B K T"] = ABSENT
    wrong_mask: Bool[Tensor, "B K"] = ABSENT
    support_ids: Int[Tensor, "B T k"] = ABSENT
    correct_support: Float[Tensor, "B T S"] = ABSENT
    wrong_support: Float[Tensor, "B T S"] = ABSENT
    teacher_entropy: Float[Tensor, "B T"] = ABSENT
    hinted: Bool[Tensor, " B"] = ABSENT
    kept: Bool[Tensor, " B"] = ABSENT
    entropy_weights: Float[Tensor, "B T"] = ABSENT

    @property
    def token_mask(self) -> Bool[Tensor, "B T"]:
        """Returns (B, T) bool: response tokens of rows that are still in the batch."""
        return self.response_mask if self.kept is None else self.response_mask & self.kept[:, None]

    @property
    def hinted_mask(self) -> Bool[Tensor, "B T"]:
        """Returns (B, T) bool: response tokens of rows that are in the batch and have their hints."""
        return self.token_mask & self.hinted[:, None]

    @property
    def rollouts(self) -> int:
        """Returns how many rows are still in the batch."""
        return len(self.advantages) if self.kept is None else int(self.kept.sum())

    def rows(self, index: Shaped[Tensor, " N"]) -> Batch:
        """Return the given rows of every tensor, as a micro-batch or an optimizer step's share of a larger batch."""
        return replace(self, **{name: value[index] for name, value in self._present().items()})

    def narrowed(self, width: int) -> Batch:
        """Return the first `width` of the T columns, for a micro-batch of short responses."""
        cut = {name: value[..., :width] for name, value in self._present().items() if name not in ROWWISE}
        cut |= {name: value[:, :width] for name, value in self._present().items() if name in _WITH_SUPPORT}
        return replace(self, **cut)

    def extended(self, **tensors: Tensor) -> Batch:
        """Return the same batch with more of its optional tensors, by the names of `Attributes`."""
        return replace(self, **tensors)

    def _present(self) -> dict[str, Tensor]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}


@dataclass(frozen=True)
class Targets:
    """Holds what a loss needs besides the student, fixed for the global batch before it is split into micro-batches.

    Attributes:
        advantages: (B, T) advantage of each token, after any modulation.
        weights: (B, T) factor of each token's loss, global denominators and path coefficients included; the loss of
            the batch is the plain sum of weights times token losses, whatever the micro-batching.
        metrics: scalars about the signal, for the log.
        marked: (B, T) bool, the tokens that the signal picks out or that a clip of it changes; None where there is no
            such thing, or only the loss can tell. No loss reads it: it is for a run's records, as is the next.
        distilled: (B,) bool, rows whose loss is a divergence, in nats, and has no advantage; None for no row.
    """

    advantages: Float[Tensor, "B T"]
    weights: Float[Tensor, "B T"]
    metrics: dict[str, float]
    marked: Bool[Tensor, "B T"] | None = None
    distilled: Bool[Tensor, " B"] | None = None

    def rows(self, index: Shaped[Tensor, " N"]) -> Targets:
        """Return the given rows of every tensor; the metrics stay those of the global batch."""
        return self._each(lambda value: value[index])

    def narrowed(self, width: int) -> Targets:
        """Return the first `width` of the T columns of every (B, T) tensor; (B,) ones stay as they are."""
        return self._each(lambda value: value[:, :width] if value.ndim > 1 else value)

    def _each(self, part: Callable[[Tensor], Tensor]) -> Targets:
        names = ("advantages", "weights", "marked", "distilled")
        return replace(self, **{name: None if (v := getattr(self, name)) is None else part(v) for name in names})


@dataclass(frozen=True)
class Student:
    """Holds what the student's forward gives for a micro-batch, with gradient.

    Attributes:
        logprobs: (B, T) of the sampled tokens.
        support: (B, T, S) at the batch's support ids; None where the method reads no distribution.
        entropy: (B, T) nats over the full vocabulary; None without an entropy bonus.
    """

    logprobs: Float[Tensor, "B T"]
    support: Float[Tensor, "B T S"] = ABSENT
    entropy: Float[Tensor, "B T"] = ABSENT


@dataclass(frozen=True)
class TokenLoss:
    """The loss of each token, and what the log should know about it.

    Attributes:
        values: (B, T) nats or advantage units, with gradient, unweighted.
        watched: what the log should know, detached; logged as means over the rows of the global batch that
            carry a loss, whatever the micro-batching.
        advantages: (B, T) that the loss took, where they depend on the student and are not those of the targets.
    """

    values: Float[Tensor, "B T"]
    watched: Watched = field(default_factory=dict)
    advantages: Float[Tensor, "B T"] | None = None


@dataclass(frozen=True)
class Support:
    """Says at which ids distributions are read at each position.

    Attributes:
        chooser: who chooses them: "teacher", under the correct hint, or "student".
        top_k: how many, the most likely ones; 0 is the full vocabulary.
    """

    chooser: str
    top_k: int

    def __post_init__(self) -> None:
        if self.chooser not in ("teacher", "student"):
            raise UserError(f"Support: chooser is {self.chooser!r}, expected 'teacher' or 'student'")


@dataclass(frozen=True)
class Needs:
    """Holds what a method wants scored for each rollout before its update.

    `plain`: the teacher reads the student's own prompt, and no hint. `mixed_groups`: groups of one outcome leave the
    batch (they have no contrast, and zero advantages). `wrong_only`: the method asks the teacher about wrong rollouts
    only. `reference`: the rollouts are also scored by the model that the teacher is compared with. Without
    `correct_hint` or `plain` there is no teacher, and nothing else can be asked for; a plain teacher has neither hints
    nor what depends on them (UserError).
    """

    correct_hint: bool = False
    wrong_hints: bool = False
    mixed_groups: bool = False
    wrong_only: bool = False
    current_logprobs: bool = False
    support: Support | None = None
    teacher_entropy: bool = False
    plain: bool = False
    reference: bool = False

    def __post_init__(self) -> None:
        asked = [each.name for each in fields(self) if getattr(self, each.name)]
        if asked and not self.teacher:
            raise UserError(f"Needs: {', '.join(asked)} without correct_hint or plain; set one of them to True")
        hinted = [name for name in ("correct_hint", "wrong_hints", "mixed_groups", "wrong_only") if name in asked]
        if self.plain and hinted:
            raise UserError(f"Needs: plain with {', '.join(hinted)}: a plain teacher reads no hint; choose one")

    @property
    def teacher(self) -> bool:
        """Returns whether there is a teacher."""
        return self.correct_hint or self.plain


def mean_over(values: Float[Tensor, "*N"], mask: Bool[Tensor, "*N"]) -> float:
    """Return the mean of values where mask is True; 0 for an empty mask.

    Masked-out values may be anything, NaN included.
    """
    count = int(mask.sum())
    return float(torch.where(mask, values, 0).sum()) / count if count else 0.0


def means(watched: Watched) -> dict[str, float]:
    """Return the mean of each metric that has a token to be measured on: a zero would pass for a measurement."""
    return {name: mean_over(values, mask) for name, (values, mask) in watched.items() if mask.any()}
