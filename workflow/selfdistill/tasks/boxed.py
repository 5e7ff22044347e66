r"""Finds answers in LaTeX's ``\boxed{...}``."""

import re

# A run of backslashes, with the opening of a box where one follows; a brace; what nobody sees; text that somebody does.
# Quantifiers are possessive: no text makes a pattern look at a character more than a few times.
_TOKEN = re.compile(
    r"(?P<slashes>\\++)(?P<box>boxed\s*+\{)?|(?P<brace>[{}])|(?P<blank>[\s$~\u200b\u2060\ufeff]++)|[^\\{}]++"
)
# Commands that show nothing by themselves, as in \boxed{\text{ }} or \boxed{\,}.
_UNSEEN = re.compile(
    r"(?:[ ,;:!]|(?:q?quad|text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|left\.?|right\.?|displaystyle)"
    r"(?![a-zA-Z]))"
)


def boxed(answer: str) -> str:
    r"""Return an answer in its box."""
    return f"\\boxed{{{answer}}}"


def last_boxed(text: str) -> str | None:
    r"""Content of the last complete ``\boxed{...}`` that holds something (balanced, escaped braces ignored), or None.

    A box that never closes, as in a truncated response, does not count, nor does an empty one, as in a repeated
    instruction; an earlier one does. White space may stand before the brace, as LaTeX has it; ``\boxed 5`` and
    ``\fbox{5}`` are no boxes. Takes time linear in the text, also where a degenerate policy opens thousands of boxes.
    """
    open_braces: list[tuple[int, bool]] = []  # (where the content starts, whether it is a box)
    last: tuple[int, int] | None = None
    seen = -1  # where the last thing stands that a reader sees
    position = 0
    while token := _TOKEN.match(text, position):
        position = token.end()
        if token["box"]:
            open_braces.append((position, True))
        elif token["slashes"]:
            if len(token["slashes"]) % 2:  # the last one belongs to what follows
                if unseen := _UNSEEN.match(text, position):
                    position = unseen.end()
                    continue
                position += 1
            else:
                continue  # line breaks only
            seen = position - 1
        elif token["brace"] == "{":
            open_braces.append((position, False))
        elif token["brace"]:
            if open_braces:
                start, boxed = open_braces.pop()
                if boxed and seen >= start and (last is None or start > last[0]):
                    last = start, token.start()
        elif not token["blank"]:
            seen = token.start()
    return None if last is None else text[slice(*last)].strip()
