"""A step's rollouts as both trainers hand them over, and what is said of them before anything else is done."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from selfdistill.errors import UserError
from selfdistill.scoring.scores import Sequences
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

    @property
    def sequences(self) -> Sequences:
        return Sequences(self.prompts, self.responses)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each response."""
        return [len(response) for response in self.responses]


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


def padded(values: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Ragged rows as (B, T) with zeros behind, and the mask of real entries."""
    width = max(map(len, values))
    padded = torch.zeros(len(values), width)
    mask = torch.zeros(len(values), width, dtype=torch.bool)
    for i, row in enumerate(values):
        padded[i, : len(row)] = torch.from_numpy(row)
        mask[i, : len(row)] = True
    return padded, mask


def rollout_metrics(rollouts: StepRollouts, rewards: Tensor) -> dict[str, float]:
    """What the log says of rollouts, whatever the method."""
    known = {} if rollouts.entropy is None else {"actor/entropy": rollouts.entropy}
    return {
        "reward/mean": float(rewards.mean()),
        "reward/boxed_share": float(np.mean([answer is not None for answer in rollouts.answers])),
        "response/length_mean": float(np.mean(rollouts.lengths)),
        "response/truncated": float(np.mean(rollouts.truncated)),
        **known,
        "tokens/generated": sum(rollouts.lengths),
    }
