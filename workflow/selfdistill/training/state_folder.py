"""The folder of a run's state: a lock against a second trainer, checkpoints, and the finished result.

It is keyed by the hash of the run's config and belongs to no Snakemake rule, so that neither a failed job nor a killed
workflow loses what was computed (design.md, Contracts).
"""

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from selfdistill.files import atomic_path

_LOCK_POLL_SECONDS = 1.0


class StateFolder:
    """State of one run under results/state/<config hash>/."""

    def __init__(self, path: Path):
        self.path = path
        self.final = path / "final"
        self._checkpoints = path / "checkpoints"

    @contextlib.contextmanager
    def locked(self, report: Callable[[str], None]) -> Iterator[None]:
        """Hold the folder. While another process does (a trainer whose workflow was killed), wait for it to end.

        The lock is the kernel's and falls with its process, so a killed trainer leaves none behind.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "lock", "w") as file:
            waiting = False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if not waiting:
                        report(f"{self.path}: another process is training this run; waiting for it")
                    waiting = True
                    time.sleep(_LOCK_POLL_SECONDS)
            yield

    def save_checkpoint(self, step: int, tensors: dict[str, dict[str, torch.Tensor]], facts: dict[str, Any]) -> None:
        """Write the state after `step` as a whole, then remove older ones.

        Args:
            step: training steps done.
            tensors: file stem -> name -> tensor, one safetensors file each.
            facts: small JSON-able values.
        """
        with atomic_path(self._checkpoints / f"step_{step:06d}") as folder:
            folder.mkdir()
            for stem, state in tensors.items():
                save_file(
                    {name: value.detach().contiguous() for name, value in state.items()}, folder / f"{stem}.safetensors"
                )
            (folder / "facts.json").write_text(json.dumps({"step": step, **facts}))
        for old in self._steps()[:-1]:
            shutil.rmtree(old, ignore_errors=True)

    def load_checkpoint(self) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]] | None:
        """Tensors and facts of the latest checkpoint, or None."""
        steps = self._steps()
        if not steps:
            return None
        tensors = {file.stem: load_file(file) for file in sorted(steps[-1].glob("*.safetensors"))}
        return tensors, json.loads((steps[-1] / "facts.json").read_text())

    def drop_checkpoints(self) -> None:
        """Free the space of a finished run's checkpoints."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def _steps(self) -> list[Path]:
        return sorted(self._checkpoints.glob("step_*"))
