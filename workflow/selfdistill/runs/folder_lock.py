"""Locks a folder of results/state, so that an orphan of a killed workflow and a new job do not collide."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from selfdistill.errors import UserError
from selfdistill.files import remove_left_overs

_POLL_SECONDS = 1.0


def is_held(folder: Path) -> bool:
    """Returns whether a process holds a folder now."""
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    with open(handle, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextlib.contextmanager
def folder_lock(folder: Path, report: Callable[[str], None], doing: str) -> Iterator[None]:
    """Hold a folder, which is made. While another process does, wait for it to end.

    The lock is the kernel's and falls with its process, so a killed job leaves none behind. What else one left, files
    that it was at, is removed.

    Args:
        folder: what to hold.
        report: takes one line of progress.
        doing: what the other process does, for the report: "training this run".

    Raises:
        UserError: where the lock is no file of the folder's own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR):
            raise
        raise UserError(f"{folder / 'lock'}: expected a file, found a link or folder; remove it, run again") from None
    with open(handle, "w") as file:
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
        remove_left_overs(folder, locked=True)
        yield
