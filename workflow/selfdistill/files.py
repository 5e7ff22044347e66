"""Writes files whole or not at all, copies them without sharing, and computes digests."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError

_CHUNK = 1 << 20
#: Of a large file, so many pieces, the first and the last included, stand for all of it.
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16
#: Makes a file share another's blocks until one of them is written to (linux/fs.h); btrfs, XFS and others can.
_FICLONE = 0x40049409
#: A temporary neighbour: .<name>.<machine>-<process>-<eight characters>; older versions left machine and process out.
_HOLDER = re.compile(r"\.(?P<name>.+?)\.((?P<machine>[0-9a-f]{8})-(?P<process>[0-9]+)-)?[a-z0-9_]{8}")
_REPLACED = "replaced"
#: A process of another machine cannot be looked for; what it has not touched for so long, it does not write any more.
_SILENT_SECONDS = 24 * 3600
#: What file systems answer that cannot flush a folder.
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary neighbour of `path` that becomes `path` on success and disappears on failure.

    The block may write a file or make a folder there. All of it is on the disk before it gets its name, so neither a
    kill nor a power loss leaves anything empty or half-written under it. Its modes are those that the umask asks for,
    whatever wrote it. An existing file is replaced in one step; an existing folder is moved aside first, and a kill
    between these two steps is mended by `remove_left_overs`.
    """
    path = Path(path)
    _make_folder(path.parent)
    remove_left_overs(path.parent, path.name)
    prefix = f".{path.name}.{_this_machine()}-{os.getpid()}-"
    holder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    temporary = holder / path.name
    try:
        yield temporary
        _set_modes(temporary, holder)
        sync(temporary)
        if path.is_dir() and not path.is_symlink():
            path.rename(holder / _REPLACED)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def remove_left_overs(folder: str | os.PathLike, name: str | None = None, *, locked: bool = False) -> None:
    """Remove the temporary neighbours that killed processes left in a folder, which need not exist.

    Args:
        folder: where to look.
        name: only neighbours of this file or folder; None: of any.
        locked: the caller holds the folder, so nobody else writes in it or below it: all go. Otherwise one goes only if
            its process is dead: by its number on this machine, by a day of silence on another.
    """
    if not os.path.isdir(folder):
        return
    for place, folders, _ in os.walk(folder):
        for each in folders:
            found = _HOLDER.fullmatch(each)
            if found is None or (name is not None and found["name"] != name):
                continue
            holder = Path(place, each)
            if locked or not _may_live(holder, found["machine"], found["process"]):
                _put_back(holder, Path(place, found["name"]))
                shutil.rmtree(holder, ignore_errors=True)
        if not locked:
            return


def sync(path: str | os.PathLike) -> None:
    """Have a file, or a folder and all in it, on the disk before this returns."""
    if not os.path.isdir(path):
        _sync_file(path)
        return
    for place, _, files in os.walk(path, topdown=False):
        for each in files:
            _sync_file(os.path.join(place, each))
        sync_folder(place)


def sync_folder(folder: str | os.PathLike) -> None:
    """Have the names in a folder, not what they stand for, on the disk before this returns."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def copy_file(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copy a file's content so that no change of one is a change of the other.

    It takes no space, and no time, where the file system lets files share blocks until they are written to.
    """
    with open(source, "rb") as read, open(target, "wb") as written:
        try:
            fcntl.ioctl(written.fileno(), _FICLONE, read.fileno())
        except OSError:  # another file system, or one that cannot
            shutil.copyfileobj(read, written, _CHUNK)


def own_file(folder: str | os.PathLike, path: str | os.PathLike) -> Path:
    """Return the file that a path in somebody's model folder stands for, links followed.

    A link that leaves the folder may lead to anything that this user can read, so none is followed but those of a
    snapshot in the hub's cache to the cache's own files (models--owner--name/snapshots/commit, beside it blobs).

    Raises:
        UserError: for a link that leaves the folder, and for what is no file.
    """
    top, target = Path(folder).resolve(), Path(path).resolve()
    homes = [top, *([top.parents[1] / "blobs"] if top.parent.name == "snapshots" else [])]
    if not any(map(target.is_relative_to, homes)):
        raise UserError(f"{path}: a link to {target}, outside of the model's folder; put the file itself in its place")
    if not target.is_file():
        raise UserError(f"{path}: expected a file; take it out of the model's folder")
    return target


def copy_folder(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Copy a model's folder, links that stay in it as files. Raises UserError as `own_file` does."""
    shutil.copytree(source, target, copy_function=lambda file, place: copy_file(own_file(source, file), place))


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a text file as a whole (UTF-8)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write JSON as a whole, indented, keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256_file(path: str | os.PathLike) -> str:
    """Return the hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sampled_sha256(path: str | os.PathLike) -> str:
    """Return the hex SHA-256 of a file's size and of pieces spread over all of it: milliseconds, whatever its size.

    Other weights of the same size and layout differ in nearly every piece. A small file is read whole.
    """
    size = os.path.getsize(path)
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb") as file:
        if size <= _SAMPLES * _SAMPLE_BYTES:
            digest.update(file.read())
        else:
            for number in range(_SAMPLES):
                file.seek((size - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def sha256_json(value: Any) -> str:
    """Return the hex SHA-256 of a JSON-able value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def known_sha256(path: str | os.PathLike) -> str:
    """Return the hex SHA-256 of a file's bytes, read once for each size and time of change that the file has."""
    return _known(sha256_file, path)


def known_sampled_sha256(path: str | os.PathLike) -> str:
    """`sampled_sha256`, read once for each size and time of change that the file has."""
    return _known(sampled_sha256, path)


def _known(digest: Callable[[str], str], path: str | os.PathLike) -> str:
    stat = os.stat(path)
    return _known_digest(digest, os.fspath(path), stat.st_mtime_ns, stat.st_size)


@functools.lru_cache
def _known_digest(digest: Callable[[str], str], path: str, _mtime: int, _size: int) -> str:
    return digest(path)


def _make_folder(folder: Path) -> None:
    """Make a folder and its parents, each on the disk as soon as it is there."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _set_modes(path: Path, holder: Path) -> None:
    """Give what was made the modes of this process's umask: safetensors writes for the owner's eyes only."""
    probe = holder / "mode"  # the umask can only be read by changing it, for all threads at once
    probe.mkdir()
    of_folders = stat.S_IMODE(probe.stat().st_mode)
    probe.rmdir()
    of_files = of_folders & 0o666
    if path.is_dir():
        for place, folders, files in os.walk(path):
            for each in (*folders, *files):
                _set_mode(os.path.join(place, each), of_folders, of_files)
    _set_mode(path, of_folders, of_files)


def _set_mode(path: str | os.PathLike, of_folders: int, of_files: int) -> None:
    found = os.lstat(path).st_mode
    wanted = of_folders if stat.S_ISDIR(found) else of_files
    if not stat.S_ISLNK(found) and stat.S_IMODE(found) != wanted:
        with contextlib.suppress(PermissionError):  # some file systems have one mode for all, of the mount
            os.chmod(path, wanted)


def _sync_file(path: str | os.PathLike) -> None:
    if os.path.islink(path):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _this_machine() -> str:
    """Eight characters that two machines, or two containers, hardly have in common."""
    try:
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        processes = ""
    return hashlib.sha256(f"{platform.node()} {processes}".encode()).hexdigest()[:8]


def _may_live(holder: Path, machine: str | None, process: str | None) -> bool:
    """Returns whether the process that made a temporary neighbour may still be at it."""
    if machine == _this_machine():
        try:
            os.kill(int(process), 0)
        except (ProcessLookupError, OverflowError):
            return False
        except PermissionError:
            pass
        return True
    try:
        touched = [holder.stat().st_mtime, *(path.stat().st_mtime for path in holder.rglob("*"))]
    except FileNotFoundError:  # its owner is at it
        return True
    return time.time() - max(touched) < _SILENT_SECONDS


def _put_back(holder: Path, target: Path) -> None:
    """After a kill between the two steps that replace a folder: the new one, which is whole, or else the old one."""
    if (holder / _REPLACED).exists() and not target.exists():
        new = holder / target.name
        (new if new.exists() else holder / _REPLACED).rename(target)
