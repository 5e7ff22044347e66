"""One evaluation as a job of the workflow: resumed benchmark by benchmark, published as a whole, with its account.

Its state lies beside those of training runs, in results/state/<hash of its settings>/, where neither a failed job nor
a killed workflow loses what was drawn: a job that was preempted goes on, one that is complete is only published again.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfdistill.evaluation.evaluate import evaluate_run
from selfdistill.files import atomic_path, link_or_copy, write_json
from selfdistill.folder_lock import folder_lock
from selfdistill.provenance import hardware, moment, package_versions, peak_memory_gib, weights_digest

#: The account's file, beside the draws.
ACCOUNT = "evaluation.json"
_PROGRESS = "progress.json"


def evaluate_job(
    run: Mapping[str, Any],
    model_dir: Path,
    val_file: Path,
    task: Mapping[str, Any],
    *,
    state_dir: Path,
    outputs: Mapping[str, Path],
    account: Path,
    gpus: int,
    report: Callable[[str], None],
) -> None:
    """Evaluate a run on all benchmarks of its task, or go on with it, or publish it again.

    Args:
        run: task, model, variant and seed.
        model_dir, val_file: weights, and parquet of all benchmarks.
        task: settings as `evaluate_run` takes them.
        state_dir: where draws lie until all are there; its name is the hash of the settings.
        outputs: benchmark -> parquet to publish.
        account: JSON file to publish: engine, time, GPU-hours, tokens, peak memory, hardware, digest of the weights.
        gpus: how many the job has.
        report: takes one line of progress.

    Raises:
        UserError: as `evaluate_run` does.
    """
    state, final = Path(state_dir), Path(state_dir) / "final"
    with folder_lock(state, report, "evaluating this run"):
        weights = weights_digest(Path(model_dir))
        _drop_those_of_other_weights(state, weights, report)
        if final.exists():
            report(f"complete in {state}: publishing it again")
        else:
            _finish(run, model_dir, val_file, task, state, list(outputs), weights, gpus, report)
        for name, target in {**{f"{b}.parquet": path for b, path in outputs.items()}, ACCOUNT: account}.items():
            with atomic_path(target) as temporary:
                link_or_copy(final / name, temporary)


def _drop_those_of_other_weights(state: Path, weights: str, report: Callable[[str], None]) -> None:
    """A run that was trained once more under the same settings may have other weights (on a GPU it will)."""
    progress = _read(state)
    if progress and progress["weights_sha256"] != weights:
        report(f"{state}: draws of other weights, removed")
        for name in ("final", "draws"):
            shutil.rmtree(state / name, ignore_errors=True)
        (state / _PROGRESS).unlink()


def _finish(
    run: Mapping[str, Any],
    model_dir: Path,
    val_file: Path,
    task: Mapping[str, Any],
    state: Path,
    benchmarks: list[str],
    weights: str,
    gpus: int,
    report: Callable[[str], None],
) -> None:
    draws = {name: state / "draws" / f"{name}.parquet" for name in benchmarks}
    progress = _read(state) or {"weights_sha256": weights, "started": time.time(), "seconds": 0.0, "engine": None}
    write_json(state / _PROGRESS, progress)
    left = {name: path for name, path in draws.items() if not path.exists()}
    if len(left) < len(draws):
        report(f"{len(draws) - len(left)} of {len(draws)} benchmarks are drawn already")
    began, before = time.monotonic(), progress["seconds"]

    def note(line: str) -> None:
        """Every line is also a moment to write the time down: a later attempt counts what this one took."""
        progress["seconds"] = before + time.monotonic() - began
        if line.startswith("engine "):
            progress["engine"] = line.removeprefix("engine ")
        write_json(state / _PROGRESS, progress)
        report(line)

    if left:
        evaluate_run(model_dir, val_file, dict(task), run["seed"], left, note)
    seconds = before + time.monotonic() - began
    with atomic_path(state / "final") as folder:
        folder.mkdir()
        for path in draws.values():
            link_or_copy(path, folder / path.name)
        facts = {
            "run": {key: run[key] for key in ("task", "model", "variant", "seed")},
            "engine": progress["engine"],
            "wall_seconds": round(seconds, 3),
            "gpus": gpus,
            "gpu_hours": round(gpus * seconds / 3600, 4),
            "tokens": sum(_tokens(path) for path in draws.values()),
            "peak_memory_gib": peak_memory_gib(gpus),
            "hardware": hardware(gpus),
            "weights_sha256": weights,
            "packages": package_versions(),
            "started": moment(progress["started"]),
            "finished": moment(time.time()),
            "state": state.name,
        }
        write_json(folder / ACCOUNT, facts)
    shutil.rmtree(state / "draws", ignore_errors=True)


def _tokens(file: Path) -> int:
    return int(pq.read_table(file, columns=["n_tokens"])["n_tokens"].to_numpy().sum())


def _read(state: Path) -> dict[str, Any] | None:
    file = state / _PROGRESS
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
