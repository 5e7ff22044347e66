"""Reads a YAML file of settings, and refuses what YAML would read as something else than it looks like.

Snakemake reads the files of --configfile itself, before anything of this project: what is refused here for a whole
file is found in registries, locks and plans, and in such files as far as Snakemake lets them through.
"""

import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from selfdistill.errors import UserError, shown
from selfdistill.schemas import looks_otherwise

#: Values of a configuration, every alias written out. The shipped ones together have some 2,000.
MOST_VALUES = 200_000
_PLAIN_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


def read_settings(file: str) -> Any:
    """Return what a YAML (or JSON) file of settings holds, None for an empty one.

    Raises:
        UserError: with file and line, for what is no UTF-8 or no YAML, for a key that stands twice (YAML would keep
            the last without a word), for a number that looks like something else, and for anchors that hold
            themselves or unfold to more values than any study has.
    """
    stat = os.stat(file)
    return _read(os.path.realpath(file), os.path.relpath(file), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache
def _read(file: str, name: str, _mtime: int, _size: int) -> Any:
    text = _text_of(file, name)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            return None
        _check_size(root, _node_children, name)
        _check_nodes(root, name, "")
        return loader.construct_document(root)
    except yaml.YAMLError as error:
        return _as_json(text, name, error)
    except RecursionError:
        raise UserError(f"{name}: nested too deeply to be read; no setting is deeper than a dozen levels") from None
    except ValueError as error:  # a number of more than 4,300 digits, the 45th of a month
        said = shown(str(error))[1:-1]
        raise UserError(f"{name}: not readable as YAML ({said}); mend the number, or quote what is text") from None


def check_expansion(config: Any, place: str) -> None:
    """Raise UserError for a value that holds itself or has more parts than any study; `place` says whose it is."""
    try:
        _check_size(config, _value_children, place)
    except RecursionError:
        raise UserError(f"{place}: nested too deeply; no setting is deeper than a dozen levels") from None


def _text_of(file: str, name: str) -> str:
    content = Path(file).read_bytes()
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name}, line {line}: byte {error.start + 1} is no UTF-8 ({content[error.start]:#04x}); "
            "save the file as UTF-8"
        ) from None


def _as_json(text: str, name: str, error: yaml.YAMLError) -> Any:
    """Reads a file that is no YAML as JSON, which Snakemake takes first, and which may be indented with tabs."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        if twice := [key for i, key in enumerate(keys) if key in keys[:i]]:
            raise UserError(f"{name}: {shown(twice[0])} stands twice; rename or remove one")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=unique)
    except ValueError:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or str(error)
        place = name if mark is None else f"{name}, line {mark.line + 1}"
        raise UserError(f"{place}: not readable as YAML ({' '.join(problem.split())[:200]}); mend it") from None


def _check_size(root: Any, children: Callable[[Any], Iterable[Any]], place: str) -> None:
    """Count values with every alias written out, each shared part looked at once."""
    sizes: dict[int, int | None] = {}

    def size(node: Any) -> int:
        known = sizes.get(id(node), 0)
        if known is None:
            raise UserError(f"{place}: an anchor (&) holds an alias (*) of itself; write the value out")
        if known:
            return known
        sizes[id(node)] = None
        total = 1 + sum(map(size, children(node)))
        if total > MOST_VALUES:
            raise UserError(
                f"{place}: unfolds to more than {MOST_VALUES:,} values, anchors and aliases written out; no study has "
                "so many: make it smaller"
            )
        sizes[id(node)] = total
        return total

    size(root)


def _node_children(node: yaml.Node) -> Iterable[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return (part for pair in node.value for part in pair)
    return node.value if isinstance(node, yaml.SequenceNode) else ()


def _value_children(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def _check_nodes(node: yaml.Node, file: str, path: str) -> None:
    place = f"{file}, line {node.start_mark.line + 1}: {path.removesuffix('.')}"
    if isinstance(node, yaml.ScalarNode) and node.style is None:
        if node.tag in _PLAIN_NUMBERS and (meant := looks_otherwise(node.value)):
            raise UserError(f"{place}: YAML reads {node.value} as {meant}")
    elif isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _check_nodes(each, file, path)
    elif isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            line = f"{file}, line {key.start_mark.line + 1}: {path}"
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"{line}a list or mapping is no key; keys are text")
            if key.value in seen:
                raise UserError(
                    f"{line}{key.value} stands twice; the second would silently replace the first: rename or remove one"
                )
            seen.add(key.value)
            _check_nodes(value, file, f"{path}{key.value}.")
