"""Checks that a folder of results or of a checkpoint is as it was written, by a file with digests of the others."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from selfdistill.errors import UserError
from selfdistill.files import sha256_file

#: Lists the others; written last.
DIGESTS = "files.json"
_LONGEST_HEADER = 100_000_000  # of a safetensors file, as its own library has it


def write_digests(folder: Path) -> None:
    """Write down size and SHA-256 of every file in a folder and below it.

    Raises UserError for a file that is plainly not whole: what just was written is read back once before it counts.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if wrong := next(filter(None, map(file_fault, files)), None):
        raise UserError(f"{folder}: {wrong} just after it was written; is the disk full or broken? Run again")
    listed = {
        str(path.relative_to(folder)): {"size": path.stat().st_size, "sha256": sha256_file(path)} for path in files
    }
    (folder / DIGESTS).write_text(json.dumps(listed, indent=1), encoding="utf-8")


def fault(folder: Path) -> str | None:
    """Returns what of a folder is not as it was written, in a few words that begin with the file; None: nothing.

    Where there are no digests, as older versions left it, each file must at least look like one of its kind.
    """
    try:
        return _fault(folder)
    except OSError as error:
        return f"{error.filename or folder.name} cannot be read ({error.strerror})"


def file_fault(path: Path) -> str | None:
    """Returns what shows at a glance that a file is not whole: empty, zeroed, cut off; None: nothing does."""
    size, check = path.stat().st_size, _CHECKS.get(path.suffix)
    if not size:  # a chat template may be empty, and a list of merges
        return f"{path.name} is empty" if check else None
    with open(path, "rb") as file:
        if not any(file.read(1 << 16)):
            return f"{path.name} is zeroed"
    try:
        whole = check is None or check(path, size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        whole = False
    return None if whole else f"{path.name} is cut off or overwritten"


def _fault(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"{folder.name} is no folder"
    listing = folder / DIGESTS
    if not listing.exists():
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return next(filter(None, map(file_fault, files)), None) if files else f"{folder.name} is empty"
    try:
        listed = json.loads(listing.read_text(encoding="utf-8"))
        expected = {name: (facts["size"], facts["sha256"]) for name, facts in listed.items()}
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return f"{DIGESTS} cannot be read"
    for name, (size, digest) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if (found := path.stat().st_size) != size:
            return f"{name} has {found} bytes of {size}"
        if sha256_file(path) != digest:
            return file_fault(path) or f"{name} is not as it was written (another SHA-256)"
    return None


def _safetensors(path: Path, size: int) -> bool:
    """A header of JSON behind its own length, and as many bytes of numbers as it says."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size, _LONGEST_HEADER):
            return False
        header = json.loads(file.read(length))
    ends = [about["data_offsets"][1] for name, about in header.items() if name != "__metadata__"]
    return 8 + length + max(ends, default=0) == size


def _parquet(path: Path, size: int) -> bool:
    with open(path, "rb") as file:
        begin = file.read(4)
        file.seek(-4, os.SEEK_END)
        return begin == file.read(4) == b"PAR1"


def _json(path: Path, size: int) -> bool:
    json.loads(path.read_text(encoding="utf-8"))
    return True


def _lines(path: Path, size: int) -> bool:
    return all(isinstance(json.loads(line), dict) for line in path.read_bytes().splitlines())


def _text(path: Path, size: int) -> bool:
    return b"\0" not in path.read_bytes()


_CHECKS: dict[str, Callable[[Path, int], bool]] = {
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".json": _json,
    ".jsonl": _lines,
    ".yaml": _text,
}
