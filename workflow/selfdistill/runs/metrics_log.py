"""metrics.jsonl, appended one line a step, and the same numbers as TensorBoard events."""

import json
import math
import os
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from selfdistill.errors import UserError
from selfdistill.study.paths import RUN_FILES


class MetricsLog:
    """The metrics of one run. Survives kills: no step is written twice, none is lost, a torn last line is mended.

    After a resume from an earlier checkpoint the steps in between are computed again (with the same numbers, or nearly
    so, as the trainer can); they are already in the file and are left as they are.
    """

    def __init__(self, folder: Path):
        """`folder` holds metrics.jsonl and events/."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / RUN_FILES["metrics"]
        self.last = self._mend()  #: step of the last line, -1 if there is none
        self._events = SummaryWriter(str(folder / "events"), flush_secs=10)

    def _mend(self) -> int:
        """Cut off a line that a kill left half-written; return the last whole step, -1 if there is none."""
        if not self.path.exists():
            return -1
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            with open(self.path, "r+b") as file:
                file.truncate(len(whole))
        if not whole:
            return -1
        try:
            return int(json.loads(whole.removesuffix(b"\n").rpartition(b"\n")[2])["step"])
        except (ValueError, KeyError) as error:
            raise UserError(f"{self.path}: last line is not a metrics record ({error}); delete the folder") from error

    def steps(self, last: int) -> list[dict[str, Any]]:
        """The metrics of the steps up to `last`, in order."""
        if not self.path.exists():
            return []
        with open(self.path, encoding="utf-8") as file:
            return [metrics for line in file if (metrics := json.loads(line))["step"] <= last]

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Append one step, durably, unless it is there already. NaN and infinity become null (JSON has neither)."""
        if step <= self.last:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **finite}) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for name, value in metrics.items():
            self._events.add_scalar(name, value, step)
        self.last = step

    def close(self) -> None:
        self._events.close()
