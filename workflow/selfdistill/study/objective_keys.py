"""Finds the keys of a method's objective, shipped or the user's own."""

from collections.abc import Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import shipped
from selfdistill.methods.setting import json_schema
from selfdistill.schemas import KeyPath, checked, parsed
from selfdistill.study.config_files import ConfigFiles, value_at


class ObjectiveKeys:
    """The objective's keys and their types, of each method of a configuration."""

    def __init__(self, config: Mapping[str, Any], files: ConfigFiles, own: Mapping[str, Mapping[str, Any]]):
        """config: a whole configuration; files: those that it was merged from; own: as of `Study.own_objectives`."""
        self._config, self._files, self._own = config, files, own

    def schema(self, method: str) -> Mapping[str, Any]:
        """Return the JSON schema of a method's objective.

        A loss of the user's own is not imported here: published values in its entry also tell the types.
        """
        entry = self._config["methods"][method]
        if entry["implementation"] in shipped():
            return json_schema(shipped()[entry["implementation"]])
        if method in self._own:
            return self._own[method]
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


def _from_text(value: Any) -> Any:
    return parsed(value) if isinstance(value, str) else value


def _type_of(published: Any) -> str | list[str]:
    """Return the JSON type of a published value; null stands for a number that is switched off."""
    if isinstance(published, str) and isinstance(parsed(published), float):  # 1e-4 is text to PyYAML
        return "number"
    return {bool: "boolean", int: "integer", float: "number", str: "string"}.get(type(published), ["number", "null"])
