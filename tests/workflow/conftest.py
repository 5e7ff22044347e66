"""A place to plan and run the workflow in: the real rules and config, with scripts that only leave their outputs."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from snakemake_planning import plan

ROOT = Path(__file__).parents[2]
LEAVE_OUTPUTS = """
from pathlib import Path

for output in map(Path, snakemake.output):
    if not output.suffix:
        output.mkdir(parents=True)
        output /= "model.safetensors"
    output.write_text("left by a test")
"""


class Workshop:
    """A folder with config, workflow and base models, as a clone has them."""

    def __init__(self, folder: Path, kept: bool = False):
        """folder: the place; kept: whether nothing in it changes, so that equal questions have one answer."""
        self.folder = folder
        self._answers: dict[tuple[str | None, ...], subprocess.CompletedProcess] | None = {} if kept else None

    @classmethod
    def furnish(cls, folder: Path) -> "Workshop":
        shutil.copytree(ROOT / "config", folder / "config")
        shutil.copytree(ROOT / "profiles", folder / "profiles")
        shutil.copytree(ROOT / "envs", folder / "envs")
        shutil.copytree(ROOT / "resources" / "published", folder / "resources" / "published")
        shutil.copytree(ROOT / "workflow", folder / "workflow", ignore=lambda *_: ["selfdistill", ".snakemake"])
        (folder / "workflow" / "selfdistill").symlink_to(ROOT / "workflow" / "selfdistill")
        for script in (folder / "workflow" / "scripts").glob("*.py"):
            script.write_text(LEAVE_OUTPUTS)
        models = yaml.safe_load((ROOT / "config" / "models.yaml").read_text())["models"]
        for entry in models.values():
            for task in entry.get("sha256", {}):
                weights = folder / entry["folder"] / task / "model.safetensors"
                weights.parent.mkdir(parents=True)
                weights.write_text("weights")
        return cls(folder, kept=True)

    def copy_to(self, folder: Path) -> "Workshop":
        """Everything as it is, times of change included."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Workshop(folder)

    def snakemake(self, *words: str, cores: int = 2) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), "--nocolor", *words]
        return subprocess.run(
            command, cwd=self.folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900
        )

    def dry_run(self, *words: str) -> subprocess.CompletedProcess:
        """As `snakemake`, of what runs no job."""
        answers, asked = ({} if self._answers is None else self._answers), (*words, os.environ.get("HF_HUB_OFFLINE"))
        if asked not in answers:
            answers[asked] = plan(self.folder, ["--cores", "2", "--nocolor", "--dry-run", *words])
        return answers[asked]

    def planned(self, *words: str) -> Counter:
        """The jobs of a dry run, as "rule task/variant" (or dataset/split, or table), and how often each is planned."""
        done = self.dry_run(*words)
        assert done.returncode == 0, done.stdout
        jobs = Counter()
        for block in re.split(r"\n(?=(?:local)?rule )", done.stdout)[1:]:
            name = re.match(r"(?:local)?rule (\w+):", block).group(1)
            found = re.search(r"^    wildcards: (.*)$", block, re.MULTILINE)
            wildcards = dict(pair.split("=", 1) for pair in found.group(1).split(", ")) if found else {}
            shown = [wildcards[key] for key in ("task", "variant", "dataset", "split", "table") if key in wildcards]
            jobs[" ".join([name, "/".join(shown)]).strip()] += 1
        return jobs

    def refused(self, *words: str) -> str:
        """What a dry run that fails says."""
        done = self.dry_run(*words)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stdout
        return done.stdout


@pytest.fixture(scope="session")
def furnished(tmp_path_factory):
    """A workshop in which nothing has been run."""
    return Workshop.furnish(tmp_path_factory.mktemp("furnished"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, furnished):
    """A workshop in which the demo has been run to the end. Plan in it, change nothing; else take `changed`."""
    workshop = furnished.copy_to(tmp_path_factory.mktemp("finished"))
    done = workshop.snakemake()
    assert done.returncode == 0, done.stdout
    return Workshop(workshop.folder, kept=True)


@pytest.fixture
def changed(tmp_path, finished):
    """A copy of the finished workshop that a test may change."""
    return finished.copy_to(tmp_path)
