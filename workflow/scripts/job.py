"""What the rules' scripts share: a job's log and errors, and the files of the runs it was given."""

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the library, also where it is not installed

from selfdistill.errors import UserError
from selfdistill.reporting.read.runs import MissingRun, RunFiles
from selfdistill.study.results import FAILED_LINE
from selfdistill.texts import one_line, reportable, shortened, without_secrets

_LOG = "log.txt"
#: Characters of a traceback, at most: an error may quote a file.
_LONGEST_TRACEBACK = 40_000


@contextlib.contextmanager
def job(log: str, state: str | None = None) -> Iterator[Callable[[str], None]]:
    """Send all output of the block, that of libraries and subprocesses included, to the log; yield a progress report.

    An error ends the script with status 1 and one line on the terminal; the log has it too, with a traceback unless it
    is a UserError. No line of ours, of an error or of a library's logger has a secret in it (`texts.without_secrets`).
    A job with a state goes on in its log when it is resumed: Snakemake removes the log of a job that it starts again,
    so the state holds a second link to it.
    """
    terminal = os.dup(2)
    kept = None if state is None else Path(state) / _LOG
    if kept is not None and kept.exists() and not os.path.exists(log):
        _link(kept, log)
    with open(log, "a", buffering=1, encoding="utf-8") as file:
        if kept is not None and not kept.exists():
            kept.parent.mkdir(parents=True, exist_ok=True)
            _link(log, kept)
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        logging.setLogRecordFactory(_record_without_secrets)
        try:
            yield _report
        except UserError as error:
            _fail(terminal, str(error))
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # a panic of a library in Rust is no Exception
            told = shortened(without_secrets(traceback.format_exc()), _LONGEST_TRACEBACK)
            print(told.encode("utf-8", "backslashreplace").decode(), file=sys.stderr)
            _fail(terminal, f"{type(error).__name__}: {shortened(str(error))} (traceback in {log})")


def run_files(cells: Sequence[Mapping[str, Any]]) -> list[RunFiles]:
    """The runs of a rule's params, with their files."""
    return [_with_paths(**cell) for cell in cells]


def missing_runs(cells: Sequence[Mapping[str, Any]]) -> list[MissingRun]:
    """The runs of a rule's params that are not there."""
    return [MissingRun(**cell) for cell in cells]


def _with_paths(files: Mapping[str, Any], **run: Any) -> RunFiles:
    draws = {benchmark: Path(file) for benchmark, file in files["draws"].items()}
    others = {name: Path(file) for name, file in files.items() if name != "draws" and file}
    return RunFiles(**run, draws=draws, **others)


def _link(source: str | Path, target: str | Path) -> None:
    with contextlib.suppress(OSError):  # a file system without links: the log is of the last attempt only
        os.link(source, target)


def _report(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {reportable(line)}", flush=True)


def _record_without_secrets(*args: Any, **kwargs: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **kwargs)
    try:
        record.msg, record.args = without_secrets(record.getMessage()), None
    except (TypeError, ValueError, KeyError):  # a message that does not fit its arguments: logging tells of it
        return record
    return record


def _fail(terminal: int, message: str) -> None:
    message = one_line(reportable(message))
    sys.stdout.flush()
    print(FAILED_LINE + message, file=sys.stderr, flush=True)
    os.write(terminal, f"{message}\n".encode())
    sys.exit(1)
