"""Data in layouts of others, which the rule `data` brings into parquets: which files a split is made from.

`tasks.<name>.data.format`: parquet (files that are taken over as they are; no concern of this module), release (SDPO's
folder: `<domain>/train.json` and `<domain>/test.json`), sciknoweval and livecodebench (what the hub has of these; the
split is made here).
"""

import os
from collections.abc import Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import known_sha256
from selfdistill.hub.lock import Lock, locked_file

PARQUET, RELEASE, SCIKNOWEVAL, LIVECODEBENCH = FORMATS = ("parquet", "release", "sciknoweval", "livecodebench")
_NAMES = {"train": "train", "val": "test"}  # of a release's files


def format_of(data: Mapping[str, Any]) -> str:
    """Return the layout of a task's data; data: the task's entry of that name."""
    return data.get("format", PARQUET)


def raw_files(data: Mapping[str, Any], split: str) -> list[str]:
    """Return the files that a split is made from, as they are named in the folder or repository."""
    if format_of(data) == RELEASE:
        return [f"{data['domain']}/{_NAMES[split]}.json"]
    return list(data["files"])


def raw_recipe(task: str, entry: Mapping[str, Any], name: str, split: str, lock: Lock) -> dict[str, Any]:
    """Return what the content of a split depends on.

    Args:
        task: name, for the message.
        entry: of the task.
        name: of the dataset or benchmark, which its rows will carry.
        split: "train" or "val".
        lock: what files of the hub are held to.

    Raises:
        UserError: where a file of the user's is not there whose hash the entry does not say.
    """
    data = entry["data"]
    recipe: dict[str, Any] = {"format": format_of(data), "name": name, "split": split}
    if "domain" in data:
        recipe["domain"] = data["domain"]
    if data["source"] == "hub":
        return {**recipe, "files": [locked_file(lock, data["hub"], file) for file in raw_files(data, split)]}
    if pinned := data.get("git_sha1", {}).get(split):
        return {**recipe, "files": [{"git_sha1": pinned}]}
    files = [f"{data['source']}/{file}" for file in raw_files(data, split)]
    if missing := [file for file in files if not os.path.isfile(file)]:
        raise UserError(
            f"{missing[0]}: no such file; tasks.{task}.data.source must be 'hub', or a folder that holds it (format "
            f"{format_of(data)})"
        )
    return {**recipe, "files": [{"sha256": known_sha256(file)} for file in files]}


def check_raw(place: str, entry: Mapping[str, Any]) -> None:
    """Raise UserError where a task's data cannot be had in the layout that it names; place: for the message."""
    data, format_ = entry["data"], format_of(entry["data"])
    if format_ == PARQUET:
        return
    needed = {RELEASE: ("domain",), SCIKNOWEVAL: ("domain", "files"), LIVECODEBENCH: ("files",)}[format_]
    if missing := [key for key in needed if key not in data]:
        raise UserError(f"{place}.data: format {format_!r} needs `{missing[0]}`; give it")
    if data["source"] == "generated" or (format_ == RELEASE and data["source"] == "hub"):
        where = "a folder" if format_ == RELEASE else "'hub' or a folder"
        raise UserError(f"{place}.data: format {format_!r} needs {where} as source, found {data['source']!r}")
    if len(entry["benchmarks"]) > 1:
        raise UserError(
            f"{place}.benchmarks: format {format_!r} gives one benchmark, found {', '.join(entry['benchmarks'])}; keep "
            "one"
        )
