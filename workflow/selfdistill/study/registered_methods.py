"""Merges the shipped methods with what the configuration changes in them and adds."""

from collections.abc import Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import registry_entry, shipped
from selfdistill.study.config_files import ConfigFiles, merged, value_at
from selfdistill.study.own_methods import class_says
from selfdistill.study.own_source import OWN, source_sha256


def with_shipped(config: Mapping[str, Any], files: ConfigFiles) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make a configuration's registry of methods whole.

    An entry takes the published values of its implementation unless the file that names the implementation also has
    values of the objective: these are then all there are.

    Args:
        config: as it was merged; anything may be wrong with it yet.
        files: those that it was merged from.

    Returns:
        The configuration, and method -> JSON schema of its objective, of classes of the user's own that were asked.

    Raises:
        UserError: as `class_says`, with the entry.
    """
    given = config.get("methods", {})
    if not isinstance(given, Mapping):
        return dict(config), {}
    methods: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for name in dict.fromkeys([*shipped(), *given]):
        entry = given.get(name, {})
        implementation = value_at(entry, ("implementation",), name)
        if isinstance(implementation, str) and isinstance(entry, Mapping) and not _names_its_values(name, entry, files):
            if implementation in shipped():
                entry = merged(registry_entry(implementation), entry)
            elif OWN.fullmatch(implementation):
                try:
                    said = class_says(implementation, source_sha256(implementation))
                except UserError as error:
                    raise UserError(f"{files.origin(('methods', name), entry)}: methods.{name}: {error}") from None
                entry = merged({"objective": said["objective"], **said["published"]}, entry)
                schemas[name] = said["schema"]
        methods[name] = entry
    return {**config, "methods": methods}, schemas


def _names_its_values(method: str, entry: Any, files: ConfigFiles) -> bool:
    """Return whether the values of a method's objective stand where its implementation is named.

    Args:
        method: its name.
        entry: its entry, merged.
        files: those that it was merged from.
    """
    written = [each for each in files.values_at(("methods", method)) if value_at(each, ("implementation",))]
    if not written:
        written = [entry] if value_at(entry, ("implementation",)) else []
    return bool(written) and value_at(written[-1], ("objective",)) is not None
