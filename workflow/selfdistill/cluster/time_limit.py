"""Requeues a job before Slurm ends it, so that work may last longer than a partition's time limit.

A job that runs into its limit has failed, and Snakemake submits it anew a few times only. One that is requeued keeps
its number, Snakemake goes on following it, and it resumes from its last checkpoint. A training run of the paper takes
five days; few partitions allow them at once.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from selfdistill.cluster.slurm import ask
from selfdistill.errors import UserError

Report = Callable[[str], None]
#: Left of the limit for Slurm to end the job: this share of it, and no more than so many seconds.
_SHARE, _AT_MOST = 0.05, 300.0


@contextlib.contextmanager
def requeued_before_limit(state: Path, checkpoints: Iterable[str], report: Report) -> Iterator[None]:
    """While the block runs: when the Slurm job around it nears its limit, put it back into the queue.

    Only if something was saved since it began: a job that saves nothing within its time would begin anew for ever.
    Outside of Slurm, and in a job without a limit, this does nothing.

    Args:
        state: folder in which the work saves what it resumes from.
        checkpoints: patterns of what it saves there.
        report: takes one line of progress.
    """
    job, began = os.environ.get("SLURM_JOB_ID"), time.time()
    end = _end_of(job, report) if job else None
    if end is None:
        yield
        return
    margin = min(_AT_MOST, _SHARE * (end - began))
    report(f"Slurm's time limit ends this job at {datetime.fromtimestamp(end):%Y-%m-%d %H:%M}")
    done = threading.Event()

    def watch() -> None:
        if done.wait(max(0.0, end - margin - time.time())):
            return
        if not saved_since(began, state, checkpoints):
            report(
                "the time limit is near, and nothing was saved since this job began: ask for more time (runtime), or "
                "save more often (checkpoint.every)"
            )
            return
        report("the time limit is near: this job goes back into the queue, and resumes from its last checkpoint")
        try:
            ask("scontrol", "requeue", requeue_name())
        except UserError as error:
            report(str(error))

    watcher = threading.Thread(target=watch, name="time limit", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()


def saved_since(moment: float, state: Path, checkpoints: Iterable[str]) -> bool:
    """Says whether anything in `state` that matches one of the patterns was changed after `moment` (seconds since the
    epoch).
    """
    times = (path.stat().st_mtime for pattern in checkpoints for path in Path(state).glob(pattern))
    return any(each > moment for each in times)


def requeue_name() -> str:
    """This job's name for scontrol: a task of an array has one of its own."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]


def _end_of(job: str, report: Report) -> float | None:
    """When Slurm ends a job, in seconds since the epoch; None where it has no limit, or does not say."""
    try:
        said = ask("squeue", "--noheader", "--jobs", job, "--format=%e").strip()
    except UserError as error:
        report(f"this job's time limit is not known ({error}); it will not be requeued before it")
        return None
    try:
        end = datetime.strptime(said, "%Y-%m-%dT%H:%M:%S").timestamp()
    except ValueError:  # N/A, NONE
        return None
    return end if end - time.time() < 300 * 86_400 else None  # Slurm's "infinite" is a year
