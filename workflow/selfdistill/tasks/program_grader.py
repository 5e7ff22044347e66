"""Grades programs on digits by tests, with feedback in the notation of the question."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfdistill.errors import UserError
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.graded import Graded, feedback_level
from selfdistill.tasks.programs import Pair, operations_asked, read_program, read_tests, run
from selfdistill.tasks.schema import Problem

_WRONG = "A test fails."
_CUT = "The answer was cut for its length."
_NONE = "There is no boxed program."
_UNREADABLE = "The program cannot be read."
_COUNT = "The program has another number of operations."
_NOT = (" (not ", ")")

#: Text pieces that a word-level tokenizer should keep whole.
PHRASES = [_WRONG, _CUT, _NONE, _UNREADABLE, _COUNT, *_NOT]


def grade(response: str, problem: Problem, settings: Mapping[str, Any]) -> Graded:
    """Grade a response by running its last boxed program on the tests. `score` is the share that it passes.

    Args:
        response: decoded text.
        problem: its answer holds the tests (`programs.read_tests`).
        settings: feedback ("none", "verdict", "case": the first test that fails), truncated.

    Raises:
        UserError: for a problem that is none of this kind, and for an unknown level.
    """
    level = feedback_level(settings.get("feedback"), "programs")
    wanted, tests = operations_asked(problem.problem), _tests(problem)
    if wanted is None:
        raise UserError(
            f"problem {problem.id}: grader 'programs' reads questions for programs on digits and found "
            f"{problem.problem[:60]!r}; name another grader for this task"
        )
    boxed = last_boxed(response)
    operations = None if boxed is None else read_program(boxed)
    if operations is None or len(operations) != wanted:
        told = _fault(boxed, operations, truncated=bool(settings.get("truncated")))
        return Graded(boxed, False, 0.0, "" if level == "none" else told)
    failed = [(pair, run(operations, pair.given)) for pair in tests if run(operations, pair.given) != pair.result]
    told = "" if level == "none" or not failed else _WRONG if level == "verdict" else failed_test(*failed[0])
    return Graded(boxed, not failed, 1 - len(failed) / len(tests), told)


def failed_test(pair: Pair, result: int) -> str:
    """Returns what is said of a failed test: the pair as a question would show it, and what came out instead."""
    return f"{pair}{_NOT[0]}{result}{_NOT[1]}"


def readable(reference: str) -> bool:
    """Returns whether a reference holds tests."""
    try:
        read_tests(reference)
    except ValueError:
        return False
    return True


def _tests(problem: Problem) -> Sequence[Pair]:
    try:
        return read_tests(problem.answer)
    except ValueError as error:
        raise UserError(f"problem {problem.id}: its tests cannot be read: {error}; drop or mend it") from None


def _fault(boxed: str | None, operations: Sequence[tuple[str, int]] | None, *, truncated: bool) -> str:
    if boxed is None:
        return _CUT if truncated else _NONE
    return _UNREADABLE if operations is None else _COUNT
