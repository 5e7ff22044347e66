"""Copies of this repository in which tests run the workflow."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FOLDERS = ("config", "profiles", "envs", "resources", "workflow")


def copy_repository(folder: Path) -> None:
    """What the workflow needs, in a new folder: nothing that was run here, and no lock of the hub's files."""
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
    (folder / "config" / "hub.lock.yaml").unlink(missing_ok=True)
