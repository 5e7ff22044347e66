"""One training run with verl, from config to published result, resumable at any point."""

import contextlib
import ctypes
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from selfdistill.errors import UserError
from selfdistill.files import atomic_path, write_json
from selfdistill.provenance import Clock, RunInputs, build_provenance
from selfdistill.training.publish import publish
from selfdistill.training.state_folder import StateFolder
from selfdistill.training.verl.overrides import hydra_overrides

Report = Callable[[str], None]
_LIBRARY = Path(__file__).resolve().parents[3]  # the folder of the package
_CLOCK_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


def train(
    config: dict[str, Any],
    *,
    train_file: Path,
    val_file: Path,
    base_model: Path,
    state_dir: Path,
    outputs: dict[str, Path],
    threads: int,
    gpus: int,
    nodes: int,
    report: Report,
) -> None:
    """Train one run, or go on with it, or publish it again if it is complete.

    Args:
        config: the resolved run config, with trainer "verl".
        train_file, val_file: parquets of the task.
        base_model: folder of the initial weights.
        state_dir: where checkpoints, metrics and validation draws live while the run lasts.
        outputs: where to publish: config, metrics, provenance (files) and model (folder).
        threads: CPU threads of each worker.
        gpus, nodes: GPUs a node, and nodes.
        report: takes one line of progress.

    Raises:
        UserError: for whatever ended the run, with the reason that verl's processes left.
    """
    state = StateFolder(Path(state_dir))
    with state.locked(report):
        if state.final.exists():
            report(f"complete in {state.path}: publishing it again")
        else:
            _finish(config, Path(train_file), Path(val_file), Path(base_model), state, threads, gpus, nodes, report)
        publish(state, outputs)


def attention(setting: str) -> str:
    """The attention that `verl.attention` stands for here: "auto" is flash-attn where it is installed, else sdpa."""
    if setting != "auto":
        return setting
    return "flash_attention_2" if importlib.util.find_spec("flash_attn") else "sdpa"


def _finish(
    config: dict[str, Any],
    train_file: Path,
    val_file: Path,
    base_model: Path,
    state: StateFolder,
    threads: int,
    gpus: int,
    nodes: int,
    report: Report,
) -> None:
    chosen = attention(config["verl"]["attention"])
    words = hydra_overrides(
        config,
        train_file=train_file,
        val_file=val_file,
        model=base_model,
        state=state.path,
        gpus=gpus,
        nodes=nodes,
        attention=chosen,
    )
    clock = _ClockFile(state.path / "clock.json")
    with tempfile.TemporaryDirectory(prefix="sd", ignore_cleanup_errors=True) as temporary:
        # Of this job alone: jobs may share a machine. Short, for the names of sockets have a limit.
        words.append(f"+ray_kwargs.ray_init._temp_dir={temporary}")
        command = [sys.executable, "-m", "selfdistill.training.verl", *words]
        _run(command, _environment(config, threads), state.path / "reason.txt", clock)
    with atomic_path(state.final) as folder:
        folder.mkdir()
        shutil.copytree(state.path / "export", folder / "model")
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        shutil.copyfile(state.path / "metrics.jsonl", folder / "metrics.jsonl")
        files = RunInputs(train_file, val_file, base_model, folder / "model")
        times = Clock(clock.started, time.time(), clock.seconds)
        used = gpus * nodes if config["verl"]["device"] == "cuda" else 0
        facts = build_provenance(config, files, times, sys.argv, gpus=used)
        write_json(folder / "provenance.json", facts | {"attention": chosen})
    for name in ("checkpoints", "export"):
        shutil.rmtree(state.path / name, ignore_errors=True)
    report(f"trained in {clock.seconds:.0f} s")


def _environment(config: Mapping[str, Any], threads: int) -> dict[str, str]:
    """Of the trainer and, through Ray, of all its workers."""
    added = {
        "PYTHONPATH": os.pathsep.join([str(_LIBRARY), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
        "TQ_NUM_THREADS": str(min(8, os.cpu_count() or 1)),  # TransferQueue's own 8, where there are as many cores
        "HYDRA_FULL_ERROR": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",  # the model is a folder
        "TOKENIZERS_PARALLELISM": "false",
    }
    if config["verl"]["device"] == "cpu":
        added |= {"VERL_PLATFORM": "cpu", "VERL_ENGINE_DEVICE": "cpu"}
    return {**os.environ, **added}


def _run(command: list[str], environment: dict[str, str], reason: Path, clock: "_ClockFile") -> None:
    """Run verl until it ends, as a group of processes that ends with this one.

    Raises UserError with the reason that it left, or the signal that ended it.
    """
    reason.unlink(missing_ok=True)
    environment = environment | {"SELFDISTILL_REASON_FILE": str(reason.absolute())}
    child = subprocess.Popen(command, env=environment, start_new_session=True, preexec_fn=_die_with_parent)
    try:
        while child.poll() is None:
            time.sleep(1.0)
            clock.tick()
    finally:
        _end(child)
        clock.tick(now=True)
    if child.returncode == 0:
        return
    ended = f"signal {-child.returncode}" if child.returncode < 0 else f"exit status {child.returncode}"
    said = reason.read_text(encoding="utf-8") if reason.exists() else f"verl ended with {ended} and left no reason"
    raise UserError(f"{said} (the run resumes from its last checkpoint when it is started again)")


def _die_with_parent() -> None:
    """In the child: be killed when the parent is, so that no run goes on that nobody waits for (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(child: subprocess.Popen) -> None:
    """Whatever is left of the child and its group. Ray's own processes end with the one that started them."""
    for sent in (signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            os.killpg(child.pid, sent)
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                continue
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


class _ClockFile:
    """Seconds of work of a run over all its attempts, also those that were killed."""

    def __init__(self, path: Path):
        facts = json.loads(path.read_text()) if path.exists() else {"started": time.time(), "seconds": 0.0}
        self._path, self.started, self._before = path, facts["started"], facts["seconds"]
        self._began = self._written = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def tick(self, *, now: bool = False) -> None:
        """Write the time down, every now and then."""
        if now or time.monotonic() - self._written > _CLOCK_SECONDS:
            self._written = time.monotonic()
            write_json(self._path, {"started": self.started, "seconds": self.seconds})
