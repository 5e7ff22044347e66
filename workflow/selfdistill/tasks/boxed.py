r"""Answers in LaTeX's ``\boxed{...}``."""

_OPEN = r"\boxed{"


def last_boxed(text: str) -> str | None:
    r"""Content of the last complete ``\boxed{...}`` (braces balanced, escaped braces ignored), or None.

    A box that never closes, as in a truncated response, does not count; an earlier complete one does.
    """
    end = len(text)
    while (start := text.rfind(_OPEN, 0, end)) >= 0:
        content = _balanced(text, start + len(_OPEN))
        if content is not None:
            return content
        end = start
    return None


def _balanced(text: str, start: int) -> str | None:
    depth, i = 1, start
    while i < len(text):
        if text[i] == "\\":
            i += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return text[start:i].strip()
        i += 1
    return None
