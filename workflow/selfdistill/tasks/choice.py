"""Poses and grades multiple choice, answered by a letter between tags (SciKnowEval in SDPO).

The released grader (`as_published`) takes the text after the last opening tag, or the whole response without one, and
wants exactly the letter. So a bare letter or a tag that never closes is right, and "A.", "(A)" or "a" between tags is
wrong. `strict` wants one complete block and reads the letter in it as a person would.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from selfdistill.tasks.graded import Graded, feedback_level
from selfdistill.tasks.schema import Problem

LETTERS = "ABCDEFGHIJ"
CLOSING = "Please reason step by step."
_OPEN, _CLOSE = "<answer>", "</answer>"

_BLOCK = re.compile(rf"{_OPEN}((?:(?!{_OPEN}|{_CLOSE}).)*){_CLOSE}", re.DOTALL)
_TAG = re.compile(r"<\s*+(/?)\s*+answer\s*+>", re.IGNORECASE)
_SAID = re.compile(r"[^\s.\u2026]")  # a block without is talk of a block
_HIDDEN = re.compile(r"[\u200b-\u200d\u2060\ufeff]|</?[A-Za-z]\w*+\s*+/?>")  # zero width, and tags as of HTML
_QUOTES = "\"'\u2018\u2019\u201c\u201d\u00ab\u00bb"
_BEFORE = rf"(?:\\(?:[fm]?boxed|fbox|underline|emph|text\w*+|math\w++)\s*+\{{|\\[(\[]|-\s|[\s({{\[*_`{_QUOTES}$#>])*+"
_MARKS = rf"(?:\\[)\]]|[\s)\]}}*_`{_QUOTES}$])*+"
_WORDS = r"(?:(?:the|my|so|correct|right|best|final)\s++)*+(?:option|answer|choice|letter)\b(?:\s++is\b)?"
_LETTER = re.compile(rf"{_BEFORE}(?:(?i:{_WORDS})[\s:*_]*+{_BEFORE})?([A-Za-z])(?![A-Za-z0-9])")
#: Between the letter and its option's text.
_BETWEEN = re.compile(rf"{_MARKS}(?:[.:,;!\u3001\u3002]|[-\u2013\u2014](?=\s))?{_MARKS}")
_VERDICT = re.compile(r"is (?:the )?(?:correct|right)(?: option| answer| choice)?\.?", re.IGNORECASE)
_OPTION = re.compile(r"^([A-J]): ", re.MULTILINE)
_NO_BLOCK = f"The answer was not found: it must stand alone between {_OPEN} and {_CLOSE}."
_NO_LETTER = f"The text between {_OPEN} and {_CLOSE} is not the letter of one option."


def system_message(letters: Sequence[str]) -> str:
    """Return how to answer a question with these options."""
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
    """Grade a response by its last complete answer block that says anything.

    The block holds a letter of the question's options, in either case and with brackets, a full stop or emphasis; the
    option's own text may follow it.
    """
    level = feedback_level(settings.get("feedback"), "choice")
    options, blocks = options_of(problem.problem), _blocks(response)
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
    """Return the letter that a text gives, or None."""
    text = _shown(text)
    if not (found := _LETTER.match(text)):
        return None
    letter, rest = found[1].upper(), text[found.end() :]
    rest = rest[_BETWEEN.match(rest).end() :]
    if options and letter not in options:
        return None
    return letter if not rest.strip() or _VERDICT.fullmatch(rest.strip()) or _is_own(rest, letter, options) else None


def _blocks(response: str) -> list[str]:
    """What stands between tags, whatever their case and their blanks; a block that says nothing is none."""
    response = _TAG.sub(lambda tag: _CLOSE if tag[1] else _OPEN, response)
    return [block for block in _BLOCK.findall(response) if _SAID.search(block)]


def _shown(text: str) -> str:
    """A text as it is seen: without marks of no width and tags, and with the usual form of each letter."""
    return unicodedata.normalize("NFKC", _HIDDEN.sub("", text))


def _is_own(rest: str, letter: str, options: Mapping[str, str]) -> bool:
    """Returns whether a text is that of a letter's option: the first reading decides in which it is any option's."""
    texts = {each: re.sub(rf"^{_MARKS}", "", _shown(text)) for each, text in options.items()}
    for read in _READINGS:
        rest, texts = read(rest), {each: read(text) for each, text in texts.items()}
        if rest and rest in texts.values():
            return texts.get(letter) == rest
    return False


def _unmarked(text: str) -> str:
    return " ".join(re.sub(r"\\[()\[\]]|\$|\\text(?:bf|rm)?(?=\{)", "", text).split()).strip(_AROUND).rstrip(".!")


#: Each reads what the one before it has read.
_AROUND = f" *_`{_QUOTES}"
_READINGS: Sequence[Callable[[str], str]] = (
    lambda text: " ".join(text.split()).rstrip("*_`"),
    _unmarked,
    lambda text: text.strip(f"(){{}}[].!{_AROUND}"),
    str.casefold,
)
