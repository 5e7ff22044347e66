"""Says in which file of a configuration a setting was given that a refusal is about."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfdistill.errors import UserError
from selfdistill.schemas import KeyPath
from selfdistill.study.config_files import ConfigFiles, value_at
from selfdistill.study.layer_order import LAYERS

_ABSENT = object()
_NO_LAYER = -1  # the strength of what stands in the configuration itself


@contextlib.contextmanager
def about(task: str, model: str, variant: str = "") -> Iterator[None]:
    """Let refusals say which run's settings they are about, but for those that say it already."""
    try:
        yield
    except UserError as error:
        error.cell = error.cell or (task, model, variant)
        raise


def with_place(error: UserError, config: Mapping[str, Any], files: ConfigFiles) -> str:
    """Return a refusal's message behind the file that holds the settings which it is about.

    One about a run has keys of its settings, which may stand in any layer: where they stand is added to it.

    Args:
        error: what is wrong.
        config: the whole configuration, as it was merged.
        files: those that it was merged from.
    """
    message = str(error)
    if files.named_first(message):
        return message
    layers = _layers_of(error.cell, config) if error.cell else []
    places = [place for key in dict.fromkeys(error.keys) if (place := _place(key, layers, config))]
    if not places:
        return f"{files.strongest}: {message}"
    strongest = max(places, key=lambda place: place[0])[1]
    first = files.origin(strongest, value_at(config, strongest))
    told = []
    for strength, path in places:
        if strength != _NO_LAYER:
            file = files.origin(path, value_at(config, path))
            told.append(".".join(map(str, path)) + ("" if file == first else f" in {file}"))
    return f"{first}: {message}" + (f" (set by {', '.join(told)})" if told else "")


def _layers_of(cell: Sequence[str], config: Mapping[str, Any]) -> list[KeyPath]:
    """The places that may hold settings of a run, weakest first."""
    task, model, variant = cell
    method = value_at(config, ("variants", variant, "method")) or variant
    names = {"task": task, "model": model, "variant": variant, "method": method}
    names |= {"implementation": value_at(config, ("methods", method, "implementation")) or ""}
    naming = [value_at(config, (*layer.path(names), "preset")) for layer in LAYERS if layer.names_preset]
    names["preset"] = next(filter(None, reversed(naming)), "")
    return [layer.path(names) for layer in LAYERS]


def _place(key: KeyPath, layers: Sequence[KeyPath], config: Mapping[str, Any]) -> tuple[int, KeyPath] | None:
    """How strong the place is that holds a setting, and the keys that lead there; None where none does.

    No section of a run has the name of one of the configuration. Of what is missing there, the section is the place.
    """
    for count in range(len(key), 0, -1):
        if value_at(config, key[:count], _ABSENT) is not _ABSENT:
            return _NO_LAYER, key[:count]
    for strength, layer in reversed(list(enumerate(layers))):
        if value_at(config, path := (*layer, *key)) is not None:
            return strength, path
    return None
