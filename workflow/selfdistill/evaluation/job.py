"""Runs one evaluation as a job: resumes benchmark by benchmark, and publishes it as a whole.

Its state lies beside those of training runs, in results/state/<hash of its settings>/, where neither a failed job nor
a killed workflow loses what was drawn: a job that was preempted goes on, one that is complete is only published again.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import read_draws
from selfdistill.evaluation.evaluate import evaluate_run, planned_draws
from selfdistill.files import atomic_path, copy_file, sha256_file, write_json
from selfdistill.runs.digests import fault, file_fault, write_digests
from selfdistill.runs.folder_lock import folder_lock
from selfdistill.runs.provenance import hardware, moment, package_versions, peak_memory_gib, weights_digest
from selfdistill.runs.run_file import EVALUATION, PROGRESS_FILE, write_attempt
from selfdistill.study.paths import ACCOUNT

#: What of its state says that something was saved: patterns of files.
CHECKPOINTS = ("draws/*.parquet",)


def evaluate_job(
    run: Mapping[str, Any],
    model_dir: Path,
    val_file: Path,
    task: Mapping[str, Any],
    *,
    state_dir: Path,
    also: Mapping[str, Path],
    outputs: Mapping[str, Path],
    account: Path,
    gpus: int,
    report: Callable[[str], None],
) -> None:
    """Evaluate a run on all benchmarks of its task, or go on with it, or publish it again.

    Args:
        run: task, model, variant and seed.
        model_dir, val_file: weights, and parquet of all benchmarks of the task itself.
        task: settings as `evaluate_run` takes them.
        also: other task on whose benchmarks it is evaluated too -> parquet of them.
        state_dir: where draws lie until all are there; its name is the hash of the settings.
        outputs: benchmark -> parquet to publish.
        account: JSON file to publish: engine, time, GPU-hours, tokens, peak memory, hardware, digest of the weights.
        gpus: how many the job has.
        report: takes one line of progress.

    Raises:
        UserError: as `evaluate_run` does.
    """
    state = Path(state_dir)
    with folder_lock(state, report, "evaluating this run"):
        files = _Files(Path(model_dir), Path(val_file), {name: Path(file) for name, file in also.items()})
        evaluation = _Evaluation(run, files, task, state, list(outputs), gpus, report)
        evaluation.drop_what_does_not_count()
        if evaluation.final.exists():
            report(f"complete in {state}: publishing it again")
        else:
            evaluation.finish()
        for name, target in {**{f"{b}.parquet": path for b, path in outputs.items()}, ACCOUNT: account}.items():
            with atomic_path(target) as temporary:
                copy_file(evaluation.final / name, temporary)


@dataclass(frozen=True)
class _Files:
    """Holds what is read, as of `evaluate_job`."""

    model: Path
    val: Path
    also: Mapping[str, Path]


class _Evaluation:
    """Holds what is done under the lock; arguments as of `evaluate_job`, benchmarks in its order of outputs."""

    def __init__(
        self,
        run: Mapping[str, Any],
        files: _Files,
        task: Mapping[str, Any],
        state: Path,
        benchmarks: Sequence[str],
        gpus: int,
        report: Callable[[str], None],
    ):
        self._run, self._files, self._task = run, files, task
        self._state, self._gpus, self._report = state, gpus, report
        self._weights = weights_digest(files.model)
        self._draws = {name: state / "draws" / f"{name}.parquet" for name in benchmarks}
        self.final = state / "final"

    def drop_what_does_not_count(self) -> None:
        """Remove what is not whole, and draws of other weights.

        A run that was trained once more under the same settings may have other weights (on a GPU it will).
        """
        whole = [f"{name}.parquet" for name in self._draws] + [ACCOUNT]
        if self.final.exists():
            absent = next((f"{name} is missing" for name in whole if not (self.final / name).exists()), None)
            if wrong := absent or fault(self.final):
                self._drop(f"{self.final}: spoilt ({wrong})", self.final)
        for path in self._draws.values():
            if path.exists() and (wrong := self._spoilt(path)):
                self._drop(f"draws that cannot be read ({wrong})", path)
        left = [each for each in (self.final, self._state / "draws") if each.exists()]
        known = self._weights_of_state()
        if left and known != self._weights:
            self._drop(f"{self._state}: draws of {'unknown' if known is None else 'other'} weights", *left)
        if known != self._weights:
            (self._state / PROGRESS_FILE).unlink(missing_ok=True)

    def _spoilt(self, draws: Path) -> str | None:
        """Why a file of draws is not what was written; None: nothing speaks against it."""
        noted = (self._progress() or {}).get("drawn", {}).get(draws.stem)
        if wrong := file_fault(draws) or _unreadable(draws):
            return wrong
        if noted is not None and noted != sha256_file(draws):
            return f"{draws.name} is not as it was written (another SHA-256)"
        return None

    def _drop(self, what: str, *paths: Path) -> None:
        self._report(f"{what}, removed: drawn anew")
        for path in paths:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _weights_of_state(self) -> str | None:
        """Digest of the weights that the draws in here are of; None where nothing says it."""
        progress = self._progress()
        if progress is None and self.final.exists():
            progress = json.loads((self.final / ACCOUNT).read_text(encoding="utf-8"))
        return progress["weights_sha256"] if progress else None

    def finish(self) -> None:
        """Draw what is not drawn yet, and put all of it and the account into `final`."""
        progress = self._progress() or {
            "weights_sha256": self._weights,
            "started": time.time(),
            "seconds": 0.0,
            "engine": None,
            "drawn": {},
        }
        write_json(self._state / PROGRESS_FILE, progress)
        left = {name: path for name, path in self._draws.items() if not path.exists()}
        progress["drawn"] = {name: digest for name, digest in progress["drawn"].items() if name not in left}
        if len(left) < len(self._draws):
            self._report(f"{len(self._draws) - len(left)} of {len(self._draws)} benchmarks are drawn already")
        began, before = time.monotonic(), progress["seconds"]

        def note(line: str) -> None:
            """Every line is also a moment to write the time down: a later attempt counts what this one took."""
            progress["seconds"] = before + time.monotonic() - began
            if line.startswith("engine "):
                progress["engine"] = line.removeprefix("engine ")
            new = {name: path for name, path in left.items() if name not in progress["drawn"] and path.exists()}
            progress["drawn"] |= {name: sha256_file(path) for name, path in new.items()}
            write_json(self._state / PROGRESS_FILE, progress)
            self._report(line)

        if left:
            files, seed = self._files, self._run["seed"]
            planned = planned_draws(list(self._draws), files.val, self._task, files.also)
            write_attempt(self._state, self._run, EVALUATION, draws=planned)
            evaluate_run(files.model, files.val, dict(self._task), seed, left, note, files.also)
        progress["seconds"] = before + time.monotonic() - began
        with atomic_path(self.final) as folder:
            folder.mkdir()
            for path in self._draws.values():
                copy_file(path, folder / path.name)
            write_json(folder / ACCOUNT, self._account(progress))
            write_digests(folder)
        shutil.rmtree(self._state / "draws", ignore_errors=True)

    def _account(self, progress: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "run": {key: self._run[key] for key in ("task", "model", "variant", "seed")},
            "engine": progress["engine"],
            "wall_seconds": round(progress["seconds"], 3),
            "gpus": self._gpus,
            "gpu_hours": round(self._gpus * progress["seconds"] / 3600, 4),
            "tokens": sum(map(_tokens, self._draws.values())),
            "peak_memory_gib": peak_memory_gib(self._gpus),
            "hardware": hardware(self._gpus),
            "weights_sha256": self._weights,
            "packages": package_versions(),
            "started": moment(progress["started"]),
            "finished": moment(time.time()),
            "state": self._state.name,
        }

    def _progress(self) -> dict[str, Any] | None:
        """Returns what is noted of the attempts so far; None where nothing is, or nothing that can be read."""
        file = self._state / PROGRESS_FILE
        if not file.exists():
            return None
        try:
            noted = json.loads(file.read_text(encoding="utf-8"))
            known = {key: noted[key] for key in ("weights_sha256", "started", "seconds", "engine")}
            return {**known, "drawn": dict(noted.get("drawn", {}))}  # SHA-256 of each benchmark's draws
        except (ValueError, KeyError, TypeError):
            return None


def _unreadable(draws: Path) -> str | None:
    """Why a file of draws cannot be read; None: it can."""
    try:
        read_draws(draws)
    except UserError as error:
        return str(error)
    return None


def _tokens(file: Path) -> int:
    return int(pq.read_table(file, columns=["n_tokens"])["n_tokens"].to_numpy().sum())
