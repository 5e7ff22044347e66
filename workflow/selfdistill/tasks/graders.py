"""The graders by name, and the grading of a whole response. Each task in config/tasks.yaml names its grader."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

from selfdistill.errors import UserError
from selfdistill.tasks import maths, roles
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.schema import Problem

#: Whether an answer equals a reference.
Grader = Callable[[str, str], bool]

#: By grader: whether it can read a reference answer.
READABLE: dict[str, Callable[[str], bool]] = {"maths": maths.readable, "knights": roles.readable}

#: By grader: the plain number that it takes a reference for which is none by its text, or None.
STANDS_FOR: dict[str, Callable[[str], str | None]] = {"maths": maths.stands_for, "knights": lambda _: None}

GRADERS: dict[str, Grader] = {"maths": maths.grade, "knights": roles.grade}


@dataclass(frozen=True)
class Graded:
    """A response's final answer (None without a box), whether it is right, and whether there was a box at all."""

    answer: str | None
    correct: bool

    @property
    def formatted(self) -> bool:
        return self.answer is not None


def grader(name: str, *, first_role_counts: bool = False) -> Grader:
    """The grader of that name.

    `first_role_counts` concerns Knights and Knaves only: a person named with two roles makes an answer wrong unless it
    is set (preset as_published). Raises UserError for an unknown name; no grader stands in for another (spec D37).
    """
    if name not in GRADERS:
        raise UserError(f"unknown grader {name!r}: a task's grader must be one of {', '.join(GRADERS)}")
    if name == "knights":
        return functools.partial(roles.grade, first_role_counts=first_role_counts)
    return GRADERS[name]


def grade_response(response: str, problem: Problem, name: str, *, first_role_counts: bool = False) -> Graded:
    r"""Grade a response by its last complete ``\boxed{...}`` that is not empty; without one it is wrong.

    Args:
        response: decoded text of a rollout or draw.
        problem: what was asked.
        name: the task's grader.
        first_role_counts: see `grader`.

    Raises:
        UserError: for an unknown grader, whatever the response.
    """
    is_right = grader(name, first_role_counts=first_role_counts)
    answer = last_boxed(response)
    return Graded(answer, answer is not None and is_right(answer, problem.answer))
