"""Classes a reference answer, which decides how it is graded and whether a rule can be trusted with it.

A problem's column `ability` has its kind. `letter`, `yes_no`, `number`, `text_with_digits` and `text` are told from the
reference alone (MMFineReason, arXiv 2601.21821, names none); benchmarks that know better have kinds of their own:
`integer`, `float_<places>` and `list` (MathVista), `open` (MMMU), `short` (ZeroBench), `maths` (MathVision).
"""

import re

LETTER, YES_NO, NUMBER, DIGITS, TEXT = "letter", "yes_no", "number", "text_with_digits", "text"
#: Those that a reference alone tells.
TOLD_APART = (LETTER, YES_NO, NUMBER, DIGITS, TEXT)
INTEGER, FLOAT, LIST, OPEN, SHORT, MATHS = "integer", "float_", "list", "open", "short", "maths"
#: All kinds; of floats each has its number of decimal places behind it.
KINDS = (*TOLD_APART, INTEGER, FLOAT, LIST, OPEN, SHORT, MATHS)

_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?%?")


def kind_of(reference: str) -> str:
    """Return the kind of a reference: one of TOLD_APART."""
    text = reference.strip()
    if re.fullmatch(r"\(?[A-Z]\)?\.?", text):
        return LETTER
    if text.casefold().rstrip(".") in ("yes", "no"):
        return YES_NO
    if any(c.isdigit() for c in text):
        return NUMBER if _NUMBER.fullmatch(text.strip("$")) else DIGITS
    return TEXT


def is_kind(name: str) -> bool:
    """Returns whether a name is that of a kind."""
    return (name in KINDS and name != FLOAT) or (name.startswith(FLOAT) and name.removeprefix(FLOAT).isdigit())
