"""Collects the wheels that benchmarks/gpu.py needs beside torch and transformers, for a machine without a network.

python benchmarks/gpu_wheels.py FOLDER [--python 3.12]; asks pip, at the versions of envs/local.lock.txt. Some 55 MB.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Everything that the library imports there and transformers does not bring along.
PACKAGES = ("pyarrow", "jsonschema", "jsonschema-specifications", "referencing", "rpds-py", "attrs", "pillow")
#: What may be carried to such a machine.
MOST_MIB = 60


def pinned() -> list[str]:
    """Return the packages with the lock's versions."""
    lock = (ROOT / "envs/local.lock.txt").read_text(encoding="utf-8")
    versions = {
        re.sub(r"[-_.]+", "-", name).lower(): each for name, each in re.findall(r"^([\w.-]+)==(\S+)$", lock, re.M)
    }
    return [f"{name}=={versions[name]}" for name in PACKAGES]


def main(arguments: Sequence[str]) -> None:
    """Fetch all of them, and say how much they are."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--python", default=f"{sys.version_info.major}.{sys.version_info.minor}", help="of that machine"
    )
    options = parser.parse_args(arguments)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    command += ["--python-version", options.python, "--dest", str(options.folder)]
    for platform in ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"):
        command += ["--platform", platform]
    subprocess.run([*command, *pinned()], check=True)
    size = sum(file.stat().st_size for file in options.folder.glob("*.whl")) / 2**20
    print(f"{options.folder}: {len(PACKAGES)} wheels, {size:.1f} MiB")
    if size > MOST_MIB:
        raise SystemExit(f"more than {MOST_MIB} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
