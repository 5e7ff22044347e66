"""Runs a command so that nothing of it outlives the job.

    python -m selfdistill.training.verl.process_group [--folder F] -- WORD ...

Ray starts processes that leave their parent's group and may live on for minutes when it is killed. So the command runs
below a guard that all orphans fall to (Linux: PR_SET_CHILD_SUBREAPER), and the guard ends them all when the command
ends, at SIGTERM, and when its standard input ends. The last is how it notices that a job is gone, however it was
killed, on this machine and through srun on another.
"""

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import IO

#: Stands for the temporary folder in the words of a command.
FOLDER = "{folder}"
PATIENCE_SECONDS = 3.0
_KILLED_SECONDS = 10.0  # a process that waits for a device does not even die of SIGKILL
_PASSED_ON_SECONDS = 5.0  # by srun, to and fro
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class _Ended(BaseException):
    """A signal, or the end of standard input."""


def guarded(words: Sequence[str], folder: str | None = None) -> list[str]:
    """Return the command that runs `words` under a guard; standard input must be a pipe that its caller holds open.

    FOLDER in the words becomes a temporary folder, which goes with the command: the one given, or a new one of the
    machine that the guard runs on.
    """
    return [sys.executable, "-m", __name__, *(["--folder", folder] if folder else []), "--", *words]


def start_guarded(
    words: Sequence[str],
    environment: Mapping[str, str],
    *,
    folder: str | None = None,
    through: Sequence[str] = (),
    output: IO[bytes] | None = None,
) -> subprocess.Popen:
    """Start a command under a guard, which itself is started `through` other words: those of srun, or none.

    output: takes standard output and error of all of it; None: they are this process's.
    """
    command = [*through, *guarded(words, folder)]
    streams = {} if output is None else {"stdout": output, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=dict(environment), stdin=subprocess.PIPE, start_new_session=True, **streams)


def end_guarded(processes: Iterable[subprocess.Popen]) -> None:
    """Ask all to end, by closing their input, and see that they do."""
    processes = list(processes)
    for each in processes:
        with contextlib.suppress(OSError):
            each.stdin.close()
    end = time.monotonic() + PATIENCE_SECONDS + _KILLED_SECONDS + _PASSED_ON_SECONDS
    for each in processes:
        try:
            each.wait(timeout=max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns its exit status; 128 + n where signal n ended it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder")
    parser.add_argument("words", nargs="+")
    options = parser.parse_args(arguments)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in _ENDS:
        signal.signal(number, _end)
    folder = options.folder
    try:
        # Short: the names of Ray's sockets below it have a limit of 107 bytes.
        folder = folder or tempfile.mkdtemp(prefix="sd")
        threading.Thread(target=_end_with_input, daemon=True).start()
        words = [word.replace(FOLDER, folder) for word in options.words]
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)
        return _status_of(child.pid)
    except _Ended:
        return 128 + signal.SIGTERM
    finally:
        _ignore_ends()
        _end_descendants()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _end(number: int, frame: object) -> None:
    _ignore_ends()  # the end of the input follows a signal, and must not break off what ends the others
    raise _Ended


def _ignore_ends() -> None:
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)


def _end_with_input() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _die_with_parent() -> None:
    """In the child: be killed when the guard is, which is nobody's plan."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _status_of(pid: int) -> int:
    """Wait for a child, and for orphans on the way, which would stay as zombies."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end_descendants() -> None:
    _signal_descendants(signal.SIGTERM)
    patience = time.monotonic() + PATIENCE_SECONDS
    while descendants(os.getpid()) and time.monotonic() < patience:
        _reap()
        time.sleep(0.05)
    patience = time.monotonic() + _KILLED_SECONDS
    while descendants(os.getpid()) and time.monotonic() < patience:
        _signal_descendants(signal.SIGKILL)
        _reap()
        time.sleep(0.05)


def _signal_descendants(number: int) -> None:
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def descendants(pid: int) -> list[int]:
    """Processes below a process that are alive, from /proc."""
    children: dict[int, list[int]] = {}
    dead = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                state, parent = file.read().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(parent), []).append(int(name))
        if state == "Z":
            dead.add(int(name))
    found, left = [], [pid]
    while left:
        below = children.get(left.pop(), [])
        found += below
        left += below
    return [each for each in found if each not in dead]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
