"""A study's draws, metrics and settings as a few small files, and back again as the folder that `draws.source` reads.

    python -m selfdistill.reporting.archive pack OUT --configfile config/findings.yaml
    python -m selfdistill.reporting.archive unpack OUT FOLDER
    python -m selfdistill.reporting.archive targets SEED --configfile config/findings.yaml

Weights and the teacher's words are left out; of recorded rollouts, step 1 is kept, where runs of equal seed still have
the same ones: its tokens, which of them were selected, and the evidence on them.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.files import atomic_path, copy_file, write_text
from selfdistill.reporting.tokens.rollouts import mean_wrong
from selfdistill.runs.records import read_records
from selfdistill.study.config_files import merged
from selfdistill.study.matrix import Run
from selfdistill.study.paths import ACCOUNT, CLONE, RUN_FILES
from selfdistill.study.results import Files, Reported
from selfdistill.study.study import Study, load_registered_study
from selfdistill.study.yaml_text import read_settings

DRAWS, TEXTS, TOKENS = "draws.parquet", "texts.parquet", "tokens.parquet"
_KEYS = ("task", "model", "variant", "seed")
_OF_RUN = pa.schema([("task", pa.string()), ("model", pa.string()), ("variant", pa.string()), ("seed", pa.int32())])
#: Files of a run that are kept as they stand.
_KEPT = {name: RUN_FILES[name] for name in ("config", "metrics", "provenance")} | {"account": ACCOUNT}
_RECORDED = ("step", "prompt", "rollout", "correct", "tokens", "marked", "correct_logprobs", "wrong_logprobs")
_TOKENS = pa.schema(
    [
        *_OF_RUN,
        ("prompt", pa.int32()),
        ("rollout", pa.int32()),
        ("correct", pa.bool_()),
        ("tokens", pa.list_(pa.string())),
        ("selected", pa.list_(pa.bool_())),
        ("evidence", pa.list_(pa.float32())),  # nats: correct minus the log of the mean under wrong hints
    ]
)
_TEXTS = pa.schema([*_OF_RUN, ("name", pa.string()), ("text", pa.string())])
_FILES = (DRAWS, TEXTS, TOKENS)


def pack(study: Study, folder: Path) -> list[Run]:
    """Write the archive of all runs of a study that are complete; returns these.

    Runs that the folder already holds and that are not complete here stay as they are, so a study may be run in parts,
    and on several machines. Those that the study has no longer are dropped.

    Args:
        study: with `aggregate: available`, so that what is not there yet is left out.
        folder: takes draws.parquet, texts.parquet and tokens.parquet.

    Raises:
        UserError: where no run is complete, or what the folder holds cannot be read.
    """
    found = Reported(study)
    held = {name: read(folder, name) for name in _FILES} if (folder / DRAWS).is_file() else {}
    parts: dict[str, list[pa.Table]] = {name: [] for name in _FILES}
    for run in study.runs():
        keys = {name: getattr(run, name) for name in _KEYS}
        if run in found.runs:
            of_run = _packed(keys, found.files(run))
        else:
            of_run = {name: table.filter(_where(keys)) for name, table in held.items()}
        for name, table in of_run.items():
            parts[name].append(table)
    folder.mkdir(parents=True, exist_ok=True)
    for each in study.preflights.cells():
        if Path(each.file).is_file():
            copy_file(each.file, folder / f"preflight-{each.task}-{each.model}.json")
    for name, tables in parts.items():
        # Permissive: what was packed by an earlier version has wider integers.
        _write(pa.concat_tables(tables, promote_options="permissive"), folder / name)
    return found.runs


def _packed(keys: Mapping[str, Any], files: Files) -> dict[str, pa.Table]:
    """Gives the rows of a run that is complete here, by the file that takes them."""
    draws = [_with_columns({**keys, "benchmark": name}, pq.read_table(path)) for name, path in files.draws.items()]
    texts = [
        {**keys, "name": name, "text": Path(path).read_text(encoding="utf-8")}
        for name in _KEPT
        if (path := getattr(files, name))
    ]
    return {
        DRAWS: pa.concat_tables(draws, promote_options="default"),
        TEXTS: pa.Table.from_pylist(texts, _TEXTS),
        TOKENS: pa.Table.from_pylist(_tokens(keys, files), _TOKENS),
    }


def unpack(folder: Path, target: Path) -> int:
    """Lay an archive out as `draws.source` reads it; returns how many runs it holds.

    Raises UserError where the archive is not there.
    """
    draws, texts = (read(folder, name) for name in (DRAWS, TEXTS))
    runs = set()
    for keys in _distinct(draws, (*_KEYS, "benchmark")):
        part = draws.filter(_where(keys)).drop_columns([*_KEYS, "benchmark"])
        # A column that the file did not have came from other tasks' files.
        part = part.select([name for name in part.column_names if part[name].null_count < len(part)])
        with atomic_path(_folder(target, keys) / f"{keys['benchmark']}.parquet") as temporary:
            pq.write_table(part, temporary)
        runs.add(tuple(keys[name] for name in _KEYS))
    for row in texts.to_pylist():
        write_text(_folder(target, row) / _KEPT[row["name"]], row["text"])
    return len(runs)


def read(folder: Path, name: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a file of an archive. Raises UserError where it is not there or no parquet file."""
    try:
        return pq.read_table(folder / name, columns=list(columns) if columns else None)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{folder / name}: cannot be read ({error}); make it with {__name__} pack") from None


def _folder(target: Path, keys: Mapping[str, Any]) -> Path:
    folder = target / keys["task"] / keys["model"] / keys["variant"] / f"seed{keys['seed']}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _with_columns(keys: Mapping[str, Any], table: pa.Table) -> pa.Table:
    """A table with columns of one value each before its own."""
    for place, (name, value) in enumerate(keys.items()):
        kind = pa.int32() if name == "seed" else pa.string()
        table = table.add_column(place, pa.field(name, kind), pa.array([value] * len(table), kind))
    return table.replace_schema_metadata()


def _tokens(keys: Mapping[str, Any], files: Files) -> list[dict[str, Any]]:
    """Gives what is kept of the rollouts that a run recorded at step 1; nothing of a method that selects no tokens."""
    if not files.records:
        return []
    rows = []
    for row in read_records(files.records, _RECORDED).to_pylist():
        if row["step"] != 1 or row["marked"] is None:
            continue
        evidence = None
        if row["correct_logprobs"] and row["wrong_logprobs"]:
            wrong = mean_wrong(np.array(row["wrong_logprobs"], dtype=float))
            evidence = (np.array(row["correct_logprobs"], dtype=float) - wrong).round(4).tolist()
        kept = {name: row[name] for name in ("prompt", "rollout", "correct", "tokens")}
        rows.append({**keys, **kept, "selected": row["marked"], "evidence": evidence})
    return rows


def _write(table: pa.Table, path: Path) -> None:
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=15)


def _distinct(table: pa.Table, names: Sequence[str]) -> list[dict[str, Any]]:
    return table.group_by(list(names), use_threads=False).aggregate([]).to_pylist()


def _where(keys: Mapping[str, Any]) -> pc.Expression:
    where = None
    for name, value in keys.items():
        here = pc.field(name) == value
        where = here if where is None else where & here
    assert where is not None
    return where


def targets(study: Study, seed: int) -> list[str]:
    """Return the draws of all runs of a seed, as Snakemake is asked for them: seed by seed, whole seeds come first."""
    return [
        f"{run.draws_folder}/{name}.parquet"
        for run in study.runs()
        if run.seed == seed
        for name in study.benchmarks(run.task)
    ]


def study_of(files: Sequence[str]) -> Study:
    """Return the study of config files over the registries, of which whatever is complete is reported."""
    config: dict[str, Any] = {"aggregate": "available"}
    for file in files:
        config = merged(config, read_settings(file) or {})
    return load_registered_study(config, files, CLONE / "config")


def main(words: Sequence[str]) -> int:
    """Pack or unpack; the exit status. Errors are one line."""
    parser = argparse.ArgumentParser(prog="python -m selfdistill.reporting.archive", description=__doc__.split("\n")[0])
    what = parser.add_subparsers(dest="what", required=True)
    packing, unpacking, listing = (what.add_parser(name) for name in ("pack", "unpack", "targets"))
    listing.add_argument("seed", type=int)
    for each in (packing, unpacking):
        each.add_argument("archive", type=Path)
    unpacking.add_argument("folder", type=Path, help="where to")
    for each in (packing, listing):
        each.add_argument("--configfile", nargs="+", required=True, help="what is run")
    args = parser.parse_args(list(words))
    try:
        if args.what == "targets":
            print(" ".join(targets(study_of(args.configfile), args.seed)))
        elif args.what == "pack":
            print(f"{args.archive}: {len(pack(study_of(args.configfile), args.archive))} runs")
        else:
            print(f"{args.folder}: {unpack(args.archive, args.folder)} runs")
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
