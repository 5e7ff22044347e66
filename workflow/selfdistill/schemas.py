"""Checking configuration against the JSON schemas of workflow/schemas/, with messages for the person who wrote it."""

import copy
import datetime
import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from selfdistill.errors import UserError

KeyPath = tuple[str | int, ...]  # keys that lead to a value

_FOLDER = Path(__file__).parents[1] / "schemas"
_EXPECTED = {"enum": "one of {}", "type": "a value of type {}", "minimum": "at least {}", "maximum": "at most {}"}
_EXPECTED |= {"exclusiveMinimum": "more than {}", "exclusiveMaximum": "less than {}", "minItems": "at least {} item"}


@functools.cache
def schema(name: str) -> dict[str, Any]:
    """The schema in workflow/schemas/<name>.schema.yaml."""
    return yaml.safe_load((_FOLDER / f"{name}.schema.yaml").read_text(encoding="utf-8"))


def checked(
    value: Any,
    against: Mapping[str, Any],
    at: KeyPath = (),
    origin: Callable[[KeyPath, Any], str] = lambda *_: "config",
) -> Any:
    """A copy of `value` that satisfies a schema.

    Text that stands where a number, a boolean, null or a list is expected is read as YAML first: Snakemake hands over
    everything nested in --config as text, and PyYAML takes 1e-4 for text. A day without quotes, which YAML makes a
    date, is text again.

    Args:
        value: the value.
        against: the schema.
        at: keys that lead to the value in the whole configuration, for the message.
        origin: from keys and value to where it was written (a file, "--config"), for the message.

    Raises:
        UserError: naming place, key, what was expected and, for an unknown key, the nearest valid one.
    """
    value = copy.deepcopy(value)
    validator = Draft202012Validator(against, registry=_registry())
    for error in list(validator.iter_errors(value)):
        if error.validator == "type" and isinstance(error.instance, str) and error.absolute_path:
            *parents, last = error.absolute_path
            functools.reduce(lambda node, key: node[key], parents, value)[last] = parsed(error.instance)
        elif type(error.instance) is datetime.date and error.absolute_path:
            *parents, last = error.absolute_path
            functools.reduce(lambda node, key: node[key], parents, value)[last] = error.instance.isoformat()
    # Unknown keys first: they explain most of what else is wrong.
    errors = sorted(validator.iter_errors(value), key=lambda e: (e.validator != "additionalProperties", e.json_path))
    if errors:
        raise UserError(_message(errors[0], value, at, origin))
    return value


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that looks most like `name`, or "" where none is known."""
    return next(iter(difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.0)), "")


def canonical(value: Any, against: Mapping[str, Any], at: str) -> Any:
    """A complete value in the schema's order of keys, numbers as floats where the schema says number.

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
    """Text as YAML, or as a number that YAML 1.1 does not know for one (1e-4), or as it is."""
    try:
        value = yaml.safe_load(text)
        return float(value) if isinstance(value, str) else value
    except (yaml.YAMLError, ValueError):
        return text


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
            return f"{place}: unknown key {unknown!r}; no key is valid here"
        return (
            f"{place}: unknown key {unknown!r}; the nearest valid key is {nearest(unknown, known)!r} "
            f"(valid: {', '.join(known)})"
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
        return f"{place}: key {missing!r} is missing"
    if error.validator == "pattern":
        return f"{place}: expected {error.schema['title']}, found {error.instance!r}"
    expected = error.validator_value
    if isinstance(expected, list):
        expected = ", ".join(map(str, expected))
    if error.validator in _EXPECTED:
        return f"{place}: expected {_EXPECTED[error.validator].format(expected)}, found {error.instance!r}"
    return f"{place}: {error.message}"


def _section(path: KeyPath) -> str:
    return ".".join(map(str, path)) or "top level"
