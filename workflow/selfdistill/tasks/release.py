"""Converts data in the layout of SDPO's release into the parquet layout that `data.source: <folder>` reads.

The release keeps one JSON object a problem: `<domain>.json` is a JSON array, `<domain>/train.json` and
`<domain>/test.json` are JSON lines. Here each domain becomes a dataset and a benchmark of the same name:
`<name>/train.parquet` and `<name>/val.parquet`, with the user's prompt and any system message in the column `prompt`.

As a program:

    python -m selfdistill.tasks.release folder RELEASE OUT         all domains of a release's folder
    python -m selfdistill.tasks.release sciknoweval FILES... OUT   the hub's files (JSON lines or parquet), split
    python -m selfdistill.tasks.release livecodebench FILES... OUT
"""

import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.files import atomic_path
from selfdistill.tasks import choice, code, tool_use
from selfdistill.tasks.layout import large_schema

#: What a release calls a data set -> whether a reference of its can be read.
_DATASETS = {"sciknoweval": choice.readable, "tooluse": tool_use.readable, "livecodebench": code.readable}
_SPLITS = {"train": "train", "test": "val"}
#: Split here -> what the release calls it.
SPLITS = {ours: theirs for theirs, ours in _SPLITS.items()}
SCHEMA = large_schema("description")
_HALF = re.compile("[\ud800-\udfff]")
_ROWS = 32  # of a row group, as released: a row of tests may be megabytes


@dataclass(frozen=True)
class Record:
    """One problem of a release.

    Attributes:
        index: its number in the domain, kept through the split.
        kind: "mcq", "tooluse" or "code".
        dataset: which picks the grader: "sciknoweval", "tooluse" or "livecodebench".
        prompt: the user's message.
        reference: what the grader compares with: a letter, calls, or tests.
        system: the system message, or "".
        description: the bare question; used by nothing in training.
    """

    index: int
    kind: str
    dataset: str
    prompt: str
    reference: str
    system: str = ""
    description: str = ""


def read_release(path: str | os.PathLike) -> list[Record]:
    """Return the records of a file: a JSON array, or JSON lines.

    Raises:
        UserError: for a file that is neither, a record without a key that is needed or with one of another type, a
            data set that has no grader, a reference that the grader cannot read, an index that is there twice.
    """
    records: list[Record] = []
    for row, told in enumerate(_objects(path)):
        records.append(_record(told, f"{path}: row {row} (counted from 0)"))
    if not records:
        raise UserError(f"{path}: no records; expected a JSON array, or one JSON object a line")
    if twice := [index for index, count in Counter(record.index for record in records).items() if count > 1]:
        raise UserError(f"{path}: an idx is there twice ({twice[0]}); each record needs its own")
    return records


def write_records(path: str | os.PathLike, records: Sequence[Record], name: str, split: str) -> None:
    """Write records as a whole parquet file.

    Args:
        path: the file.
        records: in the order of its rows.
        name: of the dataset or benchmark (column data_source).
        split: "train" or "val".

    Raises:
        UserError: for a text that UTF-8 has no bytes for.
    """
    rows = [
        {
            "data_source": name,
            "prompt": messages(record),
            "ability": record.kind,
            "reward_model": {"style": record.kind, "ground_truth": record.reference},
            "extra_info": {
                "index": record.index,
                "split": split,
                "problem": record.prompt,
                "solution": "",
                "description": record.description,
            },
        }
        for record in records
    ]
    try:
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
    except UnicodeEncodeError:
        index, half = next(
            (record.index, half[0])
            for record, row in zip(records, rows, strict=True)
            if (half := _HALF.search(json.dumps(row, ensure_ascii=False)))
        )
        raise UserError(
            f"{path}: idx {index} holds {half!r}, half a character, which no file takes; mend or drop it"
        ) from None
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=_ROWS)


def domain_name(domain: str | os.PathLike) -> str:
    """Returns what a domain is called here: its path in the release with _ for /."""
    return "_".join(Path(domain).parts)


def messages(record: Record) -> list[dict[str, str]]:
    """Return the chat that a model reads: the system message where there is one, then the user's."""
    chat = [{"role": "system", "content": record.system}] if record.system else []
    return [*chat, {"role": "user", "content": record.prompt}]


def import_folder(folder: str | os.PathLike, out: str | os.PathLike) -> dict[str, int]:
    """Bring all domains of a release's folder over; returns the number of problems by file written.

    A domain is a folder with train.json, test.json or both, at any depth; its name here is its path with _ for /. A
    file <domain>.json beside it holds the same rows again.

    Raises:
        UserError: as `read_release`, and where there is no such file, or one beside them differs from the split.
    """
    found = sorted(path for path in Path(folder).rglob("*.json") if path.stem in _SPLITS)
    if not found:
        raise UserError(f"{folder}: no file <domain>/train.json or <domain>/test.json; expected a release's folder")
    written: dict[str, int] = {}
    by_domain: dict[Path, list[Record]] = {}
    for path in found:
        name = domain_name(path.parent.relative_to(folder)) or Path(folder).name
        records = read_release(path)
        by_domain.setdefault(path.parent, []).extend(records)
        target = Path(out) / name / f"{_SPLITS[path.stem]}.parquet"
        if str(target) in written:
            raise UserError(f"{path}: another domain is called {name} too, with _ for /; rename one of these folders")
        write_records(target, records, name, _SPLITS[path.stem])
        written[str(target)] = len(records)
    for domain, records in by_domain.items():
        whole = domain.with_name(f"{domain.name}.json")
        if whole.exists() and {record.index: record for record in records} != {r.index: r for r in read_release(whole)}:
            raise UserError(
                f"{whole}: its rows are not those of {domain}/train.json and test.json; remove what is stale"
            )
    return written


def write_split(splits: Mapping[str, Sequence[Record]], name: str, out: str | os.PathLike) -> dict[str, int]:
    """Write the records of "train" and "test" as a dataset and a benchmark; returns their numbers by file."""
    written = {}
    for split, records in splits.items():
        target = Path(out) / name / f"{_SPLITS[split]}.parquet"
        write_records(target, records, name, _SPLITS[split])
        written[str(target)] = len(records)
    return written


def read_rows(path: str | os.PathLike) -> Iterator[dict[str, Any]]:
    """Yield rows of a file of the hub: parquet, a JSON array or JSON lines. Raises UserError for anything else."""
    if Path(path).suffix == ".parquet":
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_ROWS):
                    yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise UserError(
                f"{path}: not a readable parquet file ({str(error).splitlines()[0]}); fetch it again"
            ) from None
    else:
        yield from _objects(path)


def _objects(path: str | os.PathLike) -> Iterable[dict[str, Any]]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # a byte order mark or none
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); expected a JSON array, or one JSON object a line") from None
    where = "the array"
    try:
        if text.lstrip().startswith("["):
            found = json.loads(text, object_pairs_hook=_each_once)
        else:
            found = []
            for number, line in enumerate(text.split("\n"), start=1):
                where = f"line {number}"
                if line.strip():
                    found.append(json.loads(line, object_pairs_hook=_each_once))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {where} is no JSON ({error}); expected a JSON array, or one object a line") from None
    for row, each in enumerate(found):
        if not isinstance(each, dict):
            raise UserError(f"{path}: row {row} (counted from 0) is {type(each).__name__}, expected a JSON object")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _record(told: Mapping[str, Any], where: str) -> Record:
    dataset, index = told.get("dataset"), told.get("idx")
    if not isinstance(dataset, str) or dataset not in _DATASETS:
        raise UserError(f"{where}: dataset {dataset!r} has no grader; expected one of {', '.join(_DATASETS)}")
    if type(index) is not int or not 0 <= index < 1 << 63:
        raise UserError(f"{where}: idx is {index!r}, expected a whole number from 0 on, of 64 bits")
    prompt, system = told.get("prompt"), told.get("system")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UserError(f"{where}: prompt is {prompt!r}, expected the user's message")
    if system is not None and not isinstance(system, str):
        raise UserError(f"{where}: system is {type(system).__name__}, expected text or null")
    reference = told.get("tests" if dataset == "livecodebench" else "answer")
    if not isinstance(reference, str) or not _DATASETS[dataset](reference):
        raise UserError(
            f"{where}: {'tests' if dataset == 'livecodebench' else 'answer'} {str(reference)[:60]!r} cannot be read by "
            f"the grader of {dataset}; mend or drop it"
        )
    options = choice.options_of(prompt) if dataset == "sciknoweval" else {}
    if options and reference.strip() not in options:
        raise UserError(f"{where}: answer {reference!r} is none of its options {', '.join(options)}; mend or drop it")
    return Record(
        index=index,
        kind=str(told.get("kind") or "-"),
        dataset=dataset,
        prompt=prompt,
        reference=reference,
        system=system if system and system.strip() else "",
        description=str(told.get("description") or ""),
    )


def main(arguments: Sequence[str]) -> None:
    """Import what the command line names (see the top of this file). Raises UserError."""
    from selfdistill.tasks import livecodebench, sciknoweval

    what, *paths = arguments or [""]
    if what == "folder" and len(paths) == 2:
        written = import_folder(*paths)
    elif what in ("sciknoweval", "livecodebench") and len(paths) >= 2:
        *files, out = paths
        rows = [row for file in files for row in read_rows(file)]
        splits = sciknoweval.domains(rows) if what == "sciknoweval" else {what: livecodebench.splits(rows)}
        written = {path: n for name, each in splits.items() for path, n in write_split(each, name, out).items()}
    else:
        raise UserError(
            "expected `folder RELEASE OUT`, `sciknoweval FILES... OUT` or `livecodebench FILES... OUT`; found "
            f"{' '.join(arguments) or 'nothing'}"
        )
    for path, count in written.items():
        print(f"{path}: {count} problems")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
