r"""The words around a problem: what the student reads, and what the hinted teacher reads.

The structure is the paper's (arXiv 2606.11709, sect. 3); the boxed-answer instruction is the one
the models' own cards publish; the teacher template's sentences are ours. Correct and wrong hints go through the same
template byte for byte, "correct final answer" label included: only the solution and the answer differ, so that
template and style cancel in the contrast of the two.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from selfdistill.tasks.schema import Problem

INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
PROBLEM_PREFIX = "Problem: "
_BEGIN = "=== Reference solution begins ==="
_END = "=== Reference solution ends ==="
_ANSWER_LABEL = "The correct final answer is: "
_UNDERSTAND = "Make sure that you understand the reasoning behind each step of the reference solution."
#: Framing sentences of the robustness probe (arXiv 2606.11709, sect. 3); neutral is the default.
FRAMINGS = {
    "neutral": "Here is a reference solution to this problem.",
    "verbose": "Here is a reference solution by an eminent expert, whose thorough and elegant style you should adopt.",
    "terse": "Here is a reference solution. It uses as little prose as possible.",
}
HINT_MODES = ("solution_answer", "answer_only")

#: Text pieces that a word-level tokenizer should keep whole.
PHRASES = [PROBLEM_PREFIX, INSTRUCTION, _BEGIN, _END, _ANSWER_LABEL, _UNDERSTAND, *FRAMINGS.values(), "\n\n", "\n"]


class Message(NamedTuple):
    """One turn of a chat: its role (system, user or assistant) and its text."""

    role: str
    content: str


@dataclass(frozen=True)
class Hint:
    """Privileged text of a teacher: a solution and its final answer, right or wrong."""

    solution: str
    answer: str


def student_messages(problem: "Problem", *, training: bool) -> list[Message]:
    """The chat that a student reads: the problem's own as it stands, or else one message (`student_prompt`)."""
    return list(problem.messages) or [Message("user", student_prompt(problem.problem, training=training))]


def student_prompt(problem: str, *, training: bool) -> str:
    """The user message for a problem: with a "Problem: " prefix in training, without in evaluation (as released).

    The instruction is not repeated where the problem already ends with it.
    """
    text = (PROBLEM_PREFIX if training else "") + problem.rstrip()
    return text if text.endswith(INSTRUCTION) else f"{text}\n\n{INSTRUCTION}"


def teacher_prompt(problem: str, hint: Hint, *, mode: str = "solution_answer", framing: str = "neutral") -> str:
    """The user message for a hinted teacher: problem, framing, hint between markers, request, instruction."""
    if mode not in HINT_MODES:
        raise ValueError(f"hint mode {mode!r} is not one of {', '.join(HINT_MODES)}")
    label = _ANSWER_LABEL + hint.answer
    privileged = f"{hint.solution}\n\n{label}" if mode == "solution_answer" else label
    return "\n".join(
        [PROBLEM_PREFIX + problem.rstrip(), FRAMINGS[framing], _BEGIN, privileged, _END, "", _UNDERSTAND, INSTRUCTION]
    )
