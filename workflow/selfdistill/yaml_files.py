"""Reads YAML of any origin: a mapping of bounded size, or one error that names the file."""

from typing import Any

import yaml

from selfdistill.errors import UserError
from selfdistill.texts import one_line

#: Values of a run's config, aliases spelt out, at most: they may stand for billions, or have no end.
MOST_VALUES = 10_000


def mapping_of(text: str, where: str, then: str = "make this run again") -> dict[Any, Any]:
    """Return the mapping in a YAML text.

    Args:
        where: the file, for the error.
        then: what to do, for the error.

    Raises:
        UserError: no YAML, no mapping, or one of more than MOST_VALUES values.
    """
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: the 45th of a month
        said = one_line(str(error)) or type(error).__name__
        raise UserError(f"{where}: not YAML ({said}); {then}") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: expected keys and their values; {then}")
    if _values(content) > MOST_VALUES:
        raise UserError(f"{where}: more than {MOST_VALUES} values, aliases spelt out; {then}")
    return content


def _values(content: Any) -> int:
    """Values in lists and mappings inside one another, counted to just above MOST_VALUES: there may be no end."""
    count, waiting = 0, [content]
    while waiting and count <= MOST_VALUES:
        each = waiting.pop()
        count += 1
        waiting += each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
    return count
