"""What the rules' scripts share: a job's log and errors, and the files of the runs it was given."""

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the library, also where it is not installed

from selfdistill.config import BASE, Run
from selfdistill.errors import UserError
from selfdistill.reporting.runs import RunFiles


@contextlib.contextmanager
def job(log: str) -> Iterator[Callable[[str], None]]:
    """Send all output of the block, that of libraries and subprocesses included, to the log; yield a progress report.

    An error ends the script with status 1 and one line on the terminal; the log has it too, with a traceback unless it
    is a UserError.
    """
    terminal = os.dup(2)
    with open(log, "a", buffering=1, encoding="utf-8") as file:  # a resumed job goes on in its log
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        try:
            yield _report
        except UserError as error:
            _fail(terminal, str(error))
        except Exception as error:
            traceback.print_exc()
            _fail(terminal, f"{type(error).__name__}: {error} (traceback in {log})")


def run_files(cells: Sequence[Mapping[str, Any]], tasks: Mapping[str, Any]) -> list[RunFiles]:
    """The runs of a rule's params, with their files."""
    found = []
    for run in (Run(**cell) for cell in cells):
        folder = Path(run.folder)
        draws = {name: Path(run.draws_folder) / f"{name}.parquet" for name in tasks[run.task]["benchmarks"]}
        trained = (
            {}
            if run.variant == BASE
            else {
                "metrics": folder / "metrics.jsonl",
                "config": folder / "config.yaml",
                "provenance": folder / "provenance.json",
            }
        )
        account = Path(run.draws_folder) / "evaluation.json"
        found.append(
            RunFiles(run.task, run.model, run.variant, run.seed, run.method, draws, account=account, **trained)
        )
    return found


def _report(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _fail(terminal: int, message: str) -> None:
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    os.write(terminal, f"{message}\n".encode())
    sys.exit(1)
