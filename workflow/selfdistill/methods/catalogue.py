"""Finds the shipped methods: each is one file of this folder, and nothing lists them."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from selfdistill import methods
from selfdistill.methods.method import MethodSettings
from selfdistill.methods.setting import defaults


@functools.cache
def shipped() -> dict[str, type[MethodSettings]]:
    """Return name -> the class of its settings, the names in alphabetical order.

    A method is a module of this folder that ends in the class of its settings, or in the whole method.
    """
    found = {}
    for module in sorted(pkgutil.iter_modules(methods.__path__), key=lambda each: each.name):
        content = vars(importlib.import_module(f"{methods.__name__}.{module.name}"))
        own = [each for each in content.values() if _is_method(each) and each.__module__ == content["__name__"]]
        if own:
            found[module.name] = own[-1]
    return found


def registry_entry(implementation: str) -> dict[str, Any]:
    """Return what the registry has of a shipped method: its name as implementation, and all published values."""
    kind = shipped()[implementation]
    return {"implementation": implementation, "objective": defaults(kind), **_plain(kind.published)}


def shipped_entries() -> dict[str, dict[str, Any]]:
    """Return name -> entry in the registry, of all shipped methods."""
    return {name: registry_entry(name) for name in shipped()}


def _is_method(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, MethodSettings) and bool(kind.description)


def _plain(published: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {section: dict(values) for section, values in published.items()}
