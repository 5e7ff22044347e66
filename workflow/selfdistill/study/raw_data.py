"""Knows the layouts of other projects' data, and the files from which the rule `data` makes a split.

`tasks.<name>.data.format`: parquet (files that are taken over as they are; no concern of this module), release (SDPO's
folder: `<domain>/train.json` and `<domain>/test.json`), sciknoweval and livecodebench (what the hub has of these; the
split is made here), mixture and pictures (problems of mathematics, and problems with pictures, out of files of several
repositories, each in a layout of its own: `data.mixture`).
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import known_sha256
from selfdistill.hub.lock import Lock, locked_file

PARQUET, RELEASE, SCIKNOWEVAL, LIVECODEBENCH = "parquet", "release", "sciknoweval", "livecodebench"
MIXTURE, PICTURES = MIXTURES = ("mixture", "pictures")
#: Layouts of the parts of either.
LAYOUTS = {
    MIXTURE: ("gsm8k", "math", "simplerl"),
    PICTURES: ("mmfinereason", "mmmu", "mathvista", "mathvision", "zerobench", "wemath"),
}
_NAMES = {"train": "train", "val": "test"}  # of a release's files
#: Format -> keys of a task's data that it cannot be without.
_NEEDED = {
    RELEASE: ("domain",),
    SCIKNOWEVAL: ("domain", "files"),
    LIVECODEBENCH: ("files",),
    MIXTURE: ("dataset", "mixture"),
    PICTURES: ("dataset", "mixture"),
}


def format_of(data: Mapping[str, Any]) -> str:
    """Return the layout of a task's data; data: the task's entry of that name."""
    return data.get("format", PARQUET)


def raw_files(data: Mapping[str, Any], split: str) -> list[str]:
    """Return the files that a split is made from, as they are named in the folder or repository."""
    if format_of(data) == RELEASE:
        return [f"{data['domain']}/{_NAMES[split]}.json"]
    if format_of(data) in MIXTURES:
        return [f"{hub['id']}/{file}" for hub, file in raw_hub_files(data, split)]
    return list(data["files"])


def raw_hub_files(data: Mapping[str, Any], split: str) -> list[tuple[Mapping[str, str], str]]:
    """Return repository and file of what a split is made from."""
    if format_of(data) in MIXTURES:
        return [(part["hub"], file) for _, part in _parts(data, split) for file in _files(part)]
    return [(data["hub"], file) for file in raw_files(data, split)]


def _parts(data: Mapping[str, Any], split: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Name and entry of each part of a split of a mixture: of the training set's its layout, else the benchmark."""
    if split == "train":
        yield from ((part["layout"], part) for part in data["mixture"]["train"])
    else:
        yield from data["mixture"]["benchmarks"].items()


def _files(part: Mapping[str, Any]) -> list[str]:
    return part["files"] if "files" in part else [part["file"]]


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
    if recipe["format"] in MIXTURES:
        chosen = ("layout", "levels")
        named = [(called, part) for called, part in _parts(data, split)]
        recipe["parts"] = [
            {"name": called}
            | {key: part[key] for key in chosen if key in part}
            | ({"files": len(part["files"])} if "files" in part else {})
            for called, part in named
        ]
    if data["source"] == "hub":
        return {**recipe, "files": [locked_file(lock, hub, file) for hub, file in raw_hub_files(data, split)]}
    if pinned := data.get("git_sha1", {}).get(split):
        return {**recipe, "files": [{"git_sha1": pinned}]}
    files = [f"{data['source']}/{file}" for file in raw_files(data, split)]
    if missing := [file for file in files if not os.path.isfile(file)]:
        raise UserError(
            f"tasks.{task}.data.source: {missing[0]}: no such file; expected 'hub', or a folder that holds it (format "
            f"{format_of(data)}): put it there, or change the key",
            keys=[("tasks", task, "data", "source")],
        )
    return {**recipe, "files": [{"sha256": known_sha256(file)} for file in files]}


def check_raw(place: str, entry: Mapping[str, Any]) -> None:
    """Raise UserError where a task's data cannot be had in the layout that it names; place: for the message."""
    data, format_ = entry["data"], format_of(entry["data"])
    if format_ == PARQUET:
        return
    needed = _NEEDED[format_]
    if missing := [key for key in needed if key not in data]:
        raise UserError(f"{place}.data: format {format_!r} needs `{missing[0]}`; give it")
    if data["source"] == "generated" or (format_ == RELEASE and data["source"] == "hub"):
        where = "a folder" if format_ == RELEASE else "'hub' or a folder"
        raise UserError(f"{place}.data: format {format_!r} needs {where} as source, found {data['source']!r}")
    if format_ in MIXTURES:
        for split in ("train", "val"):
            for _, part in _parts(data, split):
                if part["layout"] not in LAYOUTS[format_] or (format_ == MIXTURE and "files" in part):
                    raise UserError(
                        f"{place}.data.mixture: layout {part['layout']!r} in format {format_!r}; expected one of "
                        f"{', '.join(LAYOUTS[format_])}{', one file a part' if format_ == MIXTURE else ''}"
                    )
        if (named := list(data["mixture"]["benchmarks"])) != list(entry["benchmarks"]):
            raise UserError(
                f"{place}.data.mixture.benchmarks: has {', '.join(named)}, and {place}.benchmarks "
                f"{', '.join(entry['benchmarks'])}; name the same in both, in one order"
            )
    elif len(entry["benchmarks"]) > 1:
        raise UserError(
            f"{place}.benchmarks: format {format_!r} gives one benchmark, found {', '.join(entry['benchmarks'])}; keep "
            "one"
        )
