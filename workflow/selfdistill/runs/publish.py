"""Publishes a run's finished state as the files that its rule promises."""

import shutil
from pathlib import Path

from selfdistill.files import atomic_path, copy_file
from selfdistill.runs.state_folder import RESULTS, StateFolder


def publish(state: StateFolder, outputs: dict[str, Path]) -> None:
    """Put what is in `state.final` into `outputs`: config, metrics, provenance, records (files) and model (a folder).

    They are copies that share nothing with the state: whoever edits the one does not change the other, which is what a
    run is published from again.
    """
    for key, name in RESULTS.items():
        source = state.final / name
        with atomic_path(outputs[key]) as temporary:
            if source.is_dir():
                shutil.copytree(source, temporary, copy_function=copy_file)
            else:
                copy_file(source, temporary)
