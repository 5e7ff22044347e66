"""`make profile`, and what Snakemake makes of the link."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from selfdistill.cluster.link_profile import link_profile
from selfdistill.errors import UserError

ROOT = Path(__file__).parents[2]


def test_snakemake_finds_the_linked_profile_by_its_name(tmp_path):
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "selfdistill.cluster.link_profile", "profiles/slurm"]
    for _ in range(2):  # again is no error
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=True
        )
    link = Path(done.stdout.strip())
    assert link.resolve() == ROOT / "profiles" / "slurm"
    look = "from snakemake.cli import get_profile_dir; print(get_profile_dir('slurm')[1])"
    asked = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 900, "check": True}
    found = subprocess.run([sys.executable, "-c", look], **asked).stdout
    assert Path(found.strip()).resolve() == ROOT / "profiles" / "slurm" / "config.yaml"


def test_what_is_there_under_that_name_stays(tmp_path):
    mine = tmp_path / "slurm"
    mine.mkdir()
    with pytest.raises(UserError, match="there already, and not this profile"):
        link_profile(ROOT / "profiles" / "slurm", tmp_path)
    assert not mine.is_symlink()


def test_a_folder_without_a_config_is_no_profile(tmp_path):
    with pytest.raises(UserError, match=r"no config\.yaml"):
        link_profile(tmp_path, tmp_path / "profiles")
