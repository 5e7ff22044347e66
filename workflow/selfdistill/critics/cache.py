"""Writes each critique to the disk before it is used, so that a resumed run reads the same ones.

A critique is kept under what decides it. A failure is kept for its step alone: that step is computed again as it was,
and a later one asks anew.
"""

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from selfdistill.critics.request import Critique, Request
from selfdistill.errors import UserError
from selfdistill.files import sha256_json, sync_folder

#: In a run's state.
FILE = "critiques.jsonl"


def key_of(identity: str, request: Request, step: int | None = None) -> str:
    """Return the name of a critique: SHA-256 of all that decides it.

    Args:
        identity: of the critic.
        request: problem, response and verdict.
        step: of a critic whose weights are others at each step.
    """
    problem = request.problem
    asked = [problem.problem, [list(each) for each in problem.messages], problem.answer, problem.solution]
    return sha256_json([identity, asked, request.response, request.correct, request.truncated, step])


class CritiqueCache:
    """A file of JSON lines, appended. What is in memory is where each critique stands in it.

    A line has `key` and the fields of a Critique; a failure's line also has `step`.
    """

    def __init__(self, folder: Path):
        """Open the cache in a run's state folder. Raises UserError for a line that is none, but for a torn last one."""
        self.path = Path(folder) / FILE
        self._places: dict[tuple[str, int | None], int] = {}
        self._lock = threading.Lock()
        Path(folder).mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        self._file = open(self.path, "a+b")  # noqa: SIM115  (as long as the run lasts)
        if new:
            sync_folder(folder)
        self._read()

    def get(self, key: str, step: int) -> Critique | None:
        """Return the critique of a key as it was at a step; None where nobody asked."""
        for name in ((key, step), (key, None)):
            if name in self._places:
                return self._at(self._places[name])
        return None

    def put(self, key: str, critique: Critique) -> None:
        """Append a critique. It is in the file when this returns, and on the disk after `sync`. Any thread may."""
        self._append({"key": key, **_changed(critique)}, (key, None))

    def put_failure(self, key: str, step: int, critique: Critique) -> None:
        """Append a failure that a step went on with."""
        self._append({"key": key, "step": step, **_changed(critique)}, (key, step))

    def sync(self) -> None:
        """Have all of it on the disk."""
        with self._lock:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: Mapping[str, Any], name: tuple[str, int | None]) -> None:
        with self._lock:
            place = self._file.seek(0, os.SEEK_END)
            self._file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())
            self._file.flush()
            self._places[name] = place

    def _at(self, place: int) -> Critique:
        with self._lock:
            self._file.seek(place)
            line = json.loads(self._file.readline())
        return _critique(line)

    def _read(self) -> None:
        self._file.seek(0)
        place = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):  # a kill cut it off
                self._file.truncate(place)
                break
            try:
                found = json.loads(line)
                _critique(found)
                self._places[found["key"], found.get("step")] = place
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{self.path}, line {number}: no critique ({error!r}); delete the file: the run goes on from its "
                    "checkpoint and asks its critic again, whose answers may be others"
                ) from None
            place += len(line)


def _critique(line: Mapping[str, Any]) -> Critique:
    """The critique of a line. Raises TypeError for a field that there is not, and for a value of another type."""
    fields = {name: value for name, value in line.items() if name not in ("key", "step")}
    for name, value in fields.items():
        own = type(getattr(Critique(), name, None))
        if type(value) is not own and not (own is float and type(value) is int):
            raise TypeError(f"{name} is {value!r}")
    return Critique(**fields)


def _changed(critique: Critique) -> dict[str, Any]:
    """Fields that are not at their default."""
    plain = Critique()
    return {key: value for key, value in asdict(critique).items() if value != getattr(plain, key)}
