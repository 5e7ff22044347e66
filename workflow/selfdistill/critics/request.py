"""Declares what a critic is asked about a rollout, and its answer: a text, or the reason why there is none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from selfdistill.tasks.schema import Problem

#: What became of a rollout's critique. Nobody was asked: of a right rollout, of one whose advantage is zero, and of one
#: whose teacher nobody reads at this step.
NOT_ASKED = ("right", "zero_advantage", "not_read")
#: The critic was asked, and there is no text.
FAILED = ("unreachable", "timeout", "empty", "too_long_input", "refused")
#: There is an answer: a good one; one that was cut at critic.max_tokens; one that says the answer is right (maybe no
#: more than that); one that holds the right answer, though the critic was not shown it.
WRITTEN = ("ok", "truncated", "judged_right", "leak")
REASONS = (*WRITTEN, *NOT_ASKED, *FAILED)


@dataclass(frozen=True)
class Request:
    """A graded rollout to be read.

    Attributes:
        problem: what was asked, with the dataset's solution and answer, of which critics of mode critique_gold read.
        response: the rollout's text.
        correct: the grader's verdict.
        score: from 0 to 1, where the grader knows of halves.
        truncated: whether the rollout was cut at the limit of tokens.
    """

    problem: Problem
    response: str
    correct: bool = False
    score: float | None = None
    truncated: bool = False


@dataclass(frozen=True)
class Critique:
    """Holds what a critic says of a rollout.

    Attributes:
        text: what the teacher is to read, without the closing verdict; "" where there is none.
        reason: one of REASONS.
        tokens: how many the critic wrote.
        seconds: how long it took.
        verdict: "right" or "wrong" as the critic's closing line says; "" without one.
        truncated: whether it was cut at critic.max_tokens.
        leak: whether the text holds the right answer, though the critic was not shown it.
        detail: of a failure, one line for people.
    """

    text: str = ""
    reason: str = "ok"
    tokens: int = 0
    seconds: float = 0.0
    verdict: str = ""
    truncated: bool = False
    leak: bool = False
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Returns whether the critic was asked in vain."""
        return self.reason in FAILED


class Critic(Protocol):
    """Whoever reads graded rollouts and says what is wrong with them."""

    @property
    def identity(self) -> str:
        """Returns what decides its answer besides a request, for a cache: kind, model and digest, prompt, sampling."""

    def critiques(
        self, requests: Sequence[Request], arrived: Callable[[int, Critique], None] = lambda number, critique: None
    ) -> list[Critique]:
        """Return a critique of each request, in their order; a failure is one with its reason.

        Args:
            requests: any number; how many are under way at a time is the critic's own affair.
            arrived: is told each as it comes, in any order, so that none is lost if the process ends.
        """
