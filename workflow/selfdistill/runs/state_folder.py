"""The folder of a run's state: a lock against a second trainer, checkpoints, and the finished result.

It is keyed by the hash of the run's config and belongs to no Snakemake rule, so that neither a failed job nor a killed
workflow loses what was computed (design.md, Contracts).
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from selfdistill.files import atomic_path
from selfdistill.runs.folder_lock import folder_lock


class StateFolder:
    """State of one run under results/state/<config hash>/."""

    def __init__(self, path: Path):
        self.path = path
        self.final = path / "final"
        self._checkpoints = path / "checkpoints"

    @contextlib.contextmanager
    def locked(self, report: Callable[[str], None]) -> Iterator[None]:
        """Hold the folder (see `folder_lock`): another process may be a trainer whose workflow was killed."""
        with folder_lock(self.path, report, "training this run"):
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
