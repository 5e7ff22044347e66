"""Builds settings as frozen dataclasses that check their values, with a JSON schema and a table of each.

A value is checked by the same code wherever it enters: from YAML and --config (`schemas.checked` against the schema of
the class), from Python and from verl's command line (the class checks itself against that schema).
"""

import dataclasses
import functools
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING
from typing import Any, ClassVar, TypeGuard, TypeVar

from selfdistill.errors import UserError
from selfdistill.schemas import canonical, checked

T = TypeVar("T")
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", type(None): "null"}
_BOUNDS = {"above": "exclusiveMinimum", "minimum": "minimum", "maximum": "maximum", "below": "exclusiveMaximum"}


def setting(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    choices: Sequence[str] = (),
    pattern: tuple[str, str] | None = None,
    added: bool = False,
    **bounds: float,
) -> Any:
    """Return a field of a settings class. Its type is that of its annotation; `float | None` may be switched off.

    Args:
        default: the published value; a list is one of text.
        meaning: one sentence for people.
        unit: for people, for example "nats".
        choices: all values that text may have.
        pattern: what text must be, in words, and as a regular expression; of a list, each item.
        added: whether it came later than runs that are to stay what they are: at its default it is no part of a run's
            settings, which name the run's state (`without_added`).
        bounds: `above`, `minimum`, `maximum`, `below`: of a number.
    """
    rules: dict[str, Any] = {_BOUNDS[name]: bound for name, bound in bounds.items()}
    if choices:
        rules["enum"] = list(choices)
    if pattern:
        rules |= dict(zip(("title", "pattern"), pattern, strict=True))
    about = {"meaning": meaning, "unit": unit, "rules": rules, "added": added}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=about)
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of settings classes: numbers are what their annotation says, and values are in range.

    Attributes:
        at: keys that lead to these settings in the configuration, for messages.
    """

    at: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        """Raise UserError for a value that the field does not take; text is read as YAML where it takes none."""
        values = {field.name: getattr(self, field.name) for field in fields(type(self))}
        plain = {name: value for name, value in values.items() if not isinstance(value, Settings)}
        for name, value in check_values(type(self), plain, self.origin()).items():
            object.__setattr__(self, name, value)

    @classmethod
    def origin(cls) -> str:
        """Return the first words of a message about these settings."""
        return "run config"


def fields(kind: type) -> list[dataclasses.Field]:
    """Return the fields of a settings class that are given to it."""
    return [field for field in dataclasses.fields(kind) if field.init]


def check_values(
    kind: type, values: Mapping[str, Any], origin: str = "run config", at: tuple[str, ...] | None = None
) -> dict[str, Any]:
    """Return values of a settings class as the class has them: numbers as numbers, in its own order.

    Args:
        kind: the class.
        values: some of its fields.
        origin: where they come from, for messages.
        at: keys that lead to them, for messages; those of the class unless others are given.

    Raises:
        UserError: for an unknown key, with the nearest valid one, and for a value of another type or out of range.
    """
    against = json_schema(kind)
    taken = checked(dict(values), against, getattr(kind, "at", ()) if at is None else at, lambda *_: origin)
    return {
        key: taken[key] if "properties" in part else canonical(taken[key], part, key)
        for key, part in against["properties"].items()
        if key in taken
    }


def from_mapping(
    kind: type[T], values: Mapping[str, Any], origin: str = "run config", at: tuple[str, ...] | None = None
) -> T:
    """Return settings from a mapping of keys, sections as mappings in it; keys that are left out have their defaults.

    Args:
        kind: the settings class.
        values: what differs from its defaults.
        origin: where they come from, for messages.
        at: keys that lead to them, for messages; those of the class unless others are given.

    Raises:
        UserError: as `check_values`, and for a key without default that is missing.
    """
    taken: dict[str, Any] = check_values(kind, values, origin, at)
    for field in fields(kind):
        if is_section(section := _hints(kind).get(field.name)) and field.name in taken:
            taken[field.name] = from_mapping(section, taken[field.name], origin)
        if field.name not in taken and field.default is field.default_factory is MISSING:
            section = getattr(kind, "at", ()) if at is None else at
            where = ".".join(section) or "top level"
            raise UserError(f"{origin}: {where}: key {field.name!r} is missing", keys=[section])
    return kind(**taken)


def is_section(kind: Any) -> TypeGuard[type]:
    """Return whether an annotation is a settings class."""
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


@functools.cache
def json_schema(kind: type) -> dict[str, Any]:
    """Return the JSON schema of a settings class. Fields that were not made by `setting` have a type alone."""
    hints = _hints(kind)
    properties = {field.name: _part(field, hints.get(field.name, Any)) for field in fields(kind)}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def defaults(kind: type) -> dict[str, Any]:
    """Return the defaults of a settings class by key, sections as mappings."""
    values = {}
    for field in fields(kind):
        if is_section(section := _hints(kind).get(field.name)):
            values[field.name] = defaults(section)
        elif field.default is not MISSING:
            values[field.name] = field.default
        elif field.default_factory is not MISSING:
            values[field.name] = field.default_factory()
    return values


def without_added(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a settings class without those of its later keys that are at their default.

    A section of which nothing is left came later as a whole, and is left out too.

    Args:
        kind: the class.
        values: of its fields, canonical; sections as mappings in it.
    """
    kept, initial = dict(values), defaults(kind)
    for field in fields(kind):
        if field.name not in kept:
            continue
        if is_section(section := _hints(kind).get(field.name)):
            kept[field.name] = without_added(section, kept[field.name])
            if values[field.name] and not kept[field.name]:
                del kept[field.name]
        elif field.metadata.get("added") and kept[field.name] == initial[field.name]:
            del kept[field.name]
    return kept


@functools.cache  # most of the time of planning, where it is asked for anew
def _hints(kind: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind)
    except Exception:  # names of somebody's own that only their type checker knows: values are then held to no type
        return {}


def _part(field: dataclasses.Field, hint: Any) -> dict[str, Any]:
    if is_section(hint):
        return json_schema(hint)
    rules = dict(field.metadata.get("rules", {}))
    if "enum" in rules:
        return rules
    if typing.get_origin(hint) is list:
        return {"type": "array", "items": {**rules, "type": "string"}} if rules else {"type": "array"}
    if typing.get_origin(hint) in (dict, Mapping) or hint is dict:
        return {"type": "object"}
    if typing.get_origin(hint) is typing.Literal:
        return {"enum": list(typing.get_args(hint))}
    kinds = typing.get_args(hint) or (hint,)
    if not all(kind in _TYPES for kind in kinds):
        return {}  # of another kind than YAML has
    names = [_TYPES[kind] for kind in kinds]
    return {"type": names[0] if len(names) == 1 else names, **rules}
