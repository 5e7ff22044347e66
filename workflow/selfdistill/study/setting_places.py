"""Says in which file of a configuration a setting was given that a message is about."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from selfdistill.schemas import KeyPath
from selfdistill.study.config_files import ConfigFiles, value_at
from selfdistill.study.layer_order import LAYERS

#: Dotted keys in a message.
_KEYS = re.compile(r"(?<![\w./-])[a-z_]\w*(?:\.[\w+-]+)+")
#: A run or a cell that a message is about.
_RUN = re.compile(r"^(?:run|\w+ of) ([^\s/:]+)/([^\s/:]+)(?:/([^\s/:]+))?: ")


def with_place(message: str, config: Mapping[str, Any], files: ConfigFiles) -> str:
    """Return a message that begins with the file that holds the settings which it names.

    One about a run names keys of its settings, which may stand in any layer: where they stand is added to it.

    Args:
        message: what is wrong.
        config: the whole configuration, as it was merged.
        files: those that it was merged from.
    """
    if files.named_first(message):
        return message
    found = _RUN.match(message)
    layers = _layers_of(found, config) if found else []
    # What stands in no layer of a message about a run is a file's name or the like.
    places = [place for key in dict.fromkeys(_KEYS.findall(message)) if (place := _place(key, layers, config))]
    if not places:
        return f"{files.strongest}: {message}"
    strongest = max(places, key=lambda place: place[0])[1]
    first = files.origin(strongest, value_at(config, strongest))
    if not layers:
        return f"{first}: {message}"
    told = []
    for _, path in places:
        file = files.origin(path, value_at(config, path))
        told.append(".".join(map(str, path)) + ("" if file == first else f" in {file}"))
    return f"{first}: {message} (set by {', '.join(dict.fromkeys(told))})"


def _layers_of(run: re.Match[str], config: Mapping[str, Any]) -> list[KeyPath]:
    """The places that may hold settings of a run, weakest first."""
    task, model, variant = run.groups(default="")
    method = value_at(config, ("variants", variant, "method")) or variant
    names = {"task": task, "model": model, "variant": variant, "method": method}
    names |= {"implementation": value_at(config, ("methods", method, "implementation")) or ""}
    naming = [value_at(config, (*layer.path(names), "preset")) for layer in LAYERS if layer.names_preset]
    names["preset"] = next(filter(None, reversed(naming)), "")
    return [layer.path(names) for layer in LAYERS]


def _place(key: str, layers: Sequence[KeyPath], config: Mapping[str, Any]) -> tuple[int, KeyPath] | None:
    """How strong the place is that holds a dotted key, and the keys that lead there; None where none does."""
    for path in _split(key, config):
        return -1, path
    for strength, layer in reversed(list(enumerate(layers))):
        if value_at(config, path := (*layer, *key.split("."))) is not None:
            return strength, path
    return None


def _split(key: str, node: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The keys that a dotted one stands for, as far as they are there; names of tasks and models may hold points."""
    if not isinstance(node, Mapping):
        return
    parts = key.split(".")
    for count in range(len(parts), 0, -1):
        if (name := ".".join(parts[:count])) in node:
            further = ".".join(parts[count:])
            yield from _split(further, node[name], (*path, name))
            yield (*path, name)
            return
