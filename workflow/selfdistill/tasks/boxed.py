r"""Answers in LaTeX's ``\boxed{...}``."""

import re

# A box (backslashes in front of it belong to it), an escaped character, or a brace.
_TOKEN = re.compile(r"\\+boxed\{|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""Content of the last complete ``\boxed{...}`` (braces balanced, escaped braces ignored), or None.

    A box that never closes, as in a truncated response, does not count; an earlier complete one does. Takes time linear
    in the text, also where a degenerate policy opens thousands of boxes.
    """
    open_braces: list[tuple[int, bool]] = []  # (where the content starts, whether it is a box)
    last: tuple[int, int] | None = None
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark.endswith("boxed{"):
            open_braces.append((token.end(), True))
        elif mark == "{":
            open_braces.append((token.end(), False))
        elif mark == "}" and open_braces:
            start, boxed = open_braces.pop()
            if boxed and (last is None or start > last[0]):
                last = start, token.start()
    return None if last is None else text[slice(*last)].strip()
