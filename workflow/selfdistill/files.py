"""Whole files or none: atomic writes, digests."""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary neighbour of `path` that becomes `path` on success and disappears on failure.

    The block may write a file or make a folder there. An existing file is replaced in one step; an existing folder is
    moved aside first, so a kill between the two steps leaves the old or the new one, never a mixture.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    temporary = holder / path.name
    try:
        yield temporary
        if path.is_dir():
            path.rename(holder / "replaced")
        temporary.replace(path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def link_or_copy(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Make `target` the same file where both share a file system (weights take no space twice), else a copy.

    For files that are replaced as a whole, never changed in place.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file as a whole (UTF-8)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write JSON as a whole, indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256_file(path: str | os.PathLike) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Hex SHA-256 of a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def known_sha256(path: str | os.PathLike) -> str:
    """Hex SHA-256 of a file's bytes, read once for each size and time of change that the file has."""
    stat = os.stat(path)
    return _known_sha256(os.fspath(path), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache
def _known_sha256(path: str, _mtime: int, _size: int) -> str:
    return sha256_file(path)
