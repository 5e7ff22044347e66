"""Names the layouts of data sets with pictures, and makes a split of files in them (`data.format: pictures`)."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from selfdistill.tasks.vision import benchmarks, mmfinereason
from selfdistill.tasks.vision.benchmarks import Rows
from selfdistill.tasks.vision.rows import PictureRow, read_columns, write_rows


class Layout(NamedTuple):
    """Says how the files of a data set are read: columns that it needs, some more that it may have, its reader."""

    needed: Sequence[str]
    more: Sequence[str]
    read: Callable[[Rows, Counter[str]], Iterator[PictureRow]]


def _whole(read: Callable[[Rows], Iterator[PictureRow]]) -> Callable[[Rows, Counter[str]], Iterator[PictureRow]]:
    """A reader that drops nothing."""
    return lambda rows, dropped: read(rows)


LAYOUTS = {
    "mmfinereason": Layout(mmfinereason.COLUMNS, mmfinereason.MORE, mmfinereason.mmfinereason),
    "mmmu": Layout(benchmarks.MMMU_COLUMNS, benchmarks.MMMU_MORE, _whole(benchmarks.mmmu)),
    "mathvista": Layout(benchmarks.MATHVISTA_COLUMNS, benchmarks.MATHVISTA_MORE, _whole(benchmarks.mathvista)),
    "mathvision": Layout(benchmarks.MATHVISION_COLUMNS, (), _whole(benchmarks.mathvision)),
    "zerobench": Layout(benchmarks.ZEROBENCH_COLUMNS, (), _whole(benchmarks.zerobench)),
    "wemath": Layout(benchmarks.WEMATH_COLUMNS, (), _whole(benchmarks.wemath)),
}


def write_pictures(
    path: str | os.PathLike,
    recipe: Mapping[str, Any],
    files: Sequence[str | os.PathLike],
    report: Callable[[str], None],
) -> None:
    """Write a split as a parquet of problems with pictures, a few rows at a time.

    Args:
        path: the file.
        recipe: name (of a training set, which is its rows' data source), split, and parts: name (of a benchmark),
            layout, and how many `files` it has, where that is not one.
        files: of all parts, in their order.
        report: takes one line of progress.

    Raises:
        UserError: for a file that is not what its layout has, with its row.
    """
    dropped: Counter[str] = Counter()
    written = write_rows(path, _all_rows(recipe, iter(files), dropped, report), recipe["split"], dropped)
    left_out = f", {sum(dropped.values())} dropped" if dropped else ""
    report(f"{Path(path).name}: {written} problems{left_out}")


def _all_rows(
    recipe: Mapping[str, Any],
    files: Iterator[str | os.PathLike],
    dropped: Counter[str],
    report: Callable[[str], None],
) -> Iterator[tuple[str, PictureRow]]:
    for part in recipe["parts"]:
        about, own = LAYOUTS[part["layout"]], list(islice(files, part.get("files", 1)))
        for row in about.read(_rows(own, about, report), dropped):
            yield (recipe["name"] if recipe["split"] == "train" else part["name"]), row


def _rows(files: Sequence[str | os.PathLike], layout: Layout, report: Callable[[str], None]) -> Rows:
    for file in files:
        numbers = count()
        for row in read_columns(file, layout.needed, layout.more):
            yield f"{file}: row {next(numbers)} (counted from 0)", row
        report(f"{file}: {next(numbers)} rows read")
