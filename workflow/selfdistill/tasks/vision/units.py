r"""Reads a number with its unit behind it, where the question itself says that this is the unit.

Of "How long is it? (Unit: cm)" the answer 12 is as right as 12 cm, 12\,\text{cm} and 12cm, and 12 m is not.
"""

import re
from decimal import Decimal

from selfdistill.tasks.maths_text import cleaned, number, without_fonts

#: As MathVista's questions end.
_STATED = re.compile(r"\(Unit: ([^()]{1,40})\)")
_WITH_UNIT = re.compile(r"([-+]?\s?(?:[\d,]*\d)?(?:\.\d+)?)(?:\s|\\[ ,;:!])*(\D.{0,60})", re.DOTALL)
_NAMED = re.compile(r"(?:\\?[a-zA-Z]{1,20}\s*)?(?:=|\\approx(?![a-zA-Z])|\u2248)\s*(.*)", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]+(?:\^?\d)?|[$%/]")
_NUMBER_APART = re.compile(r"(?<![\w^{])\d")
#: Signs that numbers are read without, as words.
_SIGNS = {"dollar": "$", "usd": "$", "percent": "%"}
_ALWAYS = ("%", "degree")


def value(text: str) -> Decimal | None:
    """Return a plain number, without a dollar or percent sign and what is written round it; None where it is none."""
    text = cleaned(text).strip("$").removesuffix("%").removesuffix("\\")
    return number(text.strip())


def value_in_units(answer: str, question: str) -> Decimal | None:
    """The number of an answer (12, x = 12), alone or in the unit of its question; None for another one, or no number.

    The unit is what the question states in brackets; of one that states none, any words that are in it too.
    """
    text = cleaned(without_fonts(answer))
    text = named[1] if (named := _NAMED.fullmatch(text)) else text
    if (found := value(text)) is not None:
        return found
    if not (parts := _WITH_UNIT.fullmatch(text)):
        return None
    unit, stated = _words(parts[2]), _STATED.findall(question)
    if not unit or _NUMBER_APART.search(parts[2]):
        return None
    known = set(unit) <= {*_ALWAYS, *_words(question)} if not stated else unit in ([each] for each in _ALWAYS)
    return value(parts[1]) if known or unit in [_words(each) for each in stated] else None


def _words(text: str) -> list[str]:
    """Words and signs of a unit, small, each in the singular: square centimetres and cm^2 are two units."""
    plain = cleaned(without_fonts(text)).casefold().replace("{", "").replace("}", "").replace("\\", "")
    found = (each.replace("^", "") for each in _WORD.findall(plain))
    return [_SIGNS.get(each, each) for each in (e[:-1] if len(e) > 2 and e.endswith("s") else e for e in found)]
