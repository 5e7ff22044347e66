"""Grades whole responses by the grader that each task in config/tasks.yaml names."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from selfdistill.errors import UserError
from selfdistill.sandbox.trial import isolation
from selfdistill.tasks import cells, chain_feedback, choice, code, maths, program_grader, roles, tool_use
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.graded import Graded
from selfdistill.tasks.schema import Problem
from selfdistill.tasks.vision import grading

#: Whether an answer equals a reference.
Grader = Callable[[str, str], bool]
#: (response, problem, settings) -> verdict, for graders that read the response themselves.
ResponseGrader = Callable[[str, Problem, Mapping[str, Any]], Graded]

GRADERS: dict[str, Grader] = {"maths": maths.grade, "knights": roles.grade, "cells": cells.grade}

RESPONSE_GRADERS: dict[str, ResponseGrader] = {
    "chain": chain_feedback.grade,
    "programs": program_grader.grade,
    "choice": choice.grade,
    "choice_as_published": choice.grade_as_published,
    "tool_use": tool_use.grade,
    "tool_use_as_published": tool_use.grade_as_published,
    "code": code.grade,
    "code_as_published": code.grade_as_published,
    "pictures": grading.grade,
}

#: Graders that read a boxed answer.
BOXED = (*GRADERS, "chain", "pictures", "programs")

#: By grader that can tell which part of a response is wrong: the response with its first wrong part put right.
_REPAIRED: dict[str, Callable[[str, Problem], str | None]] = {"chain": chain_feedback.repaired}

#: By grader: whether it can read a reference answer.
READABLE: dict[str, Callable[[str], bool]] = {
    "maths": maths.readable,
    "knights": roles.readable,
    "cells": cells.readable,
    "chain": chain_feedback.readable,
    "programs": program_grader.readable,
    "choice": choice.readable,
    "choice_as_published": choice.readable,
    "tool_use": tool_use.readable,
    "tool_use_as_published": tool_use.readable,
    "code": code.readable,
    "code_as_published": code.readable,
    "pictures": grading.readable,
}

#: By grader: the plain number that it takes a reference for which is none by its text, or None.
STANDS_FOR: dict[str, Callable[[str], str | None]] = dict.fromkeys(READABLE, lambda _: None) | {
    "maths": maths.stands_for
}

#: Graders whose score is more than right or wrong.
SCORED = ("code", "code_as_published")


def grader(name: str, *, first_role_counts: bool = False) -> Grader:
    """Return the grader of boxed answers of that name.

    `first_role_counts` concerns Knights and Knaves only: a person named with two roles makes an answer wrong unless it
    is set (preset as_published). Raises UserError for an unknown name; no grader stands in for another
    (docs/departures.md D37).
    """
    if name not in GRADERS:
        known = ", ".join([*GRADERS, *RESPONSE_GRADERS])
        raise UserError(f"unknown grader {name!r}: a task's grader must be one of {known}")
    if name == "knights":
        return functools.partial(roles.grade, first_role_counts=first_role_counts)
    return GRADERS[name]


def gives_feedback(name: str) -> bool:
    """Returns whether a grader may say more of a response than right or wrong."""
    return name in RESPONSE_GRADERS


def check_sandbox(names: Iterable[str | None], grading: Mapping[str, Any] | None = None) -> None:
    """Try the sandbox before anything is drawn, where one of these graders runs programs that a model wrote.

    Raises UserError where no isolation can be had, and the task's settings `grading` do not allow to run without.
    """
    if not {"code", "code_as_published"}.isdisjoint(names):
        isolation(allow_unisolated=bool((grading or {}).get("allow_unisolated", False)))


def grade_response(
    response: str,
    problem: Problem,
    name: str,
    *,
    first_role_counts: bool = False,
    truncated: bool = False,
    grading: Mapping[str, Any] | None = None,
) -> Graded:
    r"""Grade a response: by its last complete ``\boxed{...}`` that is not empty, or as the grader reads it.

    Args:
        response: decoded text of a rollout or draw.
        problem: what was asked.
        name: the task's grader.
        first_role_counts: see `grader`.
        truncated: whether the response was cut for its length; some feedback says so.
        grading: the task's settings of that name, for graders that have any.

    Raises:
        UserError: for an unknown grader, whatever the response; where programs of a model would have to run without
            isolation; for a reference that cannot be read, or an unknown level of feedback.
    """
    if name in RESPONSE_GRADERS:
        return RESPONSE_GRADERS[name](response, problem, {**(grading or {}), "truncated": truncated})
    is_right = grader(name, first_role_counts=first_role_counts)
    answer = last_boxed(response)
    return Graded(answer, answer is not None and is_right(answer, problem.answer))


def repaired(name: str, response: str, problem: Problem) -> str | None:
    """A wrong response whose first wrong part is put right, all else as it was; None where the grader cannot tell."""
    return _REPAIRED[name](response, problem) if name in _REPAIRED else None


def grade_responses(
    responses: Sequence[str],
    problems: Sequence[Problem],
    truncated: Sequence[bool],
    name: str,
    *,
    first_role_counts: bool = False,
    grading: Mapping[str, Any] | None = None,
) -> list[Graded]:
    """Grade many responses, equivalent to `grade_response` of each in turn.

    Graders that run programs do so side by side, one a processor.

    Args:
        responses, problems, truncated: row by row, as of `grade_response`.
        name, first_role_counts, grading: as of `grade_response`, of all rows.

    Raises:
        UserError: as `grade_response`.
    """

    def grade(response: str, problem: Problem, cut: bool) -> Graded:
        how = {"first_role_counts": first_role_counts, "truncated": cut, "grading": grading}
        return grade_response(response, problem, name, **how)

    rows = (grade, responses, problems, truncated)
    if name not in SCORED:
        return list(map(*rows))
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(*rows))


__all__ = [
    "BOXED",
    "GRADERS",
    "READABLE",
    "RESPONSE_GRADERS",
    "SCORED",
    "Graded",
    "check_sandbox",
    "gives_feedback",
    "grade_response",
    "grade_responses",
    "grader",
    "repaired",
]
