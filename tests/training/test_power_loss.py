"""The power fails: what is not on the disk is gone. A file system in a file, copied while mounted, stands for that.

Such a copy has what was flushed, and of the rest what the kernel happened to have written. Nothing of a disk's own
cache is lost in it.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from small_run import go, metrics_of, weights_hash

from selfdistill.files import sha256_file

MEGABYTES = 48


def mounted(image: Path, folder: Path):
    """Hold an image mounted."""
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True, capture_output=True)
    stack = contextlib.ExitStack()
    stack.callback(subprocess.run, ["umount", "--lazy", str(folder)], check=True)
    return stack


@pytest.fixture
def image(tmp_path):
    """An empty ext4 in a file; skipped where this user or this machine mounts none."""
    path = tmp_path / "disk.img"
    with open(path, "wb") as file:
        file.truncate(MEGABYTES << 20)
    if os.geteuid() != 0 or not shutil.which("mkfs.ext4"):
        pytest.skip("a loop mount needs root and mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0", str(path)], check=True)
    try:
        mounted(path, tmp_path / "tried").close()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no loop mounts here: {error.stderr.decode().strip()}")
    return path


@pytest.mark.usefixtures("real_fsync")
def test_a_run_survives_a_power_loss_at_any_time_and_ends_equal(image, small_run, config, tmp_path):
    copies = {}

    def fail(when):
        """What would be found after a power loss now."""
        copies[when] = tmp_path / f"{len(copies)}.img"
        subprocess.run(["cp", "--sparse=always", str(image), str(copies[when])], check=True)

    def report(line):
        if line.startswith(("step 2/", "step 4/")):
            fail(line.split()[1])

    config["checkpoint"]["every"] = 1
    with mounted(image, tmp_path / "disk"):
        outputs = go(config, small_run, tmp_path / "disk", report)
        fail("end")
        expected = [weights_hash(outputs), metrics_of(outputs["metrics"]), sha256_file(outputs["records"])]
    said = {}
    for when, copy in copies.items():
        place = tmp_path / f"after {copy.stem}"
        with mounted(copy, place):
            said[when] = []
            found = go(config, small_run, place, said[when].append)
            assert expected == [weights_hash(found), metrics_of(found["metrics"]), sha256_file(found["records"])], when
    assert any(line.startswith("resumed from step 1 ") for line in said["2/4"])
    assert any(line.startswith("resumed from step 3 ") for line in said["4/4"])
    assert any("publishing it again" in line for line in said["end"])
