"""Criticises chains of operations by a rule: works out every written step again, and says what it found.

What it says is in the notation of a solution, so that a model as small as the toy can use it. Its kinds differ in what
of the attempt they hand on (docs/critiques.md): the right steps and how the first wrong one should be; the right steps
and the wrong one as it was written; all of these; or the answer of the problem.
"""

from dataclasses import dataclass

from selfdistill.errors import UserError
from selfdistill.tasks import maths
from selfdistill.tasks.arithmetic import Chain
from selfdistill.tasks.boxed import boxed, last_boxed
from selfdistill.tasks.chain_feedback import SENTENCES, Fault, chain_of, fault_of, said_of, written_steps
from selfdistill.tasks.schema import Problem

#: By kind, what is said of a response whose answer is wrong: parts of a Reading, in this order.
KINDS = {
    "noquote": ("right", "next", "remark"),
    "plain": ("right", "wrong", "remark"),
    "fix": ("right", "wrong", "next", "remark"),
    "answer": ("answer",),
}
#: The line that every critic closes with (tasks/critic_prompts.py).
RIGHT, WRONG = "Verdict: right", "Verdict: wrong"
_LABELS = {"right": "Right so far: ", "wrong": "Wrong: ", "next": "Next: ", "answer": "The answer is: "}
_STOP = ".\n"
_PRAISE = "The final answer is right.\n"
_QUOTED = 40  # characters of a step or answer that is quoted: a box may hold anything

#: What a tokenizer may keep whole.
PHRASES = [*_LABELS.values(), _STOP, _PRAISE, RIGHT, WRONG, *SENTENCES]


@dataclass(frozen=True)
class Reading:
    """Holds what a second look at a response found; each part "" where there is nothing of it.

    Attributes:
        right: the steps before the first that is not as it should be: "3*4=2; 2+6=8".
        wrong: what was written in place of the step that should follow, or the wrong box.
        next: the step that should follow.
        answer: the right answer, boxed.
        remark: sentences on faults that are at no step.
        correct: whether the response's answer is right, however it was come by.
    """

    right: str
    wrong: str
    next: str
    answer: str
    remark: str
    correct: bool


def critique(problem: Problem, response: str, kind: str, *, truncated: bool = False) -> str:
    """Return what the rule says of a response, with its verdict as the last line.

    Args:
        problem: a chain of operations.
        response: the whole of it.
        kind: one of KINDS. Of a response whose answer is right, all say the same: its right steps, and praise.
        truncated: whether the response was cut for its length.

    Raises:
        UserError: for an unknown kind, and for a problem that is no chain.
    """
    if kind not in KINDS:
        raise UserError(f"unknown kind of critique {kind!r}; expected one of {', '.join(KINDS)}")
    return written(read_response(chain_of(problem), response, truncated=truncated), kind)


def written(reading: Reading, kind: str) -> str:
    """Return a reading in the words of a kind."""
    if reading.correct:
        return praise(reading)
    said = [_critique_line(name, getattr(reading, name)) for name in KINDS[kind]]
    return "".join(said) + WRONG


def praise(reading: Reading) -> str:
    """Return what is said of a response that is held to be right, whether it is or not."""
    return _critique_line("right", reading.right) + _PRAISE + RIGHT


def read_response(chain: Chain, response: str, *, truncated: bool = False) -> Reading:
    """Work out again every step of a response to a chain, up to the first that is not as it should be."""
    answer = last_boxed(response)
    fault = fault_of(chain, response, answer or "")
    steps = written_steps(response)
    number = len(chain.operations) if fault.step is None else fault.step
    found = steps[number] if number < len(steps) else ("" if answer is None else boxed(answer))
    correct = answer is not None and maths.grade(answer, chain.answer)
    # Of no answer it is said that there is none, and not that it is another than the last result.
    faults = [fault] if fault.step is None and (answer is not None or fault.kind != "box") and not correct else []
    if answer is None:
        faults.append(Fault("cut" if truncated else "no_box"))
    return Reading(
        right="; ".join(chain.steps()[:number]),
        wrong=found[:_QUOTED],
        next=fault.right,
        answer=boxed(chain.answer),
        remark="\n".join(said_of(each, "place", chain) for each in faults),
        correct=correct,
    )


def _critique_line(part: str, text: str) -> str:
    """A part of a reading as a line of a critique; nothing where there is nothing of it."""
    if not text:
        return ""
    return f"{text}\n" if part == "remark" else _LABELS[part] + text + _STOP
