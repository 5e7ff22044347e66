"""Reads the ends of files that others are writing, without a lock."""

import os
from pathlib import Path

from selfdistill.study.results import FAILED_LINE
from selfdistill.texts import one_line, shortened, without_secrets

_LOG_BYTES = 1 << 14


def last_lines(file: str | os.PathLike, most_bytes: int, *, torn: bool = False) -> list[str]:
    """Return the whole lines at the end of a file, none where there is no file.

    Args:
        file: what to read; it may grow, or vanish.
        most_bytes: how much of its end is read.
        torn: whether a last line without its line break counts too.
    """
    try:
        with open(file, "rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            opened.seek(max(0, size - most_bytes))
            content = opened.read(most_bytes)
    except OSError:  # it vanished, or a node's file system does not answer for it: the next look may find it
        return []
    if size > most_bytes:
        content = content.partition(b"\n")[2]
    if not torn:
        content = content[: content.rfind(b"\n") + 1]
    return content.decode("utf-8", errors="replace").splitlines()


def last_said(log: str | os.PathLike) -> str:
    """Return the last line of a job's log that says something, fit for a terminal; empty where there is none."""
    lines = last_lines(log, _LOG_BYTES, torn=True)
    return shortened(without_secrets(one_line(next((line.strip() for line in reversed(lines) if line.strip()), ""))))


def failure(log: str | Path) -> str | None:
    """Return the reason that a job's log ends with; None where it does not end by an error of its own."""
    said = last_said(log)
    return said.removeprefix(FAILED_LINE) if said.startswith(FAILED_LINE) else None
