"""Represents a step's rollouts as both trainers deliver them, and computes their first metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfdistill.errors import UserError
from selfdistill.sampling.interface import Rollout
from selfdistill.scoring.scores import Sequences
from selfdistill.tasks.graded import Graded
from selfdistill.tasks.schema import Problem


@dataclass(frozen=True)
class StepRollouts:
    """A step's B = prompts x group rollouts, row by row, those of a prompt together.

    Attributes:
        problems, prompts: what was asked, as a row of data and as token ids.
        responses: token ids as drawn.
        texts: decoded without special tokens.
        answers: what was boxed last, None without a box.
        correct: the grader's verdict.
        scores, feedback: from 0 to 1, and what it says of failures; None where the grader has only right and wrong.
        topics: what each feedback is about (Graded.topic); None where only its text is known.
        logprobs: (T,) float32 nats of the sampler, of each response's tokens at the rollout temperature.
        truncated: cut at the limit of tokens.
        support_ids: (T, k) int64 of each response; None where the sampler was not asked for them, or knows none.
        entropy: mean over all tokens, nats; None where the sampler does not know it.
    """

    problems: Sequence[Problem]
    prompts: Sequence[Sequence[int]]
    responses: Sequence[Sequence[int]]
    texts: Sequence[str]
    answers: Sequence[str | None]
    correct: Sequence[bool]
    logprobs: Sequence[np.ndarray]
    truncated: Sequence[bool]
    entropy: float | None = None
    scores: Sequence[float] | None = None
    feedback: Sequence[str] | None = None
    topics: Sequence[str] | None = None
    support_ids: Sequence[np.ndarray] | None = None

    @property
    def sequences(self) -> Sequences:
        """Prompts and responses as a scorer takes them."""
        return Sequences(self.prompts, self.responses)

    @property
    def lengths(self) -> list[int]:
        """Returns the tokens of each response."""
        return [len(response) for response in self.responses]


def graded_rollouts(
    problems: Sequence[Problem],
    prompts: Sequence[Sequence[int]],
    rollouts: Sequence[Rollout],
    texts: Sequence[str],
    graded: Sequence[Graded],
) -> StepRollouts:
    """Return what was drawn and graded, row by row, as a step takes it; arguments as of `StepRollouts`."""
    entropies = np.concatenate([r.entropies for r in rollouts])
    return StepRollouts(
        problems=problems,
        prompts=prompts,
        responses=[r.response_ids for r in rollouts],
        texts=texts,
        answers=[g.answer for g in graded],
        correct=[g.correct for g in graded],
        scores=[g.score for g in graded] if any(g.score != g.correct for g in graded) else None,
        feedback=[g.feedback for g in graded] if any(g.feedback for g in graded) else None,
        topics=[g.topic for g in graded],
        logprobs=[r.logprobs for r in rollouts],
        truncated=[r.finish_reason == "length" for r in rollouts],
        support_ids=None if any(r.support_ids is None for r in rollouts) else [r.support_ids for r in rollouts],
        entropy=float(entropies.mean()) if len(entropies) else None,
    )


def check_logprobs(rollouts: StepRollouts) -> None:
    """Raises UserError where a sampler gave none (importance correction would silently be off), or not finite ones."""
    for row, (logprobs, length) in enumerate(zip(rollouts.logprobs, rollouts.lengths, strict=True)):
        if len(logprobs) != length:
            raise UserError(
                "rollout.engine: the sampler gave no log-probs for some tokens it drew; old log-probs and "
                "rollout.importance_threshold need them: use another engine, or fix this one"
            )
        if not np.isfinite(logprobs).all():
            raise UserError(
                f"rollout {row + 1} of {len(rollouts.logprobs)}: the log-probs of its tokens are not finite, so the "
                "weights in training, or what the model computes with them, are not either; lower "
                "optimizer.learning_rate, or take another base model"
            )


def padded(values: Sequence[np.ndarray], dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Ragged rows (T, ...) as (B, T, ...) with zeros behind, and the mask (B, T) of real entries."""
    width = max(map(len, values))
    padded = torch.zeros(len(values), width, *values[0].shape[1:], dtype=dtype)
    mask = torch.zeros(len(values), width, dtype=torch.bool)
    for i, row in enumerate(values):
        padded[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = True
    return padded, mask


def rollout_metrics(rollouts: StepRollouts, rewards: Tensor) -> dict[str, float]:
    """Returns what the log says of rollouts, whatever the method."""
    known = {} if rollouts.entropy is None else {"actor/entropy": rollouts.entropy}
    return {
        "reward/mean": float(rewards.mean()),
        "reward/boxed_share": float(np.mean([answer is not None for answer in rollouts.answers])),
        "response/length_mean": float(np.mean(rollouts.lengths)),
        "response/truncated": float(np.mean(rollouts.truncated)),
        **known,
        "tokens/generated": sum(rollouts.lengths),
    }
