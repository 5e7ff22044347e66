"""Runs one training with verl, from config to published result, resumable at any point."""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import write_json
from selfdistill.runs.lifecycle import run_lifecycle, write_run_files
from selfdistill.runs.provenance import Clock, build_provenance
from selfdistill.runs.run_file import TRAINING, write_attempt
from selfdistill.runs.state_folder import StateFolder
from selfdistill.study.paths import MODEL, RUN_FILES
from selfdistill.study.verl_words import hydra_overrides
from selfdistill.tasks.graders import check_sandbox
from selfdistill.training.external_models import noted_models
from selfdistill.training.inputs import TrainingInputs
from selfdistill.training.verl.critic import server_of_job
from selfdistill.training.verl.process_group import end_guarded, start_guarded
from selfdistill.training.verl.ray_cluster import ray_cluster, ray_of_one_node

Report = Callable[[str], None]
#: What of its state says that something was saved: patterns of files.
CHECKPOINTS = ("checkpoints/latest_checkpointed_iteration.txt",)
_LIBRARY = Path(__file__).resolve().parents[3]  # the folder of the package
_CLOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Machine:
    """Says what verl has of a cluster.

    Attributes:
        threads: CPU threads of each worker.
        gpus: of each node.
        nodes: how many there are.
    """

    threads: int
    gpus: int
    nodes: int


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
    external: Mapping[str, Path] | None = None,
) -> None:
    """Train one run, or go on with it, or publish it again if it is complete.

    Args:
        config: the resolved run config, with trainer "verl".
        train_file, val_file: parquets of the task.
        base_model: folder of the initial weights.
        state_dir: where checkpoints, metrics and validation draws live while the run lasts.
        outputs: where to publish: config, metrics, provenance, records (files) and model (folder).
        threads: CPU threads of each worker.
        gpus, nodes: GPUs a node, and nodes.
        report: takes one line of progress.
        external: "teacher", "reference" and "critic" -> folder of another model, as the config asks for them.

    Raises:
        UserError: for whatever ended the run, with the reason that verl's processes left.
    """
    with run_lifecycle(state_dir, outputs, report, leftovers=["export"]) as state:
        if state is not None:
            inputs = TrainingInputs.of(train_file, val_file, base_model, external)
            _finish(config, inputs, Machine(threads, gpus, nodes), state, report)


def _device_peak_gib(metrics: Path) -> float | None:
    """The most memory of one GPU that any step of verl's workers logged."""
    with open(metrics, encoding="utf-8") as lines:
        peaks = [peak for line in lines if (peak := json.loads(line).get("memory/peak_gib")) is not None]
    return round(max(peaks), 3) if peaks else None


def attention(setting: str) -> str:
    """The attention that `verl.attention` stands for here: "auto" is flash-attn where it is installed, else sdpa."""
    if setting != "auto":
        return setting
    return "flash_attention_2" if importlib.util.find_spec("flash_attn") else "sdpa"


def _finish(
    config: dict[str, Any], inputs: TrainingInputs, machine: Machine, state: StateFolder, report: Report
) -> None:
    check_sandbox([config["grader"]], config.get("grading"))
    write_attempt(state.path, config, TRAINING, steps=config["steps"])
    clock = _ClockFile(state.path / "clock.json")
    run_verl(config, inputs, machine, state.path, report, clock=clock)
    with state.finishing() as folder:
        shutil.copytree(state.path / "export", folder / MODEL)
        write_run_files(folder, config, state, report)
        times = Clock(clock.started, time.time(), clock.seconds)
        used = machine.gpus * machine.nodes if config["verl"]["device"] == "cuda" else 0
        peak = _device_peak_gib(folder / RUN_FILES["metrics"]) if used else None
        facts = build_provenance(
            config, inputs.with_weights(folder / MODEL), times, sys.argv, gpus=used, device_peak_gib=peak
        )
        noted = {"external_models": noted_models(state.path, inputs.external)} if inputs.external else {}
        noted["attention"] = attention(config["verl"]["attention"])
        write_json(folder / RUN_FILES["provenance"], facts | noted)
    report(f"trained in {clock.seconds:.0f} s")


def run_verl(
    config: Mapping[str, Any],
    inputs: TrainingInputs,
    machine: Machine,
    state: Path,
    report: Report,
    *,
    clock: "_ClockFile | None" = None,
    search: bool = False,
) -> None:
    """Run verl's process to its end, or go on with it from its last checkpoint.

    Args:
        config: the resolved run config, with trainer "verl".
        inputs: its data and models.
        machine: what it has of the cluster.
        state: folder of checkpoints, metrics and what else the process writes.
        report: takes one line of progress.
        clock: counts its seconds; None: one of the state's own.
        search: as of `hydra_overrides`.

    Raises:
        UserError: for whatever ended it, with the reason that verl's processes left.
    """
    gpus, nodes = machine.gpus, machine.nodes
    words = hydra_overrides(
        config,
        train_file=inputs.train_file,
        val_file=inputs.val_file,
        model=inputs.base_model,
        state=state,
        gpus=gpus,
        nodes=nodes,
        attention=attention(config["verl"]["attention"]),
        external=inputs.external,
        search=search,
    )
    clock = clock or _ClockFile(state / "clock.json")
    command = [sys.executable, "-m", "selfdistill.training.verl", *words]
    environment = _environment(config, machine.threads)
    reason = state / "reason.txt"
    with _ended_by_sigterm(), server_of_job(config, inputs.external, state, gpus, report) as of_critic:
        environment |= of_critic
        if nodes > 1:
            workers = max(gpus, 1) if config["verl"]["device"] == "cpu" else gpus
            with ray_cluster(nodes, workers, environment=environment, report=report) as cluster:
                _run(command, environment | cluster.variables, reason, clock, cluster.check)
        else:
            _run(*ray_of_one_node(command, environment), reason, clock)


def _environment(config: Mapping[str, Any], threads: int) -> dict[str, str]:
    """Returns the environment of the trainer and, through Ray, of all its workers."""
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


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM (scancel, preemption) ends the block in order, unless somebody else handles it already."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _run(
    command: list[str],
    environment: dict[str, str],
    reason: Path,
    clock: "_ClockFile",
    check: Callable[[], None] = lambda: None,
) -> None:
    """Run verl until it ends, under a guard that ends with this process; `check` raises where it is to be given up.

    Raises UserError with the reason that it left, or the signal that ended it.
    """
    reason.unlink(missing_ok=True)
    environment = environment | {"SELFDISTILL_REASON_FILE": str(reason.absolute())}
    guard = start_guarded(command, environment)
    try:
        while guard.poll() is None:
            time.sleep(1.0)
            clock.tick()
            check()
    finally:
        end_guarded([guard])
        clock.tick(now=True)
    status = guard.returncode
    if status == 0:
        return
    ended = f"signal {status - 128}" if status > 128 else f"exit status {status}"
    cause = reason.read_text(encoding="utf-8") if reason.exists() else f"verl ended with {ended} and left no reason"
    raise UserError(f"{cause} (the run resumes from its last checkpoint when it is started again)")


class _ClockFile:
    """Seconds of work of a run over all its attempts, also those that were killed."""

    def __init__(self, path: Path):
        try:
            facts = json.loads(path.read_text()) if path.exists() else {"started": time.time(), "seconds": 0.0}
            self._path, self.started, self._before = path, facts["started"], facts["seconds"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}: cannot be read ({error!r}); delete it and run again: the run goes on from its checkpoint, "
                "and the time of earlier attempts is not counted"
            ) from None
        self._began = self._written = time.monotonic()

    @property
    def seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def tick(self, *, now: bool = False) -> None:
        """Write the time down, every now and then."""
        if now or time.monotonic() - self._written > _CLOCK_SECONDS:
            self._written = time.monotonic()
            write_json(self._path, {"started": self.started, "seconds": self.seconds})
