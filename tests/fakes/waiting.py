"""Waiting for what other processes do, however slow this machine is."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
#: Of everything that is waited for: it ends what hangs, and says nothing of how long something may take.
SECONDS = 900


def wait_for(condition: Callable[[], T], said: Callable[[], object] = lambda: "", seconds: float = SECONDS) -> T:
    """Wait until a condition holds.

    Args:
        condition: what has to be true.
        said: what a failure tells besides, for example a log.
        seconds: after so many it fails.

    Returns:
        What the condition gave.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"nothing came in {seconds} s\n{said()}"
        time.sleep(0.02)
    return found


def is_running(pid: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def written(file: Path) -> int:
    """The number in a file, once it is there."""
    return int(wait_for(lambda: file.exists() and file.read_text()))
