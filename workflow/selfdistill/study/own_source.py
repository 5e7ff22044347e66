"""Finds the file of a user's own loss, which planning does not import."""

import importlib.util
import os
import re

from selfdistill.errors import UserError
from selfdistill.files import known_sha256

#: package.module:Class
OWN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def source_sha256(implementation: str) -> str | None:
    """Return the sha256 of the file of a user's own loss, so that an edit retrains its runs.

    None where it is not importable here. Nothing but the packages around the module is imported. Raises UserError for
    a module that has no file of its own.
    """
    module = implementation.partition(":")[0]
    if module.partition(".")[0] == "__main__":
        raise UserError(f"{implementation}: __main__ is another module in every job; name one that can be imported")
    try:
        found = importlib.util.find_spec(module)
    except ImportError:
        return None
    except Exception as error:  # the packages around it are imported, and may raise anything
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(f"{implementation}: cannot find this module ({said}); name one that can be imported") from None
    if found is None or found.origin is None:
        return None
    if not found.has_location:
        raise UserError(f"{implementation}: this module is built into Python and holds no loss; name a class of yours")
    return known_sha256(found.origin) if os.path.isfile(found.origin) else None
