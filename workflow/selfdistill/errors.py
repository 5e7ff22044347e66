"""Defines the one exception that a user is meant to read, and how it shows a value."""

from collections.abc import Iterable
from typing import Any

from selfdistill.texts import reportable, shortened

_LONGEST = 200  # characters of a value


class UserError(Exception):
    """Bad config, data, model or machine: names the file, key or row, what was expected, and what to do.

    Scripts print its message without a traceback; everything else that is raised is a bug of ours. Whatever value it
    quotes, it has no secrets, nothing unseen, and some thousand characters at most.

    Attributes:
        keys: of each setting that it is about, the keys that lead to it in the configuration, or in the settings of
            the run that it is about. Whoever knows the files of a configuration names those that hold them.
        cell: that run's task, model and variant, "" where it is about no variant; empty where it is about no run.
    """

    def __init__(self, message: object = "", *, keys: Iterable[str | tuple[str | int, ...]] = ()):
        """message: for people; keys: as in the attribute, or with points between them where no name has one."""
        super().__init__(reportable(str(message)))
        self.keys = [tuple(key.split(".")) if isinstance(key, str) else key for key in keys]
        self.cell: tuple[str, ...] = ()

    def behind(self, place: str) -> "UserError":
        """Return the same refusal with a place before its message."""
        found = UserError(f"{place}: {self}", keys=self.keys)
        found.cell = self.cell
        return found


def shown(value: Any) -> str:
    """Return a value as Python writes it, shortened to some 200 characters: a message is to be read."""
    try:
        return shortened(repr(value), _LONGEST)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
