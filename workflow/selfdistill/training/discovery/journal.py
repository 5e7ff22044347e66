"""Keeps the attempts of a running job in a file, one line a batch, which a resumed job reads."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from selfdistill.evaluation.attempts import Attempt
from selfdistill.files import atomic_path

_FILE = "attempts.jsonl"


class Journal:
    """Batches of attempts in the order in which they were made. A batch that was not written whole was not made."""

    def __init__(self, state: Path, report: Callable[[str], None]):
        """state: folder of the job's state, which the caller holds; report: takes one line of progress."""
        self._path = Path(state) / _FILE
        self._batches: list[list[Attempt]] = []
        if self._path.exists():
            whole = self._read()
            if whole:
                report(f"{sum(map(len, self._batches))} attempts are there already")
            else:
                report(f"{self._path}: its last lines are not whole, and count as not made")
                self._rewrite()

    def __len__(self) -> int:
        """Return the number of attempts."""
        return sum(map(len, self._batches))

    def of(self, question: str) -> list[Attempt]:
        """Return the attempts at a question, in order."""
        return [attempt for batch in self._batches for attempt in batch if attempt.question == question]

    def all(self) -> list[Attempt]:
        """Return every attempt, in order."""
        return [attempt for batch in self._batches for attempt in batch]

    def add(self, batch: Sequence[Attempt]) -> None:
        """Append a batch, and see to it that it is on the disk."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps([vars(attempt) for attempt in batch]) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._batches.append(list(batch))

    def forget(self, question: str, after: int) -> None:
        """Drop the attempts at a question that were made after a turn: those of weights that were not saved."""
        kept = [b for b in self._batches if b[0].question != question or b[0].turn <= after]
        if len(kept) < len(self._batches):
            self._batches = kept
            self._rewrite()

    def _read(self) -> bool:
        """Read batches up to the first line that is not whole; return whether there is none such."""
        for line in self._path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            try:
                batch = [Attempt(**row) for row in json.loads(line)]
            except (ValueError, TypeError):
                return False
            if not line.endswith("\n") or not batch:
                return False
            self._batches.append(batch)
        return True

    def _rewrite(self) -> None:
        with atomic_path(self._path) as temporary:
            text = "".join(json.dumps([vars(each) for each in batch]) + "\n" for batch in self._batches)
            Path(temporary).write_text(text, encoding="utf-8")
