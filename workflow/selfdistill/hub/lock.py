"""Reads and writes config/hub.lock.yaml: the commit and the hashes to which files of the hub are held.

Read when something is planned, so nothing of the hub's client is imported here; `selfdistill.hub.client` makes entries.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from selfdistill.errors import UserError
from selfdistill.files import sha256_file, write_text
from selfdistill.schemas import checked, schema

LOCK_FILE = "config/hub.lock.yaml"
DATASETS, MODELS = "datasets", "models"
_CHUNK = 1 << 20
_HEAD = """\
# What files of the hub are held to: commit of each repository, size and hash of each file (the hub's own: sha256, or
# for small files git's sha1 of the blob). Made by `snakemake lock --configfile <yours>`; belongs under version control.
# An entry that is here is kept. To move on to what the hub has now, delete the entry and lock again.
"""

Lock = Mapping[str, Mapping[str, Any]]


def read_lock(path: str | os.PathLike = LOCK_FILE) -> dict[str, dict[str, Any]]:
    """Return both parts, each "<owner>/<name>@<revision>" -> {commit, files: path -> {size, sha256 or git_sha1}}.

    Empty where there is no file. Raises UserError for one that is no YAML, or not in the schema hub_lock.
    """
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        first = " ".join(str(error).split())
        raise UserError(f"{path}: not readable as YAML ({first}); restore it, or delete it and lock again") from None
    if found is not None:
        found = checked(found, schema("hub_lock"), origin=lambda *_: str(path))
    return {kind: dict((found or {}).get(kind) or {}) for kind in (DATASETS, MODELS)}


def write_lock(lock: Lock, path: str | os.PathLike = LOCK_FILE) -> None:
    """Write a lock as a whole, sorted; the same lock gives the same bytes."""
    text = yaml.safe_dump({kind: dict(lock[kind]) for kind in (DATASETS, MODELS)}, sort_keys=True, width=120)
    write_text(path, _HEAD + text)


def entry_name(hub: Mapping[str, str]) -> str:
    """Names the entry of a repository: "<owner>/<name>@<revision>"."""
    return f"{hub['id']}@{hub['revision']}"


def hub_of(name: str) -> dict[str, str]:
    """Repository and revision from an entry's name."""
    return dict(zip(("id", "revision"), name.split("@", 1), strict=True))


def locked_file(lock: Lock, hub: Mapping[str, str], file: str) -> dict[str, Any]:
    """Returns what a dataset's file is known by: hub (id, revision, commit), file, size, sha256 or git_sha1.

    Without commit, size and hash where the lock does not have the file.
    """
    entry = lock[DATASETS].get(entry_name(hub))
    if entry is None or file not in entry["files"]:
        return {"hub": dict(hub), "file": file}
    return {"hub": {**hub, "commit": entry["commit"]}, "file": file, **entry["files"][file]}


def locked_model(lock: Lock, hub: Mapping[str, str]) -> dict[str, Any]:
    """Returns what a model is known by: hub (id, revision, commit), and size and hash of its files by name.

    Without commit and files where the lock does not have the model.
    """
    entry = lock[MODELS].get(entry_name(hub))
    if entry is None:
        return {"hub": dict(hub)}
    return {"hub": {**hub, "commit": entry["commit"]}, "files": {name: dict(of) for name, of in entry["files"].items()}}


def check_locked(hub: Mapping[str, str], what: str) -> None:
    """Raises UserError for a repository that the lock did not have when the job was planned."""
    if "commit" not in hub:
        raise UserError(
            f"{LOCK_FILE}: nothing for {what} of {entry_name(hub)}, so nothing could be checked; lock it first: "
            "make lock CONFIG=<your config file> (snakemake lock --configfile <your config file>)"
        )


def fault(path: str | os.PathLike, expected: Mapping[str, Any]) -> str | None:
    """Returns what is wrong with a file that should have a size and a hash, in words; None where it is right.

    Args:
        path: the file.
        expected: sha256 or git_sha1, and the size in bytes where it is known.
    """
    size = os.stat(path).st_size
    if size != expected.get("size", size):
        return f"{size} bytes, the lock has {expected['size']}"
    kind = "sha256" if "sha256" in expected else "git_sha1"
    found = sha256_file(path) if kind == "sha256" else _git_sha1(path, size)
    return None if found == expected[kind] else f"{kind} {found}, the lock has {expected[kind]}"


def looks_like_html(path: str | os.PathLike) -> bool:
    """Returns whether a file begins as a web page does: what proxies and login pages give in place of a file."""
    with open(path, "rb") as file:
        return file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))


def merged(lock: Lock, kind: str, name: str, commit: str, files: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a lock with some files of a repository added or replaced."""
    known = lock[kind].get(name, {"files": {}})["files"]
    entry = {"commit": commit, "files": {**known, **files}}
    return {**{k: dict(v) for k, v in lock.items()}, kind: {**lock[kind], name: entry}}


def missing_files(lock: Lock, kind: str, name: str, files: Iterable[str]) -> list[str]:
    """Return those of some files that an entry lacks."""
    known = lock[kind].get(name, {"files": {}})["files"]
    return [file for file in files if file not in known]


def _git_sha1(path: str | os.PathLike, size: int) -> str:
    digest = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
