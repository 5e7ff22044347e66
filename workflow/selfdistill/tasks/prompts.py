r"""Holds the words around a problem: what the student reads, and what the hinted teacher reads.

The structure is the paper's (arXiv 2606.11709, sect. 3); the boxed-answer instruction is the one
the models' own cards publish; the teacher template's sentences are ours. Correct and wrong hints go through the same
template byte for byte, "correct final answer" label included: only the solution and the answer differ, so that
template and style cancel in the contrast of the two.
"""

from typing import TYPE_CHECKING

from selfdistill.study.templates import Template
from selfdistill.tasks.contexts import CRITIQUE, SECTIONS, ContextTemplate, Hint, Message

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

#: Text pieces that a word-level tokenizer should keep whole.
PHRASES = [PROBLEM_PREFIX, INSTRUCTION, _BEGIN, _END, _ANSWER_LABEL, _UNDERSTAND, *FRAMINGS.values(), "\n\n", "\n"]


def student_prompt(problem: str, *, training: bool) -> str:
    """The user message for a problem: with a "Problem: " prefix in training, without in evaluation (as released).

    The instruction is not repeated where the problem already ends with it.
    """
    text = (PROBLEM_PREFIX if training else "") + problem.rstrip()
    return text if text.endswith(INSTRUCTION) else f"{text}\n\n{INSTRUCTION}"


def student_messages(problem: "Problem", *, training: bool, template: str | None = None) -> list[Message]:
    """Return the chat that a student reads: the problem's own as it stands, or else one message (`asked`)."""
    return list(problem.messages) or [Message("user", asked(problem.problem, training=training, template=template))]


def asked(problem: str, *, training: bool, template: str | None = None) -> str:
    """The user message for a problem: in the words of a run's own template (`chat.template`), or `student_prompt`.

    Args:
        problem: the bare question.
        training: whether it is a training problem; a template of one's own is the same for all.
        template: a text with the slot {problem}; None is the library's.
    """
    if template is None:
        return student_prompt(problem, training=training)
    return Template(template, ("problem",), "chat.template").fill(problem=problem.rstrip())


def context_template(name: str, framing: str = "neutral", *, own_prompts: bool = False) -> ContextTemplate:
    """Return the template of teachers' prompts that a run names as `hints.template`.

    Args:
        name: "reference", "sections", "critique", or a file of one's own.
        framing: of "reference": a key of FRAMINGS.
        own_prompts: of "reference": whether problems have chats of their own, which say how to answer.

    Raises:
        UserError: as `ContextTemplate.read`.
    """
    if name == "reference":
        return (_REFERENCE_OF_OWN if own_prompts else _REFERENCE)[framing]
    named = {"sections": SECTIONS, "critique": CRITIQUE}
    return named[name] if name in named else ContextTemplate.read(name)


def teacher_prompt(problem: str, hint: Hint, *, mode: str = "solution_answer", framing: str = "neutral") -> str:
    """The user message of the template "reference": problem, framing, hint between markers, request, instruction."""
    return _REFERENCE[framing].prompt("", problem, hint.shown(mode))


def _reference(asked: str, framing: str, *instruction: str) -> ContextTemplate:
    return ContextTemplate(
        "\n".join([asked, framing, _BEGIN, "{solution}{answer}", _END, "", _UNDERSTAND, *instruction]),
        {"solution": "{solution}\n\n", "answer": _ANSWER_LABEL + "{answer}"},
        "template reference",
    )


_INSTRUCTION = INSTRUCTION.replace("{", "{{").replace("}", "}}")
_REFERENCE = {
    name: _reference(PROBLEM_PREFIX + "{problem}", sentence, _INSTRUCTION) for name, sentence in FRAMINGS.items()
}
_REFERENCE_OF_OWN = {name: _reference("{prompt}", sentence) for name, sentence in FRAMINGS.items()}

__all__ = [
    "FRAMINGS",
    "INSTRUCTION",
    "PHRASES",
    "PROBLEM_PREFIX",
    "Hint",
    "Message",
    "asked",
    "context_template",
    "student_messages",
    "student_prompt",
    "teacher_prompt",
]
