"""The keys of a method's objective: those of a shipped loss, or those that the entry of a user's own loss names."""

import importlib.util
import os
from collections.abc import Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import known_sha256
from selfdistill.methods.catalogue import shipped
from selfdistill.methods.setting import json_schema
from selfdistill.schemas import KeyPath, checked, parsed
from selfdistill.study.config_files import ConfigFiles, value_at


class ObjectiveKeys:
    """The objective's keys and their types, of each method of a configuration."""

    def __init__(self, config: Mapping[str, Any], files: ConfigFiles):
        """config: a whole configuration; files: those that it was merged from."""
        self._config, self._files = config, files

    def schema(self, method: str) -> Mapping[str, Any]:
        """Return the JSON schema of a method's objective.

        A loss of the user's own is not imported here, so its published values also tell the types.
        """
        entry = self._config["methods"][method]
        if entry["implementation"] in shipped():
            return json_schema(shipped()[entry["implementation"]])
        # As the file has it that names the loss: what others or --config put over it is to be checked like any layer.
        found = self._files.values_at(("methods", method))
        written = [value_at(each, ("objective",)) or {} for each in found if value_at(each, ("implementation",))]
        published = written[-1] if written else {key: _from_text(value) for key, value in entry["objective"].items()}
        properties = {key: {"type": _type_of(published[key])} for key in sorted(published)}
        return {"type": "object", "additionalProperties": False, "properties": properties}

    def checked(self, method: str, values: Mapping[str, Any], at: KeyPath) -> dict[str, Any]:
        """Return the objective keys of one layer, checked; `at` are the keys that lead to them. Raises UserError."""
        try:
            return checked(values, self.schema(method), at, self._files.origin)
        except UserError as error:
            own = self._config["methods"][method]["implementation"] not in shipped()
            rule = ": its keys and their types are those of its published values" if own else ""
            raise UserError(f"{error} (method {method}{rule})") from None


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


def _from_text(value: Any) -> Any:
    return parsed(value) if isinstance(value, str) else value


def _type_of(published: Any) -> str | list[str]:
    """Return the JSON type of a published value; null stands for a number that is switched off."""
    if isinstance(published, str) and isinstance(parsed(published), float):  # 1e-4 is text to PyYAML
        return "number"
    return {bool: "boolean", int: "integer", float: "number", str: "string"}.get(type(published), ["number", "null"])
