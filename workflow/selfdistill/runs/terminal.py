"""Prints what a workflow does: one line a finished job, failures whole, and the jobs at work."""

import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from logging import WARNING, LogRecord

from rich.console import Console
from rich.live import Live
from rich.text import Text

from selfdistill.runs.tails import failure, last_said
from selfdistill.texts import reportable

#: Snakemake's own messages that are news; the rest of them is in .snakemake/log.
_NEWS = ("Nothing to be done", "Complete log", "Shutting down", "Will exit after")
#: What Snakemake says at once when it is interrupted, before it waits for the jobs at work.
_STOPPING = "Terminating processes on user request"
#: Jobs that are named then, at most.
_NAMED = 6
#: An error of this kind only says that a job's process failed, which the job's own error says with its reason.
_OF_A_JOB = "CalledProcessError in file "
#: What Snakemake says of a target that no rule makes, and what there is to do about it.
_NO_RULE = "No rule to produce "
_PATHS = (
    "A path under results/ has the names of the configuration (task, model, variant, seed, benchmark): docs/outputs.md "
    "has all files, and --dry-run without a target prints those of this one."
)
#: The same of a file that is not there.
_NO_FILE = "Missing input files for rule "
_KEYS = (
    "No rule makes such a file: put it there, or change the key that names its folder (models.<name>.folder, of which "
    "`rebuild: true` makes a toy's weights anew; tasks.<name>.data.source)."
)
_CLOCK = re.compile(r"\d\d:\d\d:\d\d ")


@dataclass
class _Job:
    name: str
    logs: list[str]
    began: float = field(default_factory=time.monotonic)


class Terminal:
    """Hears Snakemake's log records. On a terminal the jobs at work stand below, each with its log's last line.

    A file or pipe gets the lines only.
    """

    def __init__(self, *, to_stdout: bool = False):
        self._console = Console(file=sys.stdout if to_stdout else sys.stderr, highlight=False, soft_wrap=True)
        self._jobs: dict[int, _Job] = {}
        self._failed: dict[int, str] = {}
        self._done, self._total, self._live = 0, 0, None
        self._stopping = False

    def hear(self, record: LogRecord) -> None:
        """Print what a record has to say, if anything."""
        event = str(getattr(record, "event", None) or "")
        hear = getattr(self, f"_hear_{event.rpartition('.')[2].lower()}", None)
        if hear is not None:
            hear(record)
        elif record.getMessage().startswith(_STOPPING):
            self._stop()
        elif not event and (record.levelno >= WARNING or record.getMessage().startswith(_NEWS)):
            self._print(record.getMessage(), "yellow" if record.levelno >= WARNING else "")

    def close(self) -> None:
        """End the display, and say once more what failed."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._failed:
            names = "".join(f"\n  {name}" for name in self._failed.values())
            self._print(f"{self._done} of {self._total} jobs are done, {len(self._failed)} failed:{names}", "red")
            self._failed = {}
        if self._stopping:
            self._print(f"Stopped: {self._done} of {self._total} jobs are done; the same command goes on from there")
            self._stopping = False

    def _stop(self) -> None:
        """Say what is waited for.

        Ctrl-C interrupts the jobs too, and they end within seconds. After a signal to Snakemake alone they go on to
        their ends.
        """
        self._stopping = True
        names = [job.name for job in self._jobs.values()]
        more = ", ..." if len(names) > _NAMED else ""
        waited = f"waiting for {len(names)} to end: {', '.join(names[:_NAMED])}{more}" if names else "no job is at work"
        self._print(f"{time.strftime('%H:%M:%S')}  Stopping; {waited}", "yellow")

    # ---------------------------------------------------------------- one method for each event that is heard

    def _hear_run_info(self, record: LogRecord) -> None:
        stats = dict(getattr(record, "stats", {}))
        self._total = stats.pop("total", 0)
        counts = ", ".join(f"{rule} {count}" for rule, count in sorted(stats.items()) if count)
        self._print(f"{self._total} jobs: {counts}")
        if self._console.is_terminal and self._live is None:
            self._live = Live(console=self._console, get_renderable=self._at_work, refresh_per_second=1, transient=True)
            self._live.start()

    def _hear_job_info(self, record: LogRecord) -> None:
        name = " ".join([record.rule_name, _cell(record.wildcards)]).strip()
        self._jobs[record.jobid] = _Job(name, [str(log) for log in record.log or []])

    def _hear_job_finished(self, record: LogRecord) -> None:
        job = self._jobs.pop(record.job_id, None)
        self._done += 1
        self._failed.pop(record.job_id, None)  # tried again, with success
        if job is not None:
            took, done = short_time(time.monotonic() - job.began), f"{self._done:>3} of {self._total}"
            self._print(f"{time.strftime('%H:%M:%S')}  {done}  {job.name}  {took}")

    def _hear_progress(self, record: LogRecord) -> None:
        self._total = record.total

    def _hear_job_error(self, record: LogRecord) -> None:
        """Rule, reason, log; and what the executor adds: a Slurm job's number, and its own log."""
        job = self._jobs.pop(record.jobid, None)
        name = job.name if job else record.rule_name
        logs = [str(log) for log in record.log or []]
        reasons = [failure(log) or last_said(log) for log in logs]
        if self._stopping and not any(map(failure, logs)):  # it was interrupted, which its log says in its own way
            self._print(f"{time.strftime('%H:%M:%S')}  stopped  {name}")
            return
        said = [reason for reason in (*reasons, getattr(record, "rule_msg", None)) if reason]
        more = [f"log: {log}" for log in logs] + [f"{key}: {value}" for key, value in (record.aux or {}).items()]
        if not logs and record.shellcmd:
            more.append(f"command: {record.shellcmd.strip()}")
        lines = [*(said or ["its log says nothing"]), *more]
        self._print(f"{time.strftime('%H:%M:%S')}  FAILED  {name}" + "".join(f"\n    {line}" for line in lines), "red")
        self._failed[record.jobid] = name

    def _hear_error(self, record: LogRecord) -> None:
        if _OF_A_JOB not in record.getMessage():
            self._print(record.getMessage() + advice(record.getMessage()), "red")

    # -------------------------------------------------------------------------------------------------------- display

    def _at_work(self) -> Text:
        """The jobs at work, each in a line that the terminal is wide enough for."""
        width, lines = self._console.width - 1, [f"{self._done} of {self._total} jobs done"]
        for job in list(self._jobs.values())[: max(1, self._console.height - 4)]:
            said = " ".join(_CLOCK.sub("", last_said(log), count=1) for log in job.logs)
            lines.append(f"  {job.name}  {short_time(time.monotonic() - job.began)}  {said}")
        return Text("\n".join(line[:width] for line in lines), style="dim", no_wrap=True)

    def _print(self, text: str, style: str = "") -> None:
        for line in text.strip("\n").split("\n"):
            self._console.print(Text(reportable(line), style=style))


def advice(message: str) -> str:
    """Return what Snakemake's message lacks, as a line to put behind it; "" where it lacks nothing."""
    found = [text for said, text in ((_NO_RULE, _PATHS), (_NO_FILE, _KEYS)) if said in message]
    return f"\n{found[0]}" if found else ""


def _cell(wildcards: Mapping[str, object] | None) -> str:
    """Wildcards as the path of a run has them: arithmetic/tiny_qwen3/rlcsd/seed0."""
    return "/".join(f"seed{value}" if key == "seed" else str(value) for key, value in (wildcards or {}).items())


def short_time(seconds: float) -> str:
    """Return a duration in a few characters: 42 s, 12 min, 3.5 h, 4.2 d."""
    for size, unit, limit in ((1, "s", 100), (60, "min", 6000), (3600, "h", 48 * 3600)):
        if seconds < limit:
            return f"{seconds / size:.{int(unit == 'h')}f} {unit}"
    return f"{seconds / 86400:.1f} d"
