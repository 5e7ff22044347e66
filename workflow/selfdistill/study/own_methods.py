"""Reads a user's own method in a process of its own, so that plans stay light."""

import dataclasses
import functools
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import sha256_file, sha256_json, write_json
from selfdistill.methods import setting
from selfdistill.methods.catalogue import shipped_entries
from selfdistill.methods.setting import defaults, fields, json_schema

#: Longest that an import may take.
_SECONDS = 300
_SAID = 300


def class_says(implementation: str, digest: str | None) -> dict[str, Any]:
    """Return what a class says of its method: `objective` (defaults), `schema` of it, and `published`.

    It is imported by a child process, once for each content of its file: what it said is kept in the user's cache.

    Args:
        implementation: package.module:Class.
        digest: sha256 of the class's file; None where it cannot be found here.

    Raises:
        UserError: for a class that cannot be imported here, and for one that is no settings.
    """
    if digest is None:
        raise UserError(
            f"{implementation}: no such module here, and its entry has no `objective`: make it importable "
            "(PYTHONPATH), or name its values in the entry"
        )
    library = sha256_json([sha256_file(setting.__file__), shipped_entries()])
    return _kept(implementation, sha256_json([implementation, digest, library]))


@functools.cache
def _kept(implementation: str, name: str) -> dict[str, Any]:
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfdistill" / "methods"
    file = folder / f"{name}.json"
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        said = _asked(implementation)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(file, said)
    except OSError:  # a cache that cannot be written costs the next plan some seconds, and nothing else
        pass
    return said


def _asked(implementation: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "selfdistill.study.own_methods", implementation]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "CUDA_VISIBLE_DEVICES": ""}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"{implementation}: importing it took longer than {_SECONDS} s; make its import light"
        ) from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(f"{implementation}: {lines[-1][:_SAID]}")
    return json.loads(done.stdout.splitlines()[-1])


def says(kind: Any) -> dict[str, Any]:
    """Return what a class says, see `class_says`. Raises UserError for one that says it not."""
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise UserError("is no dataclass; its fields are the keys of `objective`")
    values = defaults(kind)
    if missing := [field.name for field in fields(kind) if field.name not in values]:
        raise UserError(f"field {missing[0]!r} has no default; give it one, or name all values in the method's entry")
    published = getattr(kind, "published", {})
    if not (isinstance(published, Mapping) and all(isinstance(part, Mapping) for part in published.values())):
        raise UserError("`published` is no mapping of sections (teacher, hints, optimizer, ...) to their values")
    if "objective" in published:
        raise UserError("`published` has an objective; that is the defaults of its fields")
    return {"objective": values, "schema": json_schema(kind), "published": {k: dict(v) for k, v in published.items()}}


def main(implementation: str) -> int:
    """Print what a class says, as JSON; or one line on what is wrong with it. Returns an exit status."""
    module, _, name = implementation.partition(":")
    try:
        print(json.dumps(says(getattr(importlib.import_module(module), name)), allow_nan=False))
    except UserError as error:
        return _failed(str(error))
    except Exception as error:  # whatever somebody's module may do while it is imported
        return _failed(f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())}")
    return 0


def _failed(said: str) -> int:
    print(said, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
