"""Runs inside the sandbox: a program on one input after another, each time in a process of its own.

`runner` starts this file with a fresh interpreter (python -I -S -E) and nothing of ours on its path, so it imports the
standard library only. Jobs come in and replies go out through two pipes that no program ever holds. The expected
outputs are never here: a reply says what a program printed or returned, and the judgement is made outside. So there
is no verdict that a program could forge; whatever it makes of its own process, the most that it can claim is an output.

Inside bubblewrap this process is number 1 of its own process namespace: nothing in there can end, stop or trace it,
and it can end everything else at once.
"""

import builtins
import contextlib
import errno
import gc
import json
import os
import re
import resource
import select
import signal
import struct
import sys
import time
import types
import typing

NAME = "program.py"  # the program's file in tracebacks; there is no such file
_REPORT = 3  # where a program's process says what it raised or returned
_FRAMES = 3
_STACK = 64 << 20
#: Standard modules that are worth loading once for all tests of a program that names them.
_PRELOADED = {
    "array", "bisect", "collections", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions", "functools",
    "heapq", "io", "itertools", "json", "math", "numbers", "operator", "queue", "random", "re", "statistics", "string",
    "threading", "time", "typing",
}  # fmt: skip


def read_exactly(fd: int, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        part = os.read(fd, min(count - len(data), 1 << 20))
        if not part:
            os._exit(0)  # whoever asked is gone, and with this process goes all that runs in the sandbox
        data += part
    return bytes(data)


def receive(fd: int) -> dict:
    (length,) = struct.unpack("<Q", read_exactly(fd, 8))
    return json.loads(read_exactly(fd, length))


def send(fd: int, message: dict) -> None:
    data = json.dumps(message).encode()
    view = memoryview(struct.pack("<Q", len(data)) + data)
    while view:
        view = view[os.write(fd, view) :]


def address_space() -> int:
    """Bytes of address space of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def drop_to(uid: int) -> None:
    """Leave root for a user who owns nothing: the kernel exempts root from the limit on processes."""
    os.chmod(".", 0o777)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def become_subreaper() -> None:
    """Have orphans of the program handed to this process, where it is not number 1."""
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def refuse_calls(lines: bytes) -> None:
    """Set the filter of system calls (`syscalls.refused_calls`) for this process, where bubblewrap has not done so."""
    import ctypes

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("lines", ctypes.c_char_p))

    prctl = ctypes.CDLL(None).prctl
    prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS, without which nobody may
    prctl(22, 2, ctypes.byref(Program(len(lines) // 8, lines)), 0, 0)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def end_all_others() -> float:
    """End and collect whatever a program left running; returns the seconds of processor time that it used."""
    seconds = 0.0
    while True:
        if os.getpid() == 1:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
        else:
            for pid in _children():
                os.kill(pid, signal.SIGKILL)
        how = 0
        while True:  # the first that ends, and all that have ended: there may be thousands
            try:
                pid, _, usage = os.wait4(-1, how)
            except ChildProcessError:
                return seconds
            if not pid:
                break
            seconds, how = seconds + usage.ru_utime + usage.ru_stime, os.WNOHANG


def _children() -> list[int]:
    """Numbers of the processes that this one would have to collect; others come and go meanwhile."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", errors="replace") as file:
            if int(file.read().rpartition(")")[2].split()[1]) == os.getpid():
                found.append(int(name))
    return found


def tasks_of_user() -> int:
    """Processes and threads of this user that count towards the limit already, where they can be seen."""
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # of one that has ended meanwhile
            if os.stat(f"/proc/{name}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{name}/task"))
    return count


def limit_self(settings: dict) -> None:
    """Limits of a program's process, which it cannot raise again."""

    def at_most(which: int, value: int) -> None:
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))

    at_most(resource.RLIMIT_CORE, 1)  # no file, and, unlike 0, no program of the machine's that collects them
    at_most(resource.RLIMIT_CPU, int(settings["seconds"]) + 2)  # whole seconds; what was really used is judged outside
    at_most(resource.RLIMIT_FSIZE, settings["file_bytes"])
    at_most(resource.RLIMIT_NOFILE, 64)
    at_most(resource.RLIMIT_NPROC, settings["tasks"] + settings["processes"])
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)  # programs raise this one, and address space is limited anyway
    resource.setrlimit(resource.RLIMIT_STACK, (_STACK if hard == resource.RLIM_INFINITY else min(_STACK, hard), hard))
    at_most(resource.RLIMIT_AS, settings["own_bytes"] + settings["memory_bytes"])


def become_program(program: str, job: dict, settings: dict, stdin: int, stdout: int, report: int) -> typing.NoReturn:
    """Run the program in this process, which was forked for it and holds nothing else, and leave as Python leaves."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd, place in ((stdin, 0), (stdout, 1), (nowhere, 2), (report, _REPORT)):
        os.dup2(fd, place)
    os.closerange(_REPORT + 1, 1 << 16)
    limit_self(settings)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if settings["refused"]:
        refuse_calls(bytes.fromhex(settings["refused"]))
    calls = "arguments" in job
    name = "solution" if calls else "__main__"  # a program's main guard is for its own tests
    module = types.ModuleType(name)
    module.__dict__.update({each: getattr(typing, each) for each in typing.__all__})
    module.__dict__.update({"__builtins__": builtins, "__file__": NAME})
    sys.modules[name] = module
    sys.argv = [NAME]
    try:
        exec(compile(program, NAME, "exec", dont_inherit=True), module.__dict__)
        if calls:
            function, given = _function(module, job), job["arguments"]
            result = function(**given) if isinstance(given, dict) else function(*given)
            told = {"result": json.dumps(result, default=_plain if job["classes"] else None)}
    except SystemExit:
        if not calls:
            raise
        told = {"error": "SystemExit: the program ended itself before its function was called", "frames": []}
    except BaseException as error:
        told = _described(error)
        calls = True
    if calls:
        # A program may have closed standard output, or replaced it: its function has a result all the same.
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        try:
            with open(_REPORT, "w", encoding="ascii") as pipe:
                pipe.write(json.dumps(told))
        except (OSError, ValueError):  # the program closed it
            os._exit(1)
        # Neither threads nor exit handlers of the program have a say once there is a result.
        os._exit(0 if "result" in told else 1)
    sys.exit(0)


def _function(module: types.ModuleType, job: dict):
    """The function that is asked for: of a Solution class, or at the top level; without a name, the first one."""
    space, wanted = module.__dict__, job["function"]
    if isinstance(solution := space.get("Solution"), type) and job["classes"]:
        instance = solution()
        inherited = [key for each in solution.__mro__[:-1] for key in vars(each) if not key.startswith("_")]
        for name in [wanted] if wanted else inherited:
            if _is_function(found := getattr(instance, name, None)):
                return found
    if not wanted:
        wanted = next((key for key, value in space.items() if _is_function(value, module.__name__)), "")
    if not callable(space.get(wanted)):
        raise NameError(f"the program defines no function {wanted or 'at its top level'}")
    return space[wanted]


def _is_function(value: object, module: str = "") -> bool:
    """Returns whether a value is called like a function; with a module, one that was defined there."""
    return callable(value) and not isinstance(value, type) and module in ("", getattr(value, "__module__", None))


def _plain(value):
    """Numbers and arrays of numpy as JSON has them. Raises TypeError for anything else that is not JSON's."""
    if type(value).__module__ == "numpy":
        return value.tolist()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _described(error: BaseException) -> dict:
    """Type, message and innermost places in the program of what it raised. Its own objects may lie, or raise again."""
    frames, traceback = [], error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == NAME:
            frames.append([traceback.tb_lineno, traceback.tb_frame.f_code.co_name])
        traceback = traceback.tb_next
    if isinstance(error, SyntaxError) and error.filename == NAME and isinstance(error.lineno, int):
        frames.append([error.lineno, "<module>"])
    try:
        message = str(error)[:2000]
    except BaseException:
        message = ""
    return {"error": f"{type(error).__name__}: {message}".strip().removesuffix(":"), "frames": frames[-_FRAMES:]}


class Pipes:
    """What a program's process writes into its pipes, each of them up to a limit."""

    def __init__(self, fds: tuple[int, ...], limit: int, asker: int):
        """fds: ends to read from; limit: bytes of each; asker: the pipe whose end says that nobody waits any more."""
        self._collected = {fd: bytearray() for fd in fds}
        self._open, self._limit, self._asker = set(fds), limit, asker
        self._poll = select.poll()
        for fd in (*fds, asker):
            self._poll.register(fd, select.POLLIN)

    def __getitem__(self, fd: int) -> bytearray:
        return self._collected[fd]

    def wait(self, seconds: float) -> bool:
        """Take what comes within some time, less where all pipes have ended; False once there is more than a limit."""
        fine = True
        for fd, _ in self._poll.poll(1000 * min(seconds, 0.2 if self._open else 0.001)):
            if fd == self._asker:
                os._exit(0)  # nothing is sent while a program runs: whoever asked is gone
            fine &= self._take(fd)
        return fine

    def drain(self) -> bool:
        """Take what is left of a process that has ended, and close all; False where there is more than a limit."""
        fine = True
        for fd in list(self._open):
            os.set_blocking(fd, False)
            while fd in self._open:
                if not self._take(fd):
                    fine = False
                    break
        for fd in self._collected:
            os.close(fd)
        return fine

    def _take(self, fd: int) -> bool:
        """Take what a pipe holds; False once there is more than the limit. A pipe at its end is no longer open."""
        try:
            part = os.read(fd, 1 << 20)
        except BlockingIOError:
            part = b""
        if not part:
            self._open.discard(fd)
            self._poll.unregister(fd)
        self._collected[fd] += part
        return len(self._collected[fd]) <= self._limit


def run(program: str, job: dict, settings: dict, jobs: int) -> dict:
    """Run the program once; returns what came of it."""
    stdin = _file_of(job.get("stdin", ""))
    out, report = os.pipe(), os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        become_program(program, job, settings, stdin, out[1], report[1])
    for fd in (stdin, out[1], report[1]):
        os.close(fd)
    pipes = Pipes((out[0], report[0]), settings["output_bytes"], jobs)
    ended, status, usage = _awaited(pid, pipes, began + job["wall_seconds"])
    seconds = time.monotonic() - began
    by_others = end_all_others()
    if not pipes.drain():
        ended = "output"
    return {
        "ended": ended,
        "code": os.waitstatus_to_exitcode(status),
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime + by_others,
        "stdout": pipes[out[0]].decode("utf-8", "replace"),
        "told": _reported(pipes[report[0]]),
        "clean": _empty_folder(),
    }


def _file_of(text: str) -> int:
    """Returns a file in memory that holds a program's input, at its beginning."""
    stdin = os.memfd_create("stdin")
    with open(os.dup(stdin), "wb") as file:
        file.write(text.encode("utf-8", "surrogatepass"))
    os.lseek(stdin, 0, os.SEEK_SET)
    return stdin


def _awaited(pid: int, pipes: Pipes, until: float) -> tuple[str, int, resource.struct_rusage]:
    """Let a process write until it ends; end it at its limit of time or output. Returns why it ended, status, usage."""
    fine = True
    while True:
        done, status, usage = os.wait4(pid, os.WNOHANG)
        if done:
            return "ended", status, usage
        left = until - time.monotonic()
        if left <= 0 or not fine:
            os.kill(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            return "time" if fine else "output", status, usage
        fine = pipes.wait(left)


def _reported(written: bytearray) -> dict:
    """What a program's process said of its end; a program may write there what it likes."""
    with contextlib.suppress(ValueError, RecursionError):
        told = json.loads(written or b"{}")
        if isinstance(told, dict):
            return told
    return {}


def _empty_folder() -> bool:
    """Returns whether the working folder is empty after a program; one that it closed to us is not."""
    with contextlib.suppress(OSError):
        return not os.listdir(".")
    return False


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that would reach a number 1, as Python handles it
    jobs, replies = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(nowhere, fd)
    settings = receive(jobs)
    if settings["packages"]:
        sys.path.append(settings["packages"])
    program = settings["program"]
    named = set(re.findall(r"^[ \t]*+(?:import|from)[ \t]++(\w+)", program, flags=re.MULTILINE))  # in linear time
    for name in sorted(named & (_PRELOADED | set(settings["preloaded"]))):
        with contextlib.suppress(ImportError):  # not installed: the program's own import will say so
            __import__(name)
    builtins.exit = builtins.quit = sys.exit  # which the module `site` would define
    if settings["uid"] is not None:
        drop_to(settings["uid"])
    if os.getpid() != 1:
        become_subreaper()
        settings["tasks"] = tasks_of_user()
    gc.collect()
    gc.freeze()
    send(replies, {"ready": True})
    while True:
        job = receive(jobs)
        for attempt in range(50):
            try:
                reply = run(program, job, settings, jobs)
                break
            except OSError as error:  # the last program's processes may still count
                if error.errno != errno.EAGAIN or attempt == 49:
                    raise
                time.sleep(0.01)
        send(replies, reply)


if __name__ == "__main__":
    if sys.argv[1:] == ["--size"]:
        print(address_space())
    else:
        main()
