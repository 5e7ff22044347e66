r"""Grades answers about pictures by rules, by the kind of the reference (tasks/vision/answer_kinds.py).

An answer stands between `<answer>` tags, as RLSD's release asks for it, or in the last `\boxed{...}`. What the official
evaluations do otherwise is said at each kind; none of these is the official number where a judge belongs to it
(MathVista; docs/departures.md#pictures). Nothing in a response or a data set is evaluated as a program, no option is
chosen at random where none is named, and every verdict is right or wrong.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from selfdistill.errors import UserError
from selfdistill.tasks import choice, maths
from selfdistill.tasks.boxed import last_boxed
from selfdistill.tasks.graded import Graded
from selfdistill.tasks.maths_text import cleaned, without_fonts
from selfdistill.tasks.schema import Problem
from selfdistill.tasks.vision import answer_kinds as kinds
from selfdistill.tasks.vision.literals import text_list
from selfdistill.tasks.vision.units import value, value_in_units

_TAGGED = re.compile(r"<answer>((?:(?!</?answer>).)*)</answer>", re.DOTALL)
_TIGHT = Decimal("1e-6")  # of MathVision's official comparison of numbers
_OPEN_PLACES = 2  # of MMMU's official comparison of numbers
_NO_WORD = re.compile(r"[^\w+\-*/^=<>|.]+")
_LETTERS = re.compile(r"[^\W\d_]++(?:\s++[^\W\d_]++)*+")
#: What may stand before the letter of an option.
_NAMED = re.compile(
    r"\s*+(?:(?:the|my|final|correct|right|best)\s++)*+(?:(?:answer|option|choice)\b(?:\s++is\b)?\s*+:?\s*+){1,2}+",
    re.IGNORECASE,
)
_LARGEST = 20  # decimal places before the point of what is rounded


def grade(response: str, problem: Problem, settings: Mapping[str, Any]) -> Graded:
    """Grade a response by its answer tag or, without one, its last box; no answer is a wrong one."""
    answer = answer_of(response)
    return Graded(answer, answer is not None and is_right(answer, problem))


def answer_of(response: str) -> str | None:
    """Gives what a response gives as its answer: the last complete tag's content, out of its box, or the last box's."""
    tagged = _TAGGED.findall(response)
    if tagged and tagged[-1].strip():
        return last_boxed(tagged[-1]) or tagged[-1].strip()
    return last_boxed(response)


def is_right(answer: str, problem: Problem) -> bool:
    """Compares an answer with the reference, as its kind does. Raises UserError for a problem of unknown kind."""
    kind, reference = problem.ability, problem.answer.strip()
    if not kinds.is_kind(kind):
        raise UserError(
            f"{problem.id}: ability {kind!r} is no kind of answer; expected one of {', '.join(kinds.KINDS)}"
        )
    if kind == kinds.LETTER:
        options, right = choice.options_of(problem.problem), reference.strip("(). ")
        return _letter(answer, options) == right or _is_text_of_option(answer, right, options)
    if kind.startswith(kinds.FLOAT):
        return _equal_at(value_in_units(answer, problem.problem), reference, int(kind.removeprefix(kinds.FLOAT)))
    if kind == kinds.INTEGER:
        return _as_integers(value_in_units(answer, problem.problem), reference)
    if kind == kinds.OPEN:
        return _as_open(answer, reference, value_in_units(answer, problem.problem))
    return _COMPARED[kind](answer, reference)


def readable(reference: str) -> bool:
    """Returns whether there is anything to compare with; what a rule makes of it depends on its kind."""
    return bool(reference.strip())


def normalised(text: str) -> str:
    """Return a text without case, articles' white space and marks that are no operators, for comparison as words."""
    return " ".join(_NO_WORD.sub(" ", without_fonts(text)).casefold().rstrip(".").split())


def _letter(answer: str, options: Mapping[str, str]) -> str | None:
    r"""The letter that an answer gives, as it stands, or behind "option", in dollar signs or a font."""
    found = choice.read_letter(answer, options)
    bare = unicodedata.normalize("NFKC", without_fonts(answer)).strip().strip("$")
    return found or choice.read_letter(_NAMED.sub("", bare, count=1) if _NAMED.match(bare) else bare, options)


def _is_text_of_option(answer: str, right: str, options: Mapping[str, str]) -> bool:
    """Returns whether the answer is the right option's own text, and no other option's."""
    found = [letter for letter, text in options.items() if normalised(text) == normalised(answer)]
    return found == [right]


def _same_text(answer: str, reference: str) -> bool:
    return normalised(answer) == normalised(reference) != ""


def _text_or_maths(answer: str, reference: str) -> bool:
    """Equal as texts, or as mathematics; letters alone are words, of which math-verify takes "on" for "no"."""
    if _same_text(answer, reference):
        return True
    of_letters = all(_LETTERS.fullmatch(cleaned(without_fonts(text))) for text in (answer, reference))
    return not of_letters and maths.grade(answer, reference)


def _equal_at(ours: Decimal | None, reference: str, places: int) -> bool:
    """Both numbers, equal after rounding to so many places."""
    theirs = value(reference)
    if ours is None or theirs is None:
        return False
    if max(ours.adjusted(), theirs.adjusted(), places) > _LARGEST:  # more digits than decimals are rounded with
        return ours == theirs
    return round(ours, places) == round(theirs, places)


def _as_integers(ours: Decimal | None, reference: str) -> bool:
    """MathVista cuts the extracted answer to a whole number; here 3.7 is not 3, but 3.0 is."""
    theirs = value(reference)
    return ours is not None and theirs is not None and ours == theirs


def _as_lists(answer: str, reference: str) -> bool:
    """Members in the order of the reference; as texts or numbers."""
    try:
        ours, theirs = text_list(answer, "answer"), text_list(reference, "reference")
    except UserError:
        return False
    return len(ours) == len(theirs) > 0 and all(
        _same_text(a, b) or (value(a) is not None and value(a) == value(b)) for a, b in zip(ours, theirs, strict=True)
    )


def _as_open(answer: str, reference: str, measured: Decimal | None) -> bool:
    """MMMU's open questions: any of the reference's texts, numbers at two places.

    The official rule also takes an answer in which the reference's text is contained.
    """
    try:
        accepted = text_list(reference, "reference") if reference.startswith("[") else [reference]
    except UserError:
        accepted = [reference]
    return any(_same_text(answer, each) or _equal_at(measured, each, _OPEN_PLACES) for each in accepted)


def _short(answer: str, reference: str) -> bool:
    """ZeroBench: equal as text or as decimal numbers; containment, which some toolkits take, is not enough."""
    ours, theirs = value(answer), value(reference)
    return _same_text(answer, reference) or (ours is not None and ours == theirs)


def _tight(answer: str, reference: str) -> bool:
    """MathVision: equal as text, as numbers to 1e-6, or as mathematics."""
    ours, theirs = value(answer), value(reference)
    if ours is not None and theirs is not None:
        return abs(ours - theirs) <= _TIGHT
    return _text_or_maths(answer, reference)


_COMPARED: dict[str, Callable[[str, str], bool]] = {
    kinds.YES_NO: _same_text,
    kinds.NUMBER: lambda answer, reference: _short(answer, reference) or maths.grade(answer, reference),
    kinds.DIGITS: _text_or_maths,
    kinds.TEXT: _text_or_maths,
    kinds.LIST: _as_lists,
    kinds.SHORT: _short,
    kinds.MATHS: _tight,
}
