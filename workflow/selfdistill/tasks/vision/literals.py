"""Parses lists that a data set keeps as text, as a literal, never as a program."""

import ast
import json
import re

from selfdistill.errors import UserError

_LONGEST = 100_000  # characters; a list of options has some hundred
_ENTRY = re.compile(r"\s*\(?([A-Z])[).:]\s*(.*)", re.DOTALL)


def text_list(written: object, where: str) -> list[str]:
    """Return the texts of a list that is one, or is written as one in JSON or as a Python literal; none for nothing.

    Args:
        written: a list, text, or None.
        where: file, row and column, for messages.

    Raises:
        UserError: for text that is no list of texts and numbers.
    """
    if written is None or (isinstance(written, str) and not written.strip()):
        return []
    found = _literal(written) if isinstance(written, str) else written
    if not isinstance(found, list | tuple) or not all(isinstance(each, str | int | float) for each in found):
        raise UserError(f"{where}: expected a list of texts, found {str(written)[:60]!r}; mend or drop the row")
    return [str(each).strip() for each in found]


def lettered_options(written: str) -> dict[str, str]:
    """Letter -> text of options that are written as "A. ...; B. ..." (We-Math); none where they are not."""
    parts = [found for part in re.split(r";\s*(?=\(?[A-Z][).:])", written) if (found := _ENTRY.fullmatch(part.strip()))]
    return {part[1]: part[2].strip() for part in parts}


def _literal(text: str) -> object:
    if len(text) > _LONGEST:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None
