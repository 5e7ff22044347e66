"""Checks configuration against the JSON schemas of workflow/schemas/, with messages for the person who wrote it."""

import copy
import datetime
import difflib
import functools
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from selfdistill.errors import UserError, shown

KeyPath = tuple[str | int, ...]  # keys that lead to a value

_FOLDER = Path(__file__).parents[1] / "schemas"
_EXPECTED = {"enum": "one of {}", "type": "a value of type {}", "minimum": "at least {}", "maximum": "at most {}"}
_EXPECTED |= {"exclusiveMinimum": "more than {}", "exclusiveMaximum": "less than {}", "minItems": "at least {} item"}
#: Whole numbers that libraries take: those of 64 bits.
_LARGEST = 2**63 - 1
_OCTAL = re.compile(r"[-+]?0[0-7_]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_LONGEST = 200
_WHOLE = "; a config file stands in place of config/demo.yaml: complete it, or give it after the one that it adds to"
_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("no_point")
def _has_no_point(value: Any) -> bool:
    """JSON Schema takes 1.0 for an integer; a seed names a folder, as it is written."""
    return not isinstance(value, float)


def _is_whole(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


#: As the schema language has it, but for 1.0, which is no integer here.
_Strict = extend(Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_whole))


@functools.cache
def schema(name: str) -> dict[str, Any]:
    """Return the schema in workflow/schemas/<name>.schema.yaml."""
    if not _FOLDER.is_dir():
        raise UserError(
            f"{_FOLDER}: no such folder. The library was installed without the workflow (from a wheel): configurations "
            "are read in a clone of the repository, where it is installed with pip install --editable"
        )
    found = yaml.safe_load((_FOLDER / f"{name}.schema.yaml").read_text(encoding="utf-8"))
    found.pop("$schema", None)  # at a reference it would take the place of the validator's own types
    return found


def checked(
    value: Any,
    against: Mapping[str, Any],
    at: KeyPath = (),
    origin: Callable[[KeyPath, Any], str] = lambda *_: "config",
) -> Any:
    """Return a copy of `value` that satisfies a schema.

    Text that stands where a number, a boolean, null or a list is expected is read as YAML first: Snakemake hands over
    everything nested in --config as text, and PyYAML takes 1e-4 for text. 3.0 is 3 where an integer is expected. A day
    without quotes, which YAML makes a date, is text again.

    Args:
        value: the value.
        against: the schema.
        at: keys that lead to the value in the whole configuration, for the message.
        origin: from keys and value to where it was written (a file, "--config"), for the message.

    Raises:
        UserError: naming place, key, what was expected and, for an unknown key, the nearest valid one; also for a
            number that is not finite, which would pass every bound.
    """
    value = copy.deepcopy(value)
    validator = Draft202012Validator(against, registry=_registry(), format_checker=_FORMATS)
    for error in list(_Strict(against, registry=_registry()).iter_errors(value)):
        if error.validator != "type" or not error.absolute_path:
            continue
        found = parsed(error.instance) if isinstance(error.instance, str) else error.instance
        found = found.isoformat() if type(error.instance) is datetime.date else found
        if "integer" in error.validator_value and isinstance(found, float) and found.is_integer():
            found = found if "format" in error.schema else int(found)
        *parents, last = error.absolute_path
        functools.reduce(lambda node, key: node[key], parents, value)[last] = found
    for path, number in _numbers(value, ()):
        if not math.isfinite(number) or (abs(number) > _LARGEST and isinstance(number, int)):
            raise UserError(
                f"{origin((*at, *path), number)}: {_section((*at, *path))}: expected a finite number, whole ones of 64 "
                f"bits, found {shown(number)}; write one",
                keys=[(*at, *path)],
            )
    # Unknown keys first: they explain most of what else is wrong.
    errors = sorted(validator.iter_errors(value), key=lambda e: (e.validator != "additionalProperties", e.json_path))
    if errors:
        raise UserError(_message(errors[0], value, at, origin), keys=[(*at, *errors[0].absolute_path)])
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name of the same letters, else the one that looks most like `name`, or "" where none is known."""
    names = [str(k) for k in known]
    swapped = [k for k in names if sorted(k) == sorted(str(name))]
    return next(iter(difflib.get_close_matches(str(name), swapped or names, n=1, cutoff=0.0)), "")


def canonical(value: Any, against: Mapping[str, Any], at: str) -> Any:
    """Return a complete value in the schema's order of keys, numbers as floats where the schema says number.

    Equal settings thus have one representation, however they were written. Raises UserError for a missing key.
    """
    if "properties" in against:
        missing = [key for key in against["properties"] if key not in value]
        if missing:
            raise UserError(f"{at}: no value for {missing[0]!r} in any layer; give one in `defaults`")
        return {key: canonical(value[key], sub, f"{at}.{key}") for key, sub in against["properties"].items()}
    if "number" in against.get("type", ()) and value is not None:
        return float(value)
    return int(value) if against.get("type") == "integer" else value


def parsed(text: str) -> Any:
    """Return text as YAML, or as a number that YAML 1.1 does not know for one (1e-4), or as it is.

    A number that YAML would read as another one than it looks like stays text.
    """
    if looks_otherwise(text):
        return text
    try:
        value = yaml.safe_load(text)
        return float(value) if isinstance(value, str) else value
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def looks_otherwise(text: str) -> str | None:
    """Return what YAML makes of a number that looks like another one, and what to write; None where it does not.

    YAML 1.1 reads 010 as 8, and 1:30 as 90.
    """
    if _OCTAL.fullmatch(text):
        plain = text.replace("_", "")
        return f"{int(plain, 8)}, in base 8; write {int(plain)}, or {int(plain, 8)} if that is meant"
    if _BASE_60.fullmatch(text):
        return f"{yaml.safe_load(text)}, in base 60; write the number, or quote the text"
    return None


def _numbers(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, int | float]]:
    """All numbers in a value, with the keys that lead to them."""
    if isinstance(value, Mapping | list):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _numbers(part, (*path, key))
    elif isinstance(value, int | float):
        yield path, value


@functools.cache
def _registry() -> Registry:
    names = [path.name.removesuffix(".schema.yaml") for path in _FOLDER.glob("*.schema.yaml")]
    resources = [(f"{name}.schema.yaml", Resource(schema(name), DRAFT202012)) for name in names]
    # References inside a schema that is being checked are relative to its own, nameless, place.
    return Registry().with_resources(resources)


def _message(error: ValidationError, value: Any, at: KeyPath, origin: Callable[[KeyPath, Any], str]) -> str:
    path = (*at, *error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(key for key in error.instance if key not in known)
        place = f"{origin((*path, unknown), error.instance[unknown])}: {_section(path)}"
        if not known:
            return f"{place}: unknown key {shown(unknown)}; no key is valid here"
        parts = {name: part for name, part in known.items() if isinstance(part, Mapping)}
        inside = next((name for name, part in parts.items() if unknown in part.get("properties", ())), None)
        return (
            f"{place}: unknown key {shown(unknown)}; "
            + (f"it is a key of {inside!r}" if inside else f"the nearest valid key is {nearest(unknown, known)!r}")
            + f" (valid: {', '.join(known)})"
        )
    if (
        "propertyNames" in error.absolute_schema_path
    ):  # the error's instance is a name, and its path leads to the section
        section = functools.reduce(lambda node, key: node[key], error.absolute_path, value)
        place = f"{origin((*path, error.instance), section[error.instance])}: {_section(path)}"
    else:
        place = f"{origin(path, error.instance)}: {_section(path)}"
    if error.validator == "required":
        missing = next(key for key in error.validator_value if key not in error.instance)
        return f"{place}: key {missing!r} is missing{_WHOLE if path == ('matrix',) else ''}"
    if error.validator == "pattern":
        return f"{place}: expected {error.schema['title']}, found {shown(error.instance)}"
    if error.validator == "format":
        return f"{place}: expected a whole number, found {error.instance!r}; write {int(error.instance)}"
    expected = error.validator_value
    if isinstance(expected, list):
        expected = ", ".join(map(str, expected))
    if error.validator == "type":
        expected = expected.replace("array", "list").replace("object", "mapping")  # as YAML and Python say
    if error.validator in _EXPECTED:
        found = f"found {shown(error.instance)}{_why(error)}"
        return f"{place}: expected {_EXPECTED[error.validator].format(expected)}, {found}"
    told = error.message if len(error.message) <= _LONGEST else f"not valid by the schema's {error.validator!r}"
    return f"{place}: {told}"


def _why(error: ValidationError) -> str:
    """Returns what YAML has to do with a value that is of another type than it looks like; "" where nothing."""
    found = error.instance
    if isinstance(found, str):
        meant = looks_otherwise(found)
        return f", which YAML reads as {meant}" if meant and error.validator == "type" else ""
    if error.validator != "enum" and not (error.validator == "type" and "string" in error.validator_value):
        return ""
    if isinstance(found, bool):
        return " (YAML reads an unquoted yes, no, on, off, true, false so; quote the word)"
    if isinstance(found, int | float | datetime.date):
        return " (quote what is text)"
    return " (YAML reads null, ~ and nothing at all so)" if found is None else ""


def _section(path: KeyPath) -> str:
    keys = (str(part) for part in path)
    return ".".join(key if len(key) <= _LONGEST else f"{key[:_LONGEST]}..." for key in keys) or "top level"
