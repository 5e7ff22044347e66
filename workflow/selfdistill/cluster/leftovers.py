"""Finds the Slurm jobs that a killed Snakemake left running, which a new one would submit again.

`python -m selfdistill.cluster.leftovers [--cancel]`, in the workflow's folder (`make resume` does, and goes on): takes
those that still wait out of the queue, and waits for those that run, or cancels them: they resume from checkpoints.
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from selfdistill.cluster.slurm import ask
from selfdistill.errors import UserError

#: Begins the names of our jobs (slurm-jobname-prefix of profiles/slurm).
PREFIX = "selfdistill_"
_FIELDS = "%i|%T|%j|%k|%Z"
_POLL_SECONDS = 5.0
_REPORT_SECONDS = 300.0
_ENDED = {
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "OUT_OF_MEMORY",
    "NODE_FAIL",
    "BOOT_FAIL",
    "DEADLINE",
    "PREEMPTED",
}


@dataclass(frozen=True)
class SlurmJob:
    """A job that is in the queue: its number, state, and what Snakemake's executor wrote down of its rule."""

    number: str
    state: str
    comment: str


def our_jobs(folder: Path) -> list[SlurmJob]:
    """Jobs of this user that were submitted by a Snakemake in `folder` and have not ended.

    Raises UserError where Slurm does not answer.
    """
    lines = ask("squeue", "--user", str(os.getuid()), "--noheader", "--array", f"--format={_FIELDS}").split("\n")
    jobs = []
    for line in filter(None, lines):
        number, state, name, comment, place = line.split("|", 4)
        if name.startswith(PREFIX) and Path(place).resolve() == folder.resolve() and state not in _ENDED:
            jobs.append(SlurmJob(number, state, comment))
    return jobs


def running_snakemake(folder: Path) -> int | None:
    """Process id of a Snakemake that works in `folder` on this machine and is no job of its own; None without one."""
    ours = {os.getpid(), os.getppid()}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            here = (process / "cwd").resolve() == folder.resolve()
        except OSError:
            continue
        named = any(Path(word).name in ("snakemake", "snakemake.exe") for word in words[:3])
        job = "--target-jobs" in words  # where a job's own Snakemake runs on this very machine
        if here and named and not job and int(process.name) not in ours:
            return int(process.name)
    return None


def settle(folder: Path, cancel: bool, report: Callable[[str], None]) -> None:
    """Return when no job of a former Snakemake in `folder` is left: waiting ones are cancelled, running ones are too or
    are waited for.

    Raises UserError where a Snakemake still works there, and where Slurm does not answer.
    """
    if pid := running_snakemake(folder):
        raise UserError(
            f"{folder}: a Snakemake works here (process {pid}): leave it to its work, or end it first (Ctrl-C in its "
            "terminal cancels its jobs)"
        )
    asked: set[str] = set()
    said = -math.inf  # not zero: a machine that has just started has few seconds on its clock
    while jobs := our_jobs(folder):
        ending = [job for job in jobs if (cancel or job.state == "PENDING") and job.number not in asked]
        if ending:
            report(f"cancelled: {_listed(ending)}")
            ask("scancel", *(job.number for job in ending))
            asked |= {job.number for job in ending}
        waiting = [job for job in jobs if job.number not in asked]
        if waiting and time.monotonic() - said > _REPORT_SECONDS:
            said = time.monotonic()
            report(f"waiting for {_listed(waiting)} (Ctrl-C and CANCEL=1 to end them; they resume from checkpoints)")
        time.sleep(_POLL_SECONDS)
    report("no jobs of a former Snakemake are left")


def _listed(jobs: Sequence[SlurmJob]) -> str:
    return ", ".join(f"{job.number} ({job.comment}, {job.state.lower()})" for job in jobs)


def main(words: Sequence[str]) -> int:
    """Run the command line. Returns an exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m selfdistill.cluster.leftovers", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--cancel", action="store_true", help="end jobs that run, too, in place of waiting for them")
    options = parser.parse_args(words)
    try:
        settle(Path.cwd(), options.cancel, lambda line: print(line, flush=True))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
