"""Poses and grades multiple choice, answered by a letter between tags (SciKnowEval in SDPO).

The released grader (`as_published`) takes the text after the last opening tag, or the whole response without one, and
wants exactly the letter. So a bare letter or a tag that never closes is right, and "A.", "(A)" or "a" between tags is
wrong. `strict` wants one complete block and reads the letter in it as a person would.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from selfdistill.tasks.graded import Graded, feedback_level
from selfdistill.tasks.schema import Problem

LETTERS = "ABCDEFGHIJ"
CLOSING = "Please reason step by step."
_OPEN, _CLOSE = "<answer>", "</answer>"

_BLOCK = re.compile(rf"{_OPEN}((?:(?!{_OPEN}|{_CLOSE}).)*){_CLOSE}", re.DOTALL)
_BEFORE = r"(?:\\(?:boxed|text|textbf|mathrm|mathbf)\s*+\{|\\[(\[]|[\s(\[*_`\"'$])*+"
_MARKS = r"(?:\\[)\]]|[\s)\]}*_`\"'$])*+"
_LETTER = re.compile(rf"{_BEFORE}(?:(?i:option|answer|choice)\b[\s:*_]*+{_BEFORE})?([A-Za-z])(?![A-Za-z0-9])")
#: Between the letter and its option's text.
_BETWEEN = re.compile(rf"{_MARKS}(?:[.:,]|[-\u2013\u2014](?=\s))?{_MARKS}")
_OPTION = re.compile(r"^([A-J]): ", re.MULTILINE)
_NO_BLOCK = f"The answer was not found: it must stand alone between {_OPEN} and {_CLOSE}."
_NO_LETTER = f"The text between {_OPEN} and {_CLOSE} is not the letter of one option."


def system_message(letters: Sequence[str]) -> str:
    """How to answer a question with these options."""
    listed = f"{', '.join(letters[:-1])} or {letters[-1]}"
    return (
        f"You will be asked a question with {len(letters)} options, of which one is right. First think between "
        f"<reasoning> and </reasoning>. Then write the letter of the right option ({listed}) between {_OPEN} and "
        f"{_CLOSE}, and nothing else there:\n<reasoning>\n...\n</reasoning>\n{_OPEN}\n{letters[0]}\n{_CLOSE}"
    )


def prompt(question: str, options: Mapping[str, str]) -> str:
    """The user message: the question, a blank line, an option a line, a request to reason (the released layout)."""
    return "\n".join([f"{question}\n", *(f"{letter}: {text}" for letter, text in options.items()), CLOSING])


def options_of(problem: str) -> dict[str, str]:
    """The options of a user message by their letters: from its last line that begins with A: on, without a gap."""
    marks = list(_OPTION.finditer(problem.rstrip().removesuffix(CLOSING)))
    first = max((i for i, mark in enumerate(marks) if mark[1] == "A"), default=len(marks))
    marks = marks[first:]
    if not marks or [mark[1] for mark in marks] != list(LETTERS[: len(marks)]):
        return {}
    text, ends = problem.rstrip().removesuffix(CLOSING), [*(mark.start() for mark in marks[1:]), None]
    return {mark[1]: text[mark.end() : end].strip() for mark, end in zip(marks, ends, strict=True)}


def grade(response: str, problem: Problem, settings: Mapping[str, Any]) -> Graded:
    """Grade a response by its last complete answer block.

    The block holds a letter of the question's options, in either case and with brackets, a full stop or emphasis; the
    option's own text may follow it.
    """
    level = feedback_level(settings.get("feedback"), "choice")
    options, blocks = options_of(problem.problem), _BLOCK.findall(response)
    letter = read_letter(blocks[-1], options) if blocks else None
    told = "" if letter is not None or level == "none" else _NO_LETTER if blocks else _NO_BLOCK
    return Graded(letter, letter == problem.answer.strip(), feedback=told)


def grade_as_published(response: str, problem: Problem, settings: Mapping[str, Any]) -> Graded:
    """Grade a response as SDPO's released code does: the text after the last opening tag, up to a closing one."""
    answer = response.rpartition(_OPEN)[2].partition(_CLOSE)[0].strip()
    correct = answer == problem.answer.strip()
    return Graded(answer if correct or _OPEN in response else None, correct)


def readable(reference: str) -> bool:
    """Returns whether a reference is the letter of an option."""
    return len(reference.strip()) == 1 and reference.strip() in LETTERS


def read_letter(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that a text gives, or None."""
    if not (found := _LETTER.match(text)):
        return None
    letter, rest = found[1].upper(), text[found.end() :]
    rest = " ".join(rest[_BETWEEN.match(rest).end() :].split()).rstrip("*_`")
    own = " ".join(re.sub(rf"^{_MARKS}", "", options.get(letter, "")).split()).rstrip("*_`")
    alone = rest in ("", own, f"{own}.")
    return letter if alone and (letter in options or not options) else None
