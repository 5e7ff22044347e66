"""List, or remove, finished states that were followed by others: `python -m selfdistill.runs.clean_states [--yes]`.

A state is keyed by the hash of the settings of a run, or of an evaluation. After a change of settings the old one is
only of use if the change is taken back. It goes when its path has results of other settings. Until then it may hold the
only copy of finished weights: Snakemake removes what is published before it makes it anew, and that may fail.
Unfinished states are left alone: they hold work that a later run may go on with.
"""

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfdistill.runs.folder_lock import is_held
from selfdistill.runs.state_folder import RESULTS, StateFolder
from selfdistill.study.paths import ACCOUNT
from selfdistill.study.study import config_hash


@dataclass(frozen=True)
class Verdict:
    """What is to be done with a state, and why in a few words."""

    folder: Path
    goes: bool
    why: str

    def __str__(self) -> str:
        return f"{self.folder} ({_size(self.folder)}): {self.why}"


def judge_states(results: Path) -> list[Verdict]:
    """A verdict on each state under results/state/ that no published run or evaluation stands for."""
    results = Path(results)
    published = {config_hash(yaml.safe_load(file.read_text())) for file in results.glob("runs/*/*/*/seed*/config.yaml")}
    published |= {json.loads(file.read_text())["state"] for file in results.glob(f"draws/*/*/*/seed*/{ACCOUNT}")}
    folders = (folder for folder in sorted((results / "state").glob("*")) if folder.is_dir())
    return [_judged(results, folder) for folder in folders if folder.name not in published]


def clean_states(results: Path) -> list[str]:
    """Remove the states that can go; return one line for each that was removed or left."""
    said = []
    for verdict in judge_states(results):
        line = f"{verdict}{', removed' if verdict.goes else ''}"
        if verdict.goes:
            shutil.rmtree(verdict.folder)
        said.append(line)
    return said


def _judged(results: Path, folder: Path) -> Verdict:
    final = StateFolder(folder).final
    if not final.exists():
        return Verdict(folder, False, "unfinished, left alone; remove it by hand if no run will go on with it")
    if is_held(folder):
        return Verdict(folder, False, "kept, a process is at work in it")
    run = _run_of(final)
    if run is None:
        return Verdict(folder, False, "kept, it does not say whose it is; remove it by hand if nobody wants it")
    path = f"{run['task']}/{run['model']}/{run['variant']}/seed{run['seed']}"
    if (final / ACCOUNT).exists():
        place, wanted = results / "draws" / path, [file.name for file in final.iterdir() if file.suffix == ".parquet"]
        whole = all((place / name).is_file() for name in [*wanted, ACCOUNT])
    else:
        place = results / "runs" / path
        whole = all((place / name).exists() for name in RESULTS.values()) and any(
            (place / RESULTS["model"]).glob("*.safetensors")
        )
    if whole:
        return Verdict(folder, True, f"{place} has results of other settings")
    return Verdict(folder, False, f"kept, the only copy ({place} has no results); remove it by hand to be rid of it")


def _run_of(final: Path) -> dict[str, Any] | None:
    """Task, model, variant and seed of a finished state."""
    try:
        if (final / ACCOUNT).exists():
            run = json.loads((final / ACCOUNT).read_text(encoding="utf-8"))["run"]
        else:
            run = yaml.safe_load((final / RESULTS["config"]).read_text(encoding="utf-8"))
        return {key: run[key] for key in ("task", "model", "variant", "seed")}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


def _size(folder: Path) -> str:
    size = sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    parser.add_argument("--yes", action="store_true", help="remove them; without it they are only listed")
    options = parser.parse_args()
    if options.yes:
        print("\n".join(clean_states(options.results)) or "nothing to remove")
        return
    verdicts = judge_states(options.results)
    lines = [f"{verdict}{', would be removed' if verdict.goes else ''}" for verdict in verdicts]
    if any(verdict.goes for verdict in verdicts):
        lines.append("Nothing was removed; make gc YES=1 removes them.")
    print("\n".join(lines) or "nothing to remove")


if __name__ == "__main__":
    _main()
