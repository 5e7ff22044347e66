"""Scores rollouts under the contexts that their hints make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from selfdistill.scoring.query import LOGPROBS_ONLY, Query
from selfdistill.scoring.scores import Scorer, Scores
from selfdistill.signals.teacher_contexts import TeacherContexts
from selfdistill.signals.teacher_queries import Use, distinct_queries, plain_tokens


@dataclass(frozen=True)
class TeacherScores:
    """Holds the teacher's scores of B rollouts of up to T tokens under up to K wrong hints; zero where none was made.

    Tensors have the names of Batch.

    Attributes:
        correct_logprobs: (B, T) nats.
        wrong_logprobs: (B, K, T) nats.
        wrong_mask: (B, K) bool, True on real hints.
        hinted: (B,) bool, the rollouts that were scored.
        tokens_forwarded: tokens that went through the teacher.
        tokens_plain: tokens that the plain scheme forwards for all rollouts with hints (teacher_queries.plain_tokens).
        support_ids: (B, T, k) int64; None for the full vocabulary, or without a support.
        correct_support: (B, T, S) nats there, under the correct hint.
        wrong_support: (B, T, S) nats there, under the first wrong hint.
        teacher_entropy: (B, T) nats under the correct hint, where asked.
    """

    correct_logprobs: Tensor
    wrong_logprobs: Tensor
    wrong_mask: Tensor
    hinted: Tensor
    tokens_forwarded: int
    tokens_plain: int
    support_ids: Tensor | None = None
    correct_support: Tensor | None = None
    wrong_support: Tensor | None = None
    teacher_entropy: Tensor | None = None

    @property
    def tensors(self) -> dict[str, Tensor | None]:
        """Returns everything that a Batch has room for, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self) if not each.name.startswith("tokens_")}


def score_contexts(
    teacher: Scorer,
    contexts: TeacherContexts,
    responses: Sequence[Sequence[int]],
    width: int,
    query: Query = LOGPROBS_ONLY,
) -> TeacherScores:
    """Score every rollout under each of its contexts, without gradient.

    Equivalent, for log-probs, to asking about one use at a time::

        for use in contexts.uses:
            teacher(Sequences([use.context], [responses[use.row]]), width).logprobs[0]

    Args:
        teacher: its weights.
        contexts: of B rollouts.
        responses: token ids as drawn.
        width: T of the tensors returned.
        query: what is read besides the log-probs: distributions under the correct and the first wrong hint of a
            rollout, at the ids given, (B, T, k), or at those that the teacher finds most likely under the correct
            hint; entropies under the correct hint alone.

    Returns:
        Scores of all B rollouts, with zeros where nothing was scored.
    """
    ask = partial(_ask, teacher, responses, width)
    if query.has_support or query.entropy:  # a wrong hint's distributions are read where the correct one's were
        correct = ask(contexts.correct_uses, query)
        query = _at_ids_of(correct, query, len(responses), width)
        wrong = ask(contexts.wrong_uses, replace(query, entropy=False))
        forwarded = correct.scores.forwarded + wrong.scores.forwarded
    else:  # all at once: contexts of a group begin alike
        both = ask([*contexts.correct_uses, *contexts.wrong_uses], query)
        correct, wrong = both.correct, both.wrong
        forwarded = both.scores.forwarded
    wrong_mask = contexts.wrong_mask.to(teacher.device)
    scores = TeacherScores(
        correct_logprobs=correct.by_row("logprobs", len(responses), width),
        wrong_logprobs=wrong.by_slot("logprobs", *wrong_mask.shape, width),
        wrong_mask=wrong_mask,
        hinted=torch.tensor(contexts.hinted, device=teacher.device),
        tokens_forwarded=forwarded,
        tokens_plain=plain_tokens(contexts.correct, contexts.wrong, responses),
        teacher_entropy=correct.by_row("entropy", len(responses), width) if query.entropy else None,
    )
    if not query.has_support:
        return scores
    shape = len(responses), width, teacher.vocabulary if query.full_vocabulary else query.ids.shape[-1]
    return replace(
        scores,
        support_ids=query.ids,
        correct_support=correct.by_row("support", *shape),
        wrong_support=wrong.of_first_hints.by_row("support", *shape),
    )


@dataclass(frozen=True)
class _Answers:
    """Holds what the teacher says of some uses, in their order."""

    uses: list[Use]
    scores: Scores

    @property
    def correct(self) -> "_Answers":
        return self._where(lambda use: use.slot is None)

    @property
    def wrong(self) -> "_Answers":
        return self._where(lambda use: use.slot is not None)

    @property
    def of_first_hints(self) -> "_Answers":
        """Returns those under each rollout's first wrong hint."""
        return self._where(lambda use: use.slot == 0)

    def by_row(self, name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Zeros of a shape (B, ...), with each use's values at its row."""
        return self._placed(name, shape, dtype, [use.row for use in self.uses])

    def by_slot(self, name: str, *shape: int) -> Tensor:
        """Zeros of a shape (B, K, ...), with each use's values at its row and slot."""
        return self._placed(
            name, shape, torch.float32, ([use.row for use in self.uses], [use.slot for use in self.uses])
        )

    def _placed(self, name: str, shape: Sequence[int], dtype: torch.dtype, index: Any) -> Tensor:
        whole = torch.zeros(shape, dtype=dtype, device=self.scores.logprobs.device)
        if self.uses:
            whole[index] = getattr(self.scores, name)
        return whole

    def _where(self, wanted: Callable[[Use], bool]) -> "_Answers":
        numbers = [number for number, use in enumerate(self.uses) if wanted(use)]
        return _Answers([self.uses[number] for number in numbers], self.scores.rows(numbers))


def _ask(
    teacher: Scorer, responses: Sequence[Sequence[int]], width: int, uses: Sequence[Use], query: Query
) -> _Answers:
    """Ask about distinct pairs of context and response, once each, and hand every use its answer."""
    if not uses:
        return _Answers([], Scores(torch.zeros(0, width, device=teacher.device)))
    distinct = distinct_queries(uses, responses, by_rollout=query.ids is not None)  # ids are a rollout's own
    scores = teacher(distinct.pairs, width, query.part(distinct.rows))
    return _Answers(list(uses), scores.rows(distinct.place))


def _at_ids_of(correct: _Answers, query: Query, rows: int, width: int) -> Query:
    """The query at the ids where the correct hint's distributions were read, with zeros for rows that have no hint."""
    if not query.has_support or query.full_vocabulary:
        return query
    size = query.top_k if query.ids is None else query.ids.shape[-1]
    return query.at(correct.by_row("ids", rows, width, size, dtype=torch.int64))
