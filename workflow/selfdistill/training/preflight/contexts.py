"""Builds the contexts of a pre-flight: those that a task names, and those of a variant's first step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from selfdistill.critics.request import Request
from selfdistill.critics.rule import RuleCritic
from selfdistill.critics.step_critiques import CritiquedSteps
from selfdistill.objectives.methods import build_method
from selfdistill.signals.shuffled_feedback import shuffled_feedback
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.demonstrations import response_of
from selfdistill.tasks.graders import BOXED
from selfdistill.training.preflight.reader import Attempt, Reader
from selfdistill.training.rollouts import graded_rollouts
from selfdistill.training.step_critic import requests_of
from selfdistill.training.step_hints import step_assignments, step_candidates


@dataclass(frozen=True)
class Named:
    """A context that a task names: what is shown of a response, whatever the responses beside it.

    Attributes:
        feedback: level of the grader's feedback; None shows none.
        solution: whether the dataset's solution is shown, as a sibling's response would be.
        shuffled: whether feedback is that of another problem's response, and of another topic.
        critique: what the task's rule critic says of it, by the critic's mode; None shows none.
    """

    feedback: str | None = None
    solution: bool = False
    shuffled: bool = False
    critique: str | None = None

    @property
    def parts(self) -> list[str]:
        """Returns the names of the parts that it shows."""
        asked = {
            "feedback": self.feedback is not None,
            "solution": self.solution,
            "critique": self.critique is not None,
        }
        return [part for part, wanted in asked.items() if wanted]


def _feedback(reader: Reader, about: Named, attempts: Sequence[Attempt]) -> list[str]:
    rollouts, problems = [a.rollout for a in attempts], [a.problem for a in attempts]
    _, graded = reader.grade(rollouts, problems, about.feedback)
    said = [each.feedback for each in graded]
    if not about.shuffled:
        return said
    topics, groups = [each.topic for each in graded], [problem.id for problem in problems]
    return shuffled_feedback(said, ("preflight",), groups=groups, topics=topics)


def _solution(reader: Reader, about: Named, attempts: Sequence[Attempt]) -> list[str]:
    """The dataset's solution as a response: with its answer in a box where graders read one."""
    boxed = reader.how.grader in BOXED
    found = []
    for problem in (a.problem for a in attempts):
        bare = boxed and problem.solution and "\\boxed" not in problem.solution
        found.append(response_of(Hint(problem.solution, problem.answer)) if bare else problem.solution or "")
    return found


def _critique(reader: Reader, about: Named, attempts: Sequence[Attempt]) -> list[str]:
    """Returns what the task's rule critic says, without its verdict."""
    critic = RuleCritic(CriticSettings(kind="rule", mode=about.critique), reader.how.grader)
    asked = [
        Request(a.problem, a.text, correct=a.graded.correct, truncated=a.rollout.finish_reason == "length")
        for a in attempts
    ]
    return [each.text for each in critic.critiques(asked)]


#: Part of a context -> what makes its text for each of these responses, "" where there is none.
PARTS: Mapping[str, Callable[[Reader, Named, Sequence[Attempt]], list[str]]] = {
    "feedback": _feedback,
    "solution": _solution,
    "critique": _critique,
}


def named_hints(reader: Reader, about: Named, attempts: Sequence[Attempt]) -> list[Hint]:
    """Return what a context shows of each response; a hint without parts where one of its parts has no text."""
    texts = {part: PARTS[part](reader, about, attempts) for part in about.parts}
    hints = []
    for row in range(len(attempts)):
        parts = {part: each[row] for part, each in texts.items()}
        hints.append(Hint(**parts) if all(text.strip() for text in parts.values()) else Hint())
    return hints


def first_step_hints(
    run: Mapping[str, Any], attempts: Sequence[Attempt], critic: CritiquedSteps | None = None
) -> list[Hint]:
    """Return what a run's teacher would be shown of each response in its first step; without parts where nothing is.

    Args:
        run: a resolved run.
        attempts: whole groups of `rollout.group_size`, right ones too, those of a problem together.
        critic: of a run that has one; it is asked about every wrong response.

    Raises:
        UserError: where the critic fails more often than `critic.max_failed_share`.
    """
    settings = TrainingSettings.from_config(run)
    needs = build_method(settings.implementation, settings.objective).needs
    columns = zip(*((a.problem, a.prompt, a.rollout, a.text, a.graded) for a in attempts), strict=True)
    rollouts = graded_rollouts(*columns)
    rewards = torch.tensor([float(each) for each in rollouts.correct])
    said = None if critic is None else critic.of_step(0, requests_of(rollouts), [None] * len(attempts)).shown
    groups = step_candidates(rollouts, rewards, settings, 0, said)
    assignments = step_assignments(rollouts, groups, settings, needs, 0)
    return [each.correct if each.correct is not None else Hint() for each in assignments]
