"""Manages the folder of a run's state: lock, checkpoints, and the finished result.

It is keyed by the hash of the run's config and belongs to no Snakemake rule, so that neither a failed job nor a killed
workflow loses what was computed (docs/architecture.md).
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from selfdistill.errors import UserError
from selfdistill.files import atomic_path
from selfdistill.runs.digests import fault, write_digests
from selfdistill.runs.folder_lock import folder_lock
from selfdistill.study.paths import MODEL, RUN_FILES

#: What a finished run consists of: output of its rule -> name.
RESULTS = {**RUN_FILES, "model": MODEL}
_FACTS = "facts.json"


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

    @contextlib.contextmanager
    def finishing(self) -> Iterator[Path]:
        """Yield an empty folder for RESULTS; it becomes `final`, with digests of all that is in it."""
        with atomic_path(self.final) as folder:
            folder.mkdir()
            yield folder
            write_digests(folder)

    def is_complete(self, report: Callable[[str], None]) -> bool:
        """Returns whether the run is finished and its results are whole.

        Spoilt results that a checkpoint can bring back are reported, and do not count.

        Raises:
            UserError: for spoilt results without a checkpoint. Training may take days, so it is not begun unasked.
        """
        if not self.final.exists():
            return False
        absent = next((f"{name} is missing" for name in RESULTS.values() if not (self.final / name).exists()), None)
        wrong = absent or fault(self.final)
        if wrong is None:
            return True
        if not any(self._checkpoints.glob("*")):  # verl has names of its own in there
            raise UserError(
                f"{self.final}: the finished run is spoilt ({wrong}), and there is no checkpoint left; delete "
                f"{self.path} and run again to train it anew, or put that file back from a copy"
            )
        report(f"{self.final}: spoilt ({wrong}), does not count")
        return False

    def save_checkpoint(self, step: int, tensors: dict[str, dict[str, torch.Tensor]], facts: dict[str, Any]) -> None:
        """Write the state after `step` as a whole, and read it back; the one before it stays, older ones go.

        Args:
            step: training steps done.
            tensors: file stem -> name -> tensor, one safetensors file each.
            facts: small JSON-able values.

        Raises:
            UserError: where what was written does not read back.
        """
        for old in self._steps()[:-1]:  # beforehand: there need never be room for three
            shutil.rmtree(old, ignore_errors=True)
        with atomic_path(self._checkpoints / f"step_{step:06d}") as folder:
            folder.mkdir()
            for stem, state in tensors.items():
                save_file(
                    {name: value.detach().contiguous() for name, value in state.items()}, folder / f"{stem}.safetensors"
                )
            (folder / _FACTS).write_text(json.dumps({"step": step, **facts}))
            write_digests(folder)
            for stem, state in tensors.items():
                with safe_open(folder / f"{stem}.safetensors", "pt") as file:
                    if set(file.keys()) != set(state):
                        raise UserError(
                            f"{folder}: {stem}.safetensors does not read back; is the disk sound? Run again"
                        )

    def load_checkpoint(
        self, report: Callable[[str], None]
    ) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]] | None:
        """Tensors and facts of the latest checkpoint that is whole; None where there is no checkpoint at all.

        Newer ones that are not whole are reported and removed.

        Raises:
            UserError: where there are checkpoints and none is whole.
        """
        spoilt: dict[Path, str] = {}
        for folder in reversed(self._steps()):
            wrong = fault(folder)
            if wrong is None:
                try:
                    tensors = {file.stem: load_file(file) for file in sorted(folder.glob("*.safetensors"))}
                    facts = json.loads((folder / _FACTS).read_text())
                except (OSError, ValueError, SafetensorError) as error:
                    wrong = str(error)
            if wrong is None:
                for newer, why in spoilt.items():
                    report(f"{newer}: this checkpoint is spoilt ({why}) and removed; going on from {folder.name}")
                    shutil.rmtree(newer, ignore_errors=True)
                return tensors, facts
            spoilt[folder] = wrong
        if spoilt:
            each = "; ".join(f"{folder.name}: {wrong}" for folder, wrong in spoilt.items())
            raise UserError(
                f"{self._checkpoints}: none of the checkpoints can be read ({each}); delete {self.path} and run again "
                "to train this run from its beginning"
            )
        return None

    def latest_step(self) -> int:
        """Return the step of the latest checkpoint, whole or not; 0 where there is none."""
        steps = self._steps()
        return int(steps[-1].name.removeprefix("step_")) if steps else 0

    def drop_checkpoints(self) -> None:
        """Free the space of a finished run's checkpoints."""
        shutil.rmtree(self._checkpoints, ignore_errors=True)

    def _steps(self) -> list[Path]:
        return sorted(self._checkpoints.glob("step_*"))
