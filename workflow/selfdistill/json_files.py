"""Reads JSON of any origin as a whole, or refuses it by one error that names the file."""

import json
import os
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError

#: Nothing that a run writes is nested deeper; what is cannot be walked through either.
_DEEPEST = 50


def parsed(text: str, where: str, then: str) -> Any:
    """Return the value of a JSON text.

    NaN and infinity, which JSON has not, are None, as our own files have them (null).

    where, then: of the error: the file (and line), and what to do. Raises UserError where it is no JSON.
    """
    try:
        value = json.loads(text, parse_constant=lambda name: None)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error.msg}); {then}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists in lists in lists
        raise UserError(f"{where}: not JSON that can be read ({type(error).__name__}: {error}); {then}") from None
    if _is_deeper(value, _DEEPEST):
        raise UserError(f"{where}: nested deeper than {_DEEPEST} levels; {then}")
    return value


def read_object(path: str | os.PathLike, then: str = "make this run again") -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises UserError: a file that cannot be read, is not JSON, or holds something else.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read it ({error}); {then}") from None
    value = parsed(text, str(path), then)
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(value).__name__}; {then}")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(each, levels - 1) for each in inside if isinstance(each, dict | list))
