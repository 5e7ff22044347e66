"""One process at a time in a folder of results/state: an orphan of a killed workflow and a new job do not collide."""

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

_POLL_SECONDS = 1.0


@contextlib.contextmanager
def folder_lock(folder: Path, report: Callable[[str], None], doing: str) -> Iterator[None]:
    """Hold a folder, which is made. While another process does, wait for it to end.

    The lock is the kernel's and falls with its process, so a killed job leaves none behind.

    Args:
        folder: what to hold.
        report: takes one line of progress.
        doing: what the other process does, for the report: "training this run".
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        waiting = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    report(f"{folder}: another process is {doing}; waiting for it")
                waiting = True
                time.sleep(_POLL_SECONDS)
        yield
