"""Declares what a sampler takes and returns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from selfdistill.errors import UserError
from selfdistill.randomness import Key
from selfdistill.study.run_settings import RolloutSettings, ValidationSettings


@dataclass(frozen=True)
class SamplingSettings:
    """Says how responses are drawn.

    Attributes:
        max_response_tokens: a response that has not ended by then is truncated (finish_reason "length").
        temperature: divides the logits, in sampling and in the log-probs returned; 0 is greedy (log-probs at 1).
        top_p: smallest set of most likely tokens with at least this mass; 1 is off.
        top_k: so many most likely tokens; 0 is off.
        support: so many most likely ids of the full distribution are returned with each token, by the own decode loop;
            others return none.
    """

    max_response_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    support: int = 0

    @classmethod
    def of(cls, section: RolloutSettings | ValidationSettings) -> "SamplingSettings":
        """Return those of a section of a run's settings."""
        return cls(section.max_response_tokens, section.temperature, section.top_p, section.top_k)


@dataclass(frozen=True)
class Rollout:
    """One drawn response.

    Attributes:
        response_ids: tokens as drawn, the end-of-sequence token included where there is one. They are carried as ids
            everywhere: text that a policy made up need not tokenise back to them.
        logprobs: (T,) float32 nats, of the drawn tokens under the *full* distribution at the temperature (before
            top-p and top-k).
        entropies: (T,) float32 nats, of that distribution.
        finish_reason: "stop" or "length".
        support_ids: (T, k) int64, where they were asked for and the sampler knows them.
    """

    response_ids: list[int]
    logprobs: np.ndarray
    entropies: np.ndarray
    finish_reason: str
    support_ids: np.ndarray | None = None


def not_finite(model: str, why: str = "its weights are not, or what it computes from them overflows") -> UserError:
    """The error of a sampler whose model gives log-probs that are NaN or infinite: nothing can be drawn from them."""
    return UserError(
        f"{model}: the log-probs that the model gives are not finite ({why}); take other weights (in training: lower "
        "optimizer.learning_rate)"
    )


class Sampler(Protocol):
    """Draws one response for each prompt, with random numbers that depend on the prompt's key alone."""

    def sample(
        self, prompts: Sequence[Sequence[int]], settings: SamplingSettings, keys: Sequence[tuple[Key, ...]]
    ) -> list[Rollout]:
        """Responses in the order of the prompts. `keys` names each draw's random stream (randomness.generator).

        Raises UserError where the model's log-probs are not finite.
        """
