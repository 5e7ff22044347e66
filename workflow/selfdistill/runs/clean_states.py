"""Lists or removes finished states that were followed by others: `python -m selfdistill.runs.clean_states [--yes]`.

A state is keyed by the hash of the settings of a run, or of an evaluation. After a change of settings the old one is
only of use if the change is taken back. It goes when its path has results of other settings. Until then it may hold the
only copy of finished weights: Snakemake removes what is published before it makes it anew, and that may fail.
Unfinished states are left alone: they hold work that a later run may go on with.
"""

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfdistill.runs.digests import file_fault
from selfdistill.runs.folder_lock import is_held
from selfdistill.runs.state_folder import RESULTS, StateFolder
from selfdistill.study.paths import ACCOUNT, PUBLISHED_FILE
from selfdistill.study.study import config_hash


@dataclass(frozen=True)
class Verdict:
    """Holds what is to be done with a state, and why in a few words."""

    folder: Path
    goes: bool
    why: str

    def __str__(self) -> str:
        return f"{self.folder} ({_size(self.folder)}): {self.why}"


def judge_states(results: Path) -> list[Verdict]:
    """Return a verdict on each state under results/state/ that no published run or evaluation stands for."""
    results = Path(results)
    settings = map(_mapping, results.glob(f"runs/*/*/*/seed*/{RESULTS['config']}"))
    accounts = map(_mapping, results.glob(f"draws/*/*/*/seed*/{ACCOUNT}"))
    published = {config_hash(each) for each in settings if each} | {each.get("state") for each in accounts}
    folders = (folder for folder in sorted((results / "state").glob("*")) if folder.is_dir())
    return [_judged(results, folder) for folder in folders if folder.name not in published]


def clean_states(results: Path) -> list[str]:
    """Remove the states that can go; return one line for each that was removed or left."""
    lines = []
    for verdict in judge_states(results):
        line = f"{verdict}{', removed' if verdict.goes else ''}"
        if verdict.goes:
            shutil.rmtree(verdict.folder)
        lines.append(line)
    return lines


def _judged(results: Path, folder: Path) -> Verdict:
    if (folder / PUBLISHED_FILE).exists():
        return Verdict(folder, False, "kept, a search that is done; remove it by hand if nobody wants it")
    final = StateFolder(folder).final
    if not final.exists():
        return Verdict(folder, False, "unfinished, left alone; remove it by hand if no run will go on with it")
    if is_held(folder):
        return Verdict(folder, False, "kept, a process is at work in it")
    run = _run_of(final)
    if run is None:
        return Verdict(folder, False, "kept, it does not say whose it is; remove it by hand if nobody wants it")
    kind, wanted = "runs", [*RESULTS.values()]
    if (final / ACCOUNT).exists():
        kind, wanted = "draws", [ACCOUNT, *(file.name for file in final.glob("*.parquet"))]
    place = results / kind / f"{run['task']}/{run['model']}/{run['variant']}/seed{run['seed']}"
    if _run_of(place) == run and all(_is_whole(place / name) for name in wanted):
        return Verdict(folder, True, f"{place} has results of other settings")
    return Verdict(folder, False, f"kept, the only copy ({place} has no results); remove it by hand to be rid of it")


def _run_of(folder: Path) -> dict[str, Any] | None:
    """Task, model, variant and seed of results; None where they do not say it."""
    run = _mapping(folder / ACCOUNT).get("run") if (folder / ACCOUNT).exists() else _mapping(folder / RESULTS["config"])
    try:
        return {key: run[key] for key in ("task", "model", "variant", "seed")}
    except (KeyError, TypeError):
        return None


def _mapping(file: Path) -> dict[str, Any]:
    """Reads a file of settings or facts; nothing where it cannot be read: then no state goes because of it."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))  # JSON too
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_whole(path: Path) -> bool:
    files = [path] if path.is_file() else [*path.glob("*.safetensors")]
    return bool(files) and not any(map(file_fault, files))


def _size(folder: Path) -> str:
    size = sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def main(words: Sequence[str] | None = None) -> None:
    """Print what would go and what stays, and why; with --yes remove it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    parser.add_argument("--yes", action="store_true", help="remove them; without it they are only listed")
    options = parser.parse_args(words)
    if options.yes:
        print("\n".join(clean_states(options.results)) or "nothing to remove")
        return
    verdicts = judge_states(options.results)
    lines = [f"{verdict}{', would be removed' if verdict.goes else ''}" for verdict in verdicts]
    if any(verdict.goes for verdict in verdicts):
        lines.append("Nothing was removed; make gc YES=1 removes them.")
    print("\n".join(lines) or "nothing to remove")


if __name__ == "__main__":
    main()
