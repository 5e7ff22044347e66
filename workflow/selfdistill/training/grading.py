"""Builds the graders of a run's rollouts, as its settings ask for them."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.graders import Graded, grade_response, grade_responses
from selfdistill.tasks.schema import Problem

Grade = Callable[[str, Problem], Graded]
GradeAll = Callable[[Sequence[str], Sequence[Problem], Sequence[bool]], list[Graded]]


def run_graders(config: Mapping[str, Any], settings: TrainingSettings) -> tuple[Grade, GradeAll]:
    """Return the grading of one response, and of many, which is told which of them were cut at the limit of tokens.

    Args:
        config: a resolved run.
        settings: the same as both trainers take it.
    """
    how = {"name": config["grader"], "first_role_counts": settings.reward.first_role_counts}
    how["grading"] = settings.reward.grading(config.get("grading"))
    return partial(grade_response, **how), partial(grade_responses, **how)
