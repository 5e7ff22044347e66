"""Defines the one exception that a user is meant to read, and how it shows a value."""

from typing import Any

from selfdistill.texts import reportable, shortened

_LONGEST = 200  # characters of a value


class UserError(Exception):
    """Bad config, data, model or machine: names the file, key or row, what was expected, and what to do.

    Scripts print its message without a traceback; everything else that is raised is a bug of ours. Whatever value it
    quotes, it has no secrets, nothing unseen, and some thousand characters at most.
    """

    def __init__(self, message: object = ""):
        super().__init__(reportable(str(message)))


def shown(value: Any) -> str:
    """Return a value as Python writes it, shortened to some 200 characters: a message is to be read."""
    try:
        return shortened(repr(value), _LONGEST)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
