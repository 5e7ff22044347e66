"""The files that a configuration was merged from, read again for messages and for what was there before merging."""

import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from selfdistill.errors import UserError
from selfdistill.schemas import KeyPath, parsed


class ConfigFiles:
    """The files of a configuration, those of the command line before the registries."""

    def __init__(self, files: Sequence[str | os.PathLike]):
        """files: paths; the earlier of two is the stronger one."""
        self._files = [str(file) for file in files]

    def origin(self, path: KeyPath, value: Any) -> str:
        """Return the file that holds a value under these keys, else "--config"."""
        for file in self._files:
            found = value_at(_read(file), path)
            if found == value or (isinstance(found, str) and parsed(found) == value):
                return os.path.relpath(file)
        return "--config" if self._files else "config"

    def values_at(self, path: KeyPath) -> list[Any]:
        """Return what each file has under these keys, None where it has nothing."""
        return [value_at(_read(file), path) for file in self._files]

    def ordered(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration with its keys in the order in which the files give them.

        Snakemake puts those of --config first, but the order of tasks, benchmarks and variants is that of the tables,
        and names the validation file.
        """
        like: Mapping[str, Any] = {}
        for file in reversed(self._files):
            like = merged(like, _read(file) or {})
        return _reordered(config, like)

    def refuse_repeated_keys(self) -> None:
        """Raise UserError for a key that a file gives twice: YAML keeps the last without a word."""
        for file in self._files:
            _refuse_repeated_keys(file)


def value_at(node: Any, path: KeyPath) -> Any:
    """Return the value under these keys, None where there is none."""
    for key in path:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return None
    return node


def merged(weaker: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings key by key; anything else of the stronger one takes the place of the weaker one's."""
    result = dict(weaker)
    for key, value in stronger.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def refuse_odd_keys(node: Any, path: KeyPath = ()) -> None:
    """Raise UserError for a key that is no text: YAML reads an unquoted `on` as true and 3 as a number."""
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if not isinstance(key, str):
            raise UserError(f"{'.'.join((*path, ''))}{key}: keys must be text, this one was read as {key!r}; quote it")
        refuse_odd_keys(value, (*path, key))


@functools.lru_cache
def _read(file: str) -> Any:
    return yaml.safe_load(Path(file).read_text(encoding="utf-8"))


def _reordered(node: Any, like: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    like = like if isinstance(like, Mapping) else {}
    return {key: _reordered(node[key], like.get(key)) for key in dict.fromkeys([*like, *node]) if key in node}


def _refuse_repeated_keys(file: str) -> None:
    def visit(node: yaml.Node | None, path: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise UserError(
                    f"{os.path.relpath(file)}, line {key.start_mark.line + 1}: {path}{key.value} stands twice; the "
                    "second would silently replace the first: rename or remove one"
                )
            seen.add(key.value)
            visit(value, f"{path}{key.value}.")

    visit(yaml.compose(Path(file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader), "")
