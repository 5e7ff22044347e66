"""Makes the problems of a dataset and split from wherever their recipe says, for the rule `data`."""

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.hub.client import fetch_data
from selfdistill.hub.lock import fault
from selfdistill.study.raw_data import LIVECODEBENCH, MIXTURE, PICTURES, RELEASE, SCIKNOWEVAL
from selfdistill.tasks import livecodebench, sciknoweval
from selfdistill.tasks.datasets import import_file, import_from_hub, write_generated
from selfdistill.tasks.mixtures import mixture
from selfdistill.tasks.release import SPLITS, Record, domain_name, read_release, read_rows, write_records
from selfdistill.tasks.schema import Problem, write_problems
from selfdistill.tasks.vision.layouts import write_pictures

Report = Callable[[str], None]


def make_data(
    recipe: Mapping[str, Any],
    output: str | os.PathLike,
    *,
    split: str,
    files: Sequence[str | os.PathLike],
    missing: Sequence[str | os.PathLike],
    grader: str,
    own_prompts: bool,
    report: Report,
) -> list[Problem]:
    """Write a parquet of problems and return them.

    Args:
        recipe: what its content depends on (`DataSets.recipe`).
        output: the parquet.
        split: "train" or "val".
        files, missing: those of the user's folder that it is made from, and those of them that are not there; none
            where it is generated or comes from the hub.
        grader: of the task.
        own_prompts: whether problems are asked with chats of their own.
        report: takes one line of progress.

    Raises:
        UserError: for a file that is not there, cannot be had, is not what its hash says, or is refused by
            `import_file` or the reader of its layout; nothing is left then.
    """
    if missing:
        raise UserError(
            f"{missing[0]}: no such file; put the release's file there (it is known by its hash), or name another "
            "folder in tasks.<name>.data.source"
        )
    if "format" in recipe:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / f"{recipe['name']}.parquet"
            found = _checked(recipe, files, report)
            if recipe["format"] == MIXTURE:
                write_problems(made, mixture(recipe, found))
            elif recipe["format"] == PICTURES:
                write_pictures(made, recipe, found, report)
            else:
                write_records(made, _READERS[recipe["format"]](recipe, found), recipe["name"], split)
            return import_file(made, output, grader, report, own_prompts=own_prompts)
    if files:
        return import_file(files[0], output, grader, report, own_prompts=own_prompts)
    if "hub" in recipe:
        return import_from_hub(recipe, output, report, grader, own_prompts=own_prompts)
    return write_generated(recipe, split, output)


def _checked(
    recipe: Mapping[str, Any], files: Sequence[str | os.PathLike], report: Report
) -> Sequence[str | os.PathLike]:
    """The files that a split is made from, fetched where they are the hub's, each as it should be."""
    if not files:
        files = [fetch_data(each, report) for each in recipe["files"]]
    for file, expected in zip(files, recipe["files"], strict=True):
        if wrong := fault(file, expected):
            raise UserError(f"{file}: not the file that is expected ({wrong}); replace it")
    return files


def _release(recipe: Mapping[str, Any], files: Sequence[str | os.PathLike]) -> list[Record]:
    return read_release(files[0])


def _sciknoweval(recipe: Mapping[str, Any], files: Sequence[str | os.PathLike]) -> list[Record]:
    found = sciknoweval.domains(row for file in files for row in read_rows(file))
    name = domain_name(recipe["domain"])
    if name not in found:
        raise UserError(
            f"{Path(files[0]).name}: no questions of {recipe['domain']}; it has {', '.join(sorted(found))}: change "
            "tasks.<name>.data.domain"
        )
    return found[name][SPLITS[recipe["split"]]]


def _livecodebench(recipe: Mapping[str, Any], files: Sequence[str | os.PathLike]) -> list[Record]:
    return livecodebench.splits(row for file in files for row in read_rows(file))[SPLITS[recipe["split"]]]


_READERS = {RELEASE: _release, SCIKNOWEVAL: _sciknoweval, LIVECODEBENCH: _livecodebench}
