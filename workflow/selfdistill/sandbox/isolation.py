"""Builds the command that starts the harness behind bubblewrap's walls.

Which way holds on a machine is found by `trial`.
"""

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Isolation:
    """A way to start the harness.

    Attributes:
        bwrap: bubblewrap's binary, or "" for none: limits and a fresh interpreter are all there is then.
        as_root: mounts are made by root, and the harness becomes a user without rights; else everything happens in a
            user namespace.
        as_other: bubblewrap is started as a user without rights, for a root who may not mount.
        options: further options of bubblewrap's.
    """

    bwrap: str
    as_root: bool = False
    as_other: bool = False
    options: tuple[str, ...] = ()

    def command(
        self, folder: str, packages: dict[str, str], file_bytes: int, fds: Mapping[str, int]
    ) -> tuple[list[str], str]:
        """Return the command that starts the harness, and where its packages are inside.

        Args:
            folder: an empty folder outside; the working folder where there is no isolation.
            packages: folders to be imported from, by name.
            file_bytes: size of the working folder.
            fds: file descriptors from which bubblewrap reads: "harness", and "refused", the filter of system calls.
        """
        if not self.bwrap:
            inside = os.path.join(os.path.dirname(folder), "packages")
            os.mkdir(inside)
            for name, path in packages.items():
                os.symlink(path, os.path.join(inside, name))
            return [*_FIRST_TO_GO, interpreter(), *FLAGS, str(HARNESS)], inside
        wall = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
        wall += ["--die-with-parent", "--as-pid-1", "--cap-drop", "ALL", *self.options]
        if "refused" in fds:
            wall += ["--seccomp", str(fds["refused"])]
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
        wall += ["--ro-bind-data", str(fds["harness"]), "/harness.py"]
        for name, path in packages.items():
            wall += ["--ro-bind", path, f"/packages/{name}"]
        wall += ["--size", str(file_bytes), "--tmpfs", "/work", "--symlink", "work", "/tmp"]
        wall += ["--remount-ro", "/", "--chdir", "/work"]
        return [*_FIRST_TO_GO, self.bwrap, *wall, "--", interpreter(), *FLAGS, "/harness.py"], "/packages"


def free_uid() -> int:
    """Return a user for one sandbox to become."""
    return _FREE_UIDS[int.from_bytes(os.urandom(4)) % len(_FREE_UIDS)]


def interpreter() -> str:
    """Return the interpreter itself, behind all links of virtual environments."""
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
