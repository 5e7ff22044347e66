"""Appends to metrics.jsonl one line a step, and writes the same numbers as TensorBoard events."""

import json
import math
import os
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from selfdistill.errors import UserError
from selfdistill.files import sync_folder, write_text
from selfdistill.study.paths import RUN_FILES


def follows(step: int, last: int) -> bool:
    """Returns whether a step is the next one of a log: one after the last. An empty one (-1) may begin with any.

    verl can go on from a checkpoint of another folder.
    """
    return step == last + 1 or last == -1


class MetricsLog:
    """The metrics of one run. Survives kills: no step is written twice, none is lost, a torn last line is mended.

    After a resume from an earlier checkpoint the steps in between are computed again (with the same numbers, or nearly
    so, as the trainer can); they are already in the file and are left as they are.
    """

    def __init__(self, folder: Path, saved: str = ""):
        """Open the log of a run.

        Args:
            folder: holds metrics.jsonl and events/.
            saved: what the log was at the checkpoint that the run goes on from. It is put back where the log, or
                what stands in it behind that, is spoilt.

        Raises:
            UserError: what is there is no log, or lacks a step, and nothing was saved.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / RUN_FILES["metrics"]
        if saved and not self._is_whole(saved):
            write_text(self.path, saved)
        self.last = self._mend()  #: step of the last line, -1 if there is none
        self._events = SummaryWriter(str(folder / "events"), flush_secs=10)

    def _is_whole(self, saved: str) -> bool:
        """Returns whether the log goes on from what was saved of it."""
        try:
            return self.path.read_bytes().startswith(saved.encode()) and self._mend() >= 0
        except (OSError, UserError):
            return False

    def text(self) -> str:
        """Return the log as it is now, for `saved`."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    def _mend(self) -> int:
        """Cut off a line that a kill left half-written; return the last whole step, -1 if there is none."""
        if not self.path.exists():
            return -1
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with open(self.path, "r+b") as file:
                file.truncate(len(whole))
        last = -1
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                step = int(json.loads(line)["step"])
            except (ValueError, KeyError, TypeError) as error:
                raise UserError(
                    f"{self.path}, line {number}: not a metrics record ({error}); delete the folder, run again"
                ) from error
            if not follows(step, last):
                raise UserError(
                    f"{self.path}, line {number}: step {step} comes after step {last}, and every step is written once, "
                    "in order; delete the folder, run again"
                )
            last = step
        return last

    def check_follows(self, done: int) -> None:
        """Raises UserError where the log ends before a checkpoint after step `done`: steps would be missing."""
        if self.last < done:
            raise UserError(
                f"{self.path}: ends with step {self.last}, but there is a checkpoint after step {done}; put the file "
                f"back, or delete {self.path.parent} and run again"
            )

    def steps(self, last: int) -> list[dict[str, Any]]:
        """Return the metrics of the steps up to `last`, in order."""
        if not self.path.exists():
            return []
        with open(self.path, encoding="utf-8") as file:
            return [metrics for line in file if (metrics := json.loads(line))["step"] <= last]

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Append one step, durably, unless it is there already. NaN and infinity become null (JSON has neither)."""
        if step <= self.last:
            return
        if not follows(step, self.last):
            raise UserError(f"{self.path}: ends with step {self.last}, expected step {step - 1}; delete the folder")
        new = not self.path.exists()
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **finite}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(self.path.parent)
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)
        self.last = step

    def close(self) -> None:
        """Close the TensorBoard events; `metrics.jsonl` is on the disk after every step anyway."""
        self._events.close()
