"""Grades chains of operations with feedback on the response's own working.

It is written in the notation of a solution, so that a reader can copy the step that is named. The levels, each saying
more than the one before: the verdict alone; the place of the first wrong step; what that step should be; the solution.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfdistill.errors import UserError
from selfdistill.tasks import maths
from selfdistill.tasks.arithmetic import Chain, apply, read_chain
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.graded import Graded, feedback_level
from selfdistill.tasks.schema import Problem

_STEP = re.compile(r"(?<!\d)(\d++)\s*+([+\-*])\s*+(\d++)\s*+=\s*+(-?\d++)")
WRONG = "The final answer is wrong."
_SOLUTION = "Right working: "
#: Faults that are said alike at every level: there is no answer to judge.
_NO_ANSWER = {"no_box": "There is no boxed answer.", "cut": "The answer was cut for its length."}
#: Faults that are at no step.
_AT_NO_STEP = {"extra": "There are too many steps.", "box": "The boxed answer is not the last result."}
#: Faults at a step, by what is wrong with the first one that is: its result, where it starts, what it does, or that it
#: is not there, also where there is no step at all.
AT_STEP = {
    "result": "First wrong step: ",
    "start": "First step that does not go on from the last result: ",
    "operand": "First step that the problem does not ask for: ",
    "missing": "First missing step: ",
    "no_working": "There is no working. First missing step: ",
}
KINDS = (*AT_STEP, *_AT_NO_STEP, *_NO_ANSWER)

#: What is said without naming a step; a tokenizer may keep each sentence whole, and the beginnings of the others.
SENTENCES = [WRONG, *_AT_NO_STEP.values(), *_NO_ANSWER.values()]
PHRASES = [*SENTENCES, _SOLUTION, *AT_STEP.values()]


@dataclass(frozen=True)
class Fault:
    """Holds what is wrong with a response whose answer is.

    Attributes:
        kind: one of KINDS.
        step: number, from 0, of the first step that is not as it should be; None where no step is to blame.
        span: where its result stands in the response; None where it has none that is to blame.
        right: the step as it should be: "7*6=2"; "" without a step.
    """

    kind: str
    step: int | None = None
    span: tuple[int, int] | None = None
    right: str = ""


def grade(response: str, problem: Problem, settings: Mapping[str, Any]) -> Graded:
    """Grade a response by its last boxed answer, and say at the level of `settings` what is wrong with its working.

    Nothing is said of a right answer, however it was come by. Raises UserError for a problem that is no chain, and for
    an unknown level.
    """
    level = feedback_level(settings.get("feedback"), "chain")
    answer = last_boxed(response)
    if answer is not None and maths.grade(answer, problem.answer):
        return Graded(answer, True)
    chain = chain_of(problem)
    fault = fault_of(chain, response, answer, truncated=bool(settings.get("truncated")))
    said = said_of(fault, level, chain)
    return Graded(answer, False, feedback=said, topic=topic(said))


def repaired(response: str, problem: Problem) -> str | None:
    """Return a response whose first wrong result is put right, all else as it was; None where no result is to blame."""
    fault = fault_of(chain_of(problem), response, last_boxed(response))
    if fault.span is None:
        return None
    begin, end = fault.span
    return response[:begin] + fault.right.rpartition("=")[2] + response[end:]


def readable(reference: str) -> bool:
    """Returns whether a reference is a digit."""
    return len(reference.strip()) == 1 and reference.strip().isdecimal()


def chain_of(problem: Problem) -> Chain:
    """Return the chain that a problem asks for. Raises UserError where it is none."""
    if (chain := read_chain(problem.problem)) is None:
        raise UserError(
            f"problem {problem.id}: grader 'chain' reads chains of operations modulo 10 and found "
            f"{problem.problem[:60]!r}; name another grader for this task"
        )
    return chain


def fault_of(chain: Chain, response: str, answer: str | None, *, truncated: bool = False) -> Fault:
    """Returns what is wrong with a response that has a wrong answer, or none."""
    if answer is None:
        return Fault("cut" if truncated else "no_box")
    steps, value = list(_STEP.finditer(response)), chain.start
    for number, (symbol, operand) in enumerate(chain.operations):
        result = apply(value, symbol, operand)
        right = f"{value}{symbol}{operand}={result}"
        if number >= len(steps):
            return Fault("missing" if steps else "no_working", number, right=right)
        first, own_symbol, second, own_result = steps[number].groups()
        if (own_symbol, second) != (symbol, str(operand)):
            return Fault("operand", number, right=right)
        if first != str(value):
            return Fault("start", number, right=right)
        if own_result != str(result):
            return Fault("result", number, steps[number].span(4), right)
        value = result
    return Fault("extra" if len(steps) > len(chain.operations) else "box")


def written_steps(response: str) -> list[str]:
    """Return the steps that a response shows, as they are written."""
    return [found[0] for found in _STEP.finditer(response)]


def said_of(fault: Fault, level: str, chain: Chain) -> str:
    """Return the feedback on a fault at a level."""
    if level == "none":
        return ""
    if fault.kind in _NO_ANSWER:
        return _NO_ANSWER[fault.kind]
    if level == "verdict":
        return WRONG
    if level == "solution":
        return told_working(chain, chain.results)
    if fault.step is None:
        return _AT_NO_STEP[fault.kind]
    return named_step(fault.step, fault.right if level == "value" else "", fault.kind)


def named_step(number: int, right: str = "", kind: str = "result") -> str:
    """Return the sentence that names a step by its number, from 0, and says how it should be, where that is given."""
    return f"{AT_STEP[kind]}{number + 1}" + (f". {right}" if right else "")


def told_working(chain: Chain, results: Sequence[int]) -> str:
    """Return the sentence that shows the steps of a chain, with these results."""
    return _SOLUTION + chain.worked(results).rstrip(". ")


def topic(feedback: str) -> str:
    """The fact that a feedback hands over, factors in either order; the feedback itself where it names no step."""
    if not (found := _STEP.search(feedback)):
        return feedback
    return "".join([found[2], *sorted((found[1], found[3]))])
