"""Removes from a response what a model thought before it answered."""

import re

from selfdistill.study.teacher_settings import THINKING

_OPEN, _CLOSE = "<think>", "</think>"
_CLOSED = re.compile(rf"{_OPEN}.*?{_CLOSE}\s*", re.DOTALL)
_SPACE = re.compile(r"\s*")


def without_thinking(text: str, how: str) -> str:
    """Return a response as it is shown.

    Args:
        text: the response.
        how: "keep" changes nothing. "remove_closed" takes out blocks that are opened and closed, with the white space
            behind them, and leaves one that is never closed. "remove" also takes out all up to a close whose block the
            chat template opened, and all from an open on that nothing closes.

    Raises:
        ValueError: for another word.
    """
    if how not in THINKING:
        raise ValueError(f"thinking {how!r} is not one of {', '.join(THINKING)}")
    if how == "keep":
        return text
    left = _without_closed(text)
    if how == "remove_closed":
        return left
    _, closed, after = left.rpartition(_CLOSE)
    left = after.lstrip() if closed else left
    return left.partition(_OPEN)[0]


def _without_closed(text: str) -> str:
    """Return _CLOSED.sub("", text), in linear time: opens behind the last close are not looked at."""
    last = text.rfind(_CLOSE)
    if last < 0:
        return text
    end = _SPACE.match(text, last + len(_CLOSE)).end()
    return _CLOSED.sub("", text[:end]) + text[end:]
