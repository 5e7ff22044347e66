"""Runs Snakemake's own dry run, reads its plan back, and finds the configuration that it planned."""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfdistill.errors import UserError
from selfdistill.study.config_files import merged
from selfdistill.study.paths import CLONE
from selfdistill.study.study import Study, load_registered_study
from selfdistill.study.yaml_text import read_settings

#: The study that workflow/Snakefile runs where no config file is given, in the workflow's folder config/.
DEFAULT = "demo.yaml"


@dataclass(frozen=True)
class Job:
    """A job that would run."""

    rule: str
    wildcards: Mapping[str, str]


class DryRun:
    """A dry run that goes on in a process of its own until `jobs` is asked for."""

    def __init__(self, words: Sequence[str]):
        """words: of a snakemake command line, but for snakemake itself."""
        command = [sys.executable, "-m", "snakemake", *words, "--dry-run", "--nocolor"]
        self._process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def jobs(self) -> list[Job]:
        """Return all jobs that would run.

        Raises UserError with Snakemake's own line for a configuration that it refuses.
        """
        said, _ = self._process.communicate()
        if self._process.returncode:
            raise UserError(refusal(said))
        return listed_jobs(said)


def listed_jobs(said: str) -> list[Job]:
    """Return the jobs that a dry run lists.

    Raises UserError where it lists others than it counts (with --quiet, none).
    """
    jobs = []
    for block in re.split(r"\n(?=(?:local)?rule )", said)[1:]:
        rule = re.match(r"(?:local)?rule (\w+):", block)
        found = re.search(r"^    wildcards: (.*)$", block, re.MULTILINE)
        pairs = found.group(1).split(", ") if found else []
        if rule:
            jobs.append(Job(rule.group(1), dict(pair.split("=", 1) for pair in pairs)))
    total = re.search(r"^total +(\d+)$", said, re.MULTILINE)
    if len(jobs) != (int(total.group(1)) if total else 0):
        raise UserError(
            f"Snakemake's dry run counts {total.group(1) if total else 'no'} jobs and lists {len(jobs)}: leave --quiet "
            "out of its words"
        )
    return jobs


def refusal(said: str) -> str:
    """Return the one line of Snakemake's output that says what is wrong."""
    lines = [line.strip() for line in said.split("\n") if line.strip()]
    for number, line in enumerate(lines[:-1]):
        if re.match(r"\w+(Error|Exception)(:$| in (file|rule) )", line):
            return lines[number + 1]
    errors = [line for line in lines if re.match(r"\w*(Error|Exception)\b|snakemake: error", line)]
    return (errors or lines or ["snakemake ended without a word"])[-1]


def study_of(words: Sequence[str]) -> Study:
    """Return the study that Snakemake makes of these words: registries, config files, --config.

    Raises UserError for whatever is wrong with it; SystemExit where Snakemake's own parser does not know a word.
    """
    from snakemake.cli import parse_args, parse_config

    with contextlib.redirect_stderr(io.StringIO()):
        _, args = parse_args(list(words))
    registries = _registries(args.snakefile)
    given = list(map(str, args.configfile or [registries / DEFAULT]))
    config: dict = {}
    try:
        for file in given:
            config = merged(config, read_settings(file) or {})
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}; give a config file that is there") from None
    try:
        changes = parse_config(args.config)
    except ValueError as error:
        raise UserError(f"--config: {error}; write KEY=VALUE, as in 'matrix={{seeds: [0, 1]}}'") from None
    return load_registered_study(merged(config, changes), given, registries)


def _registries(snakefile: Path | None) -> Path:
    """Return the folder config/ of the workflow that Snakemake runs, or that of this library."""
    from snakemake.api import resolve_snakefile

    found = resolve_snakefile(snakefile, allow_missing=True)
    beside = Path(found).parent.parent / "config" if found else CLONE / "config"
    return beside if beside.is_dir() else CLONE / "config"
