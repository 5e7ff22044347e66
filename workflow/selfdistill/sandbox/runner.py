"""Runs a program on several inputs in one sandbox, with all waiting limited from outside."""

import contextlib
import json
import os
import secrets
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from selfdistill.errors import UserError
from selfdistill.sandbox.isolation import ENVIRONMENT, HARNESS, PACKAGES, Isolation, free_uid, own_bytes, packages
from selfdistill.sandbox.syscalls import refused_calls

Status = Literal["ok", "error", "time", "output", "ended"]
_START_SECONDS = 60.0  # a cold disk and a busy machine are no reason to end a training
_GRACE_SECONDS = 5.0  # of the harness's, beyond the limit that it watches itself


@dataclass(frozen=True)
class Limits:
    """Holds what a program may use.

    Attributes:
        seconds: processor time of a test.
        wall_seconds: time of a test by the clock; longer than `seconds`, since other work shares the machine.
        question_seconds: time of all tests together by the clock; tests that were not begun by then count as too slow.
        memory_bytes: address space of each process beyond the interpreter's own.
        processes: processes and threads at a time.
        output_bytes: of standard output, or of a returned value as JSON.
        file_bytes: of all files in the working folder.
    """

    seconds: float = 6.0
    wall_seconds: float = 12.0
    question_seconds: float = 60.0
    memory_bytes: int = 1 << 30
    processes: int = 16
    output_bytes: int = 8 << 20
    file_bytes: int = 16 << 20


@dataclass(frozen=True)
class Call:
    """One run of a program: with a text on standard input or, with `arguments`, a call of one of its functions.

    Attributes:
        stdin: the text.
        arguments: JSON values in order, or by name.
        function: its name, or "" for the first that there is.
        classes: as programming sites do, look for it in a class Solution first, and take numbers and arrays of numpy
            for JSON's.
    """

    stdin: str = ""
    arguments: Sequence[Any] | Mapping[str, Any] | None = None
    function: str = ""
    classes: bool = True


@dataclass(frozen=True)
class Run:
    """Holds what came of one run.

    Attributes:
        status: "ok"; "error" (an exception, an exit status that is not 0, a signal); "time"; "output" (too much);
            "ended" (the sandbox ended before the run did).
        stdout: what the program printed.
        result: what the function returned, as JSON; None without one.
        error: type and message of the exception, or what else went wrong.
        places: innermost places in the program of an exception, outermost first: line and function.
        seconds: processor time.
    """

    status: Status
    stdout: str = ""
    result: str | None = None
    error: str = ""
    places: tuple[tuple[int, str], ...] = ()
    seconds: float = 0.0


def run_with(way: Isolation, program: str, calls: Sequence[Call], limits: Limits) -> list[Run]:
    """Run a program on each input behind certain walls, in one sandbox with a fresh process for each.

    A sandbox in which a program left files is not used again. Raises UserError where it does not start.
    """
    deadline = time.monotonic() + limits.question_seconds
    runs: list[Run] = []
    while len(runs) < len(calls):
        with _session(way, program, limits) as session:
            runs += session.run(calls[len(runs) :], limits, deadline)
    return runs


class NotStartedError(UserError):
    """A sandbox that does not start; `words` are bubblewrap's, or the interpreter's."""

    def __init__(self, words: str) -> None:
        super().__init__(f"the sandbox for programs that a model wrote does not start: {words}; see docs/sandbox.md")
        self.words = words


class _EndedError(Exception):
    """The harness is gone, or says nothing in time."""


class _Session:
    """A harness that is running, and the pipes to it."""

    def __init__(
        self, command: list[str], folder: str, output_bytes: int, fds: tuple[int, ...], way: Isolation
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the session)
        self._longest = 14 * output_bytes + (1 << 20)  # of a reply: output and result, escaped
        self._mark = {} if way.bwrap else {"SANDBOX": secrets.token_hex()}  # of all that is started in there
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=ENVIRONMENT | self._mark,
            cwd=folder,
            start_new_session=True,
            pass_fds=fds,
            **({"user": (uid := free_uid()), "group": uid, "extra_groups": []} if way.as_other else {}),
        )
        for stream in (self._process.stdin, self._process.stdout):
            os.set_blocking(stream.fileno(), False)

    def start(self, settings: dict[str, Any]) -> None:
        """Hand over program and settings. Raises UserError with what was said where nothing starts."""
        try:
            self._ask(settings, time.monotonic() + _START_SECONDS)
        except _EndedError:
            raise NotStartedError(self._last_words()) from None

    def run(self, calls: Sequence[Call], limits: Limits, deadline: float) -> Iterator[Run]:
        """Returns what comes of each call, until one leaves something behind."""
        for number, call in enumerate(calls):
            left = deadline - time.monotonic()
            if left <= 0:
                yield from [Run("time", error="the time for all tests was up") for _ in calls[number:]]
                return
            job: dict[str, Any] = {"stdin": call.stdin}
            if call.arguments is not None:
                job = {"arguments": call.arguments, "function": call.function, "classes": call.classes}
            wall = min(limits.wall_seconds, left)
            try:
                reply = self._ask(job | {"wall_seconds": wall}, time.monotonic() + wall + _GRACE_SECONDS)
                run, clean = _run_of(reply, limits), reply["clean"] is True
            except _EndedError:
                yield from [Run("ended", error="the sandbox ended") for _ in calls[number:]]
                return
            yield run
            if not clean:
                return

    def close(self) -> None:
        """End everything in the sandbox."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for name, value in self._mark.items():
            _end_marked(f"{name}={value}")
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what could not be delivered
                stream.close()
        self._errors.close()

    def _ask(self, message: dict[str, Any], deadline: float) -> dict[str, Any]:
        """The reply to a message. Raises _EndedError where it does not come in time, or is none."""
        data = json.dumps(message).encode()
        self._write(struct.pack("<Q", len(data)) + data, deadline)
        (length,) = struct.unpack("<Q", self._read(8, deadline))
        if length > self._longest:
            raise _EndedError
        try:
            reply = json.loads(self._read(length, deadline))
        except (ValueError, RecursionError):
            raise _EndedError from None
        if not isinstance(reply, dict):
            raise _EndedError
        return reply

    def _write(self, data: bytes, deadline: float) -> None:
        view, fd = memoryview(data), self._process.stdin.fileno()
        while view:
            self._wait(fd, select.POLLOUT, deadline)
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                continue
            except OSError:
                raise _EndedError from None

    def _read(self, count: int, deadline: float) -> bytes:
        data, fd = bytearray(), self._process.stdout.fileno()
        while len(data) < count:
            self._wait(fd, select.POLLIN, deadline)
            part = os.read(fd, min(count - len(data), 1 << 20))
            if not part:
                raise _EndedError
            data += part
        return bytes(data)

    def _wait(self, fd: int, event: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(fd, event)
        if not poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            raise _EndedError

    def _last_words(self) -> str:
        """Returns what bubblewrap or the interpreter said when it did not start."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._errors.seek(0)
        words = " ".join(self._errors.read(4000).decode("utf-8", "replace").split())
        return words[-300:] or f"no answer within {_START_SECONDS:.0f} s"


def _end_marked(mark: str) -> None:
    """End the processes that have a variable in their environment: of a harness that a program ended, the others."""
    for _ in range(100):  # those that start more of them meanwhile
        found = [pid for pid in filter(str.isdigit, os.listdir("/proc")) if mark in _environment(pid)]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        if not found:
            return


def _environment(pid: str) -> list[str]:
    try:
        with open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as file:
            return file.read().split("\0")
    except OSError:
        return []


@contextlib.contextmanager
def _session(way: Isolation, program: str, limits: Limits) -> Iterator[_Session]:
    """A sandbox with the program, before its first call. Raises UserError where it does not start."""
    with (
        tempfile.TemporaryDirectory(prefix="sandbox-", ignore_cleanup_errors=True) as outer,
        _readable({"harness": HARNESS.read_bytes(), "refused": refused_calls()}) as fds,
    ):
        folder = os.path.join(outer, "work")
        os.mkdir(folder)
        command, inside = way.command(folder, packages(), limits.file_bytes, fds)
        settings = {
            "program": program,
            "packages": inside,
            "preloaded": PACKAGES,
            "uid": free_uid() if way.as_root else None,
            "tasks": 0 if way.as_root or way.as_other else _tasks_counted(),
            "own_bytes": own_bytes(),
            "seconds": limits.seconds,
            "memory_bytes": limits.memory_bytes,
            "processes": limits.processes,
            "output_bytes": limits.output_bytes,
            "file_bytes": limits.file_bytes,
            "refused": "" if way.bwrap else (refused_calls() or b"").hex(),
        }
        session = _Session(command, "/" if way.bwrap else folder, settings["output_bytes"], tuple(fds.values()), way)
        try:
            session.start(settings)
            yield session
        finally:
            session.close()


@contextlib.contextmanager
def _readable(texts: Mapping[str, bytes | None]) -> Iterator[dict[str, int]]:
    """File descriptors that give these bytes, by name; none for None."""
    fds = {name: os.memfd_create(name) for name, data in texts.items() if data is not None}
    try:
        for name, fd in fds.items():
            os.write(fd, texts[name])
            os.lseek(fd, 0, os.SEEK_SET)
        yield fds
    finally:
        for fd in fds.values():
            os.close(fd)


def _tasks_counted() -> int:
    """Tasks of this user that the kernel counts inside a user namespace too, which it does before Linux 5.14."""
    release = tuple(int(part) for part in os.uname().release.split(".")[:2] if part.isdigit())
    if release >= (5, 14):
        return 0
    from selfdistill.sandbox.harness import tasks_of_user

    return tasks_of_user()


def _run_of(reply: dict[str, Any], limits: Limits) -> Run:
    """A run from a reply of the harness, which was written next to the program and is read as data of unknown form."""
    try:
        stdout, told, ended, code = str(reply["stdout"]), dict(reply["told"]), reply["ended"], int(reply["code"])
        seconds = float(reply["cpu_seconds"])
        places = tuple((int(line), str(name)[:100]) for line, name in list(told.get("frames", []))[:3])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _EndedError from None
    result, error = told.get("result"), told.get("error")
    error = error[:4000] if isinstance(error, str) else ""  # a program may have written a tower of lists there
    if ended == "time" or seconds > limits.seconds or code == -signal.SIGXCPU:
        return Run("time", stdout, None, "the time limit was exceeded", (), seconds)
    if ended == "output" or code == -signal.SIGXFSZ:
        return Run("output", stdout, None, "the limit on output was exceeded", (), seconds)
    if code != 0:
        return Run("error", stdout, None, error or _of_code(code), places, seconds)
    return Run("ok", stdout, result if isinstance(result, str) else None, "", (), seconds)


def _of_code(code: int) -> str:
    if code > 0:
        return f"exit status {code}"
    try:
        return f"ended by signal {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
