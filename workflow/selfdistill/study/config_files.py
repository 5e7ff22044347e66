"""Reads again the files that a configuration was merged from, for messages and for what was there before merging."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from selfdistill.errors import UserError
from selfdistill.schemas import KeyPath, parsed
from selfdistill.study.yaml_text import read_settings

#: In place of a value that is not there: null is one that is.
_ABSENT = object()


#: The registries: files of the workflow's folder config/ that a study's own configuration is merged over.
REGISTRIES = ("defaults", "models", "methods", "tasks")


class ConfigFiles:
    """The files of a configuration, those of the command line before the registries."""

    def __init__(self, files: Sequence[str | os.PathLike], elsewhere: str | None = None):
        """files: paths; the earlier of two is the stronger one. elsewhere: where values come from that none has."""
        self._files = [str(file) for file in files]
        self.elsewhere = elsewhere or ("--config" if files else "config")

    def origin(self, path: KeyPath, value: Any) -> str:
        """Return the file that holds a value under these keys, else `elsewhere`."""
        for file in self._files:
            found = value_at(read_settings(file), path, _ABSENT)
            if _same(found, value) or (isinstance(found, str) and _same(parsed(found), value)):
                return os.path.relpath(file)
        whole: Mapping[str, Any] = {}
        for file in reversed(self._files):
            whole = merged(whole, read_settings(file) or {})
        if isinstance(value, Mapping) and value_at(whole, path) == value:  # of several files: the strongest of them
            return next(
                os.path.relpath(file) for file in self._files if value_at(read_settings(file), path) is not None
            )
        return self.elsewhere

    @property
    def strongest(self) -> str:
        """Returns the file that has the last word, else `elsewhere`."""
        return os.path.relpath(self._files[0]) if self._files else self.elsewhere

    def named_first(self, message: str) -> bool:
        """Return whether a message begins with one of the files, or with `elsewhere`."""
        known = [self.elsewhere, *map(os.path.relpath, self._files), *self._files]
        return message.startswith(tuple(f"{name}{mark}" for name in known for mark in ":,"))

    def values_at(self, path: KeyPath) -> list[Any]:
        """Return what each file has under these keys, None where it has nothing."""
        return [value_at(read_settings(file), path) for file in self._files]

    def ordered(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a configuration with its keys in the order in which the files give them.

        Snakemake puts those of --config first, but the order of tasks, benchmarks and variants is that of the tables,
        and names the validation file.
        """
        like: Mapping[str, Any] = {}
        for file in reversed(self._files):
            like = merged(like, read_settings(file) or {})
        return _reordered(config, like)

    def check(self) -> None:
        """Raise UserError for a file that `read_settings` refuses, or that has keys which are no text."""
        for file in self._files:
            refuse_odd_keys(read_settings(file), os.path.relpath(file))


def registry_files(folder: str | os.PathLike) -> list[str]:
    """Return the registries in the workflow's folder config/. Raises UserError for one that is not there."""
    files = [os.path.join(folder, f"{name}.yaml") for name in REGISTRIES]
    for file in files:
        if not os.path.isfile(file):
            raise UserError(
                f"{os.path.relpath(file)}: no such file; this registry belongs to the workflow, beside its folder "
                "workflow/: run it from a whole clone of the repository (snakemake -s <clone>/workflow/Snakefile)"
            )
    return files


def value_at(node: Any, path: KeyPath, absent: Any = None) -> Any:
    """Return the value under these keys, `absent` where there is none."""
    for key in path:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return absent
    return node


def merged(weaker: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings key by key; anything else of the stronger one takes the place of the weaker one's."""
    result = dict(weaker)
    for key, value in stronger.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], value) if both else value
    return result


def refuse_odd_keys(node: Any, place: str, path: KeyPath = ()) -> None:
    """Raise UserError for a key that is no text: YAML reads an unquoted `on` as true and 3 as a number.

    Args:
        node: settings.
        place: where they were given, for the message.
        path: keys that lead to them.
    """
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if not isinstance(key, str):
            raise UserError(
                f"{place}: {'.'.join(map(str, (*path, '')))}{key}: keys must be text, this one was read as {key!r}; "
                "quote it"
            )
        refuse_odd_keys(value, place, (*path, key))


def _same(found: Any, value: Any) -> bool:
    """Returns whether two values are equal; nan is equal to itself here."""
    return found == value or (found != found and value != value)


def _reordered(node: Any, like: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    like = like if isinstance(like, Mapping) else {}
    return {key: _reordered(node[key], like.get(key)) for key in dict.fromkeys([*like, *node]) if key in node}
