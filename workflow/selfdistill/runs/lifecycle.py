"""Frames every trainer: one process a run, nothing trained twice, results published as a whole."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from selfdistill.runs.publish import publish
from selfdistill.runs.records import StepRecords
from selfdistill.runs.state_folder import StateFolder
from selfdistill.study.paths import RUN_FILES

_RECORDED = "timing_s/records"  # a step has this metric where its rollouts were recorded


@contextlib.contextmanager
def run_lifecycle(
    state_dir: Path, outputs: dict[str, Path], report: Callable[[str], None], *, leftovers: Sequence[str] = ()
) -> Iterator[StateFolder | None]:
    """Hold a run's state while the block trains it, and publish the results when the block ends without an error.

        with run_lifecycle(state_dir, outputs, report) as state:
            if state is not None:
                ...  # train, and fill `state.finishing()`

    Args:
        state_dir: where state lives while the run lasts, keyed by the config's hash.
        outputs: where to publish: config, metrics, provenance, records (files) and model (folder).
        report: takes one line of progress.
        leftovers: folders of the state that a finished run needs no more, besides its checkpoints and step records.

    Yields:
        The locked state, or None where it is complete and only to be published again.

    Raises:
        UserError: where another process trains this run, and where the finished results are spoilt for good.
    """
    state = StateFolder(Path(state_dir))
    with state.locked(report):
        complete = state.is_complete(report)
        if complete:
            report(f"complete in {state.path}: publishing it again")
        yield None if complete else state
        state.drop_checkpoints()
        for name in leftovers:
            shutil.rmtree(state.path / name, ignore_errors=True)
        StepRecords(state.path).drop()
        publish(state, outputs)


def write_run_files(folder: Path, config: Mapping[str, Any], state: StateFolder, report: Callable[[str], None]) -> None:
    """Write config, metrics and records of a run that is done into the folder of its results.

    Args:
        folder: what `state.finishing()` gave.
        config: the resolved run config.
        state: that holds metrics and step records.
        report: takes one line of progress.
    """
    text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
    (folder / RUN_FILES["config"]).write_text(text)
    metrics = folder / RUN_FILES["metrics"]
    shutil.copyfile(state.path / RUN_FILES["metrics"], metrics)
    steps = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    recorded = [step["step"] for step in steps if _RECORDED in step]
    StepRecords(state.path).collect(folder / RUN_FILES["records"], report, recorded)
