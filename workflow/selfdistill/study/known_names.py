"""Refuses a name that no section of the configuration knows."""

from collections.abc import Collection, Mapping
from typing import Any

from selfdistill.errors import UserError, shown
from selfdistill.schemas import KeyPath, nearest
from selfdistill.study.config_files import ConfigFiles, value_at


class KnownNames:
    """The names that a configuration gives to tasks, models, methods and variants."""

    def __init__(self, config: Mapping[str, Any], files: ConfigFiles, variants: Collection[str]):
        """config, files: the configuration and where it was written; variants: the names of all variants."""
        self._config, self._files, self._variants = config, files, variants

    def check(self, axis: str, name: str, at: KeyPath) -> None:
        """Raise UserError unless `name` is one of an axis ("tasks", "methods", ...); `at` are the keys that hold it."""
        known = self._variants if axis == "variants" else self._config[axis]
        self.check_one_of(axis.removesuffix("s"), name, known, at)

    def check_one_of(self, what: str, name: str, known: Collection[str], at: KeyPath, more: str = "") -> None:
        """Raise UserError unless a name is known.

        Args:
            what: the name's kind in the singular, for the message.
            name: the name.
            known: all valid names.
            at: keys that lead to the name.
            more: is added to the list of valid names in the message.

        Raises:
            UserError: with the place and the nearest known name.
        """
        if name not in known:
            raise UserError(
                f"{self._files.origin(at, value_at(self._config, at))}: {'.'.join(map(str, at))}: unknown {what} "
                f"{shown(name)}; the nearest known one is {nearest(name, known)!r} (known: {', '.join(known)}{more})"
            )
