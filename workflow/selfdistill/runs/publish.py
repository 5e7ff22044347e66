"""From a run's finished state to the files that its rule promises."""

import shutil
from pathlib import Path

from selfdistill.files import atomic_path, link_or_copy
from selfdistill.runs.state_folder import StateFolder
from selfdistill.study.paths import MODEL, RUN_FILES


def publish(state: StateFolder, outputs: dict[str, Path]) -> None:
    """Put what is in `state.final` into `outputs`: config, metrics, provenance, records (files) and model (a folder).

    Weights are linked where they can be, else copied.
    """
    for key, name in {**RUN_FILES, "model": MODEL}.items():
        source = state.final / name
        with atomic_path(outputs[key]) as temporary:
            if source.is_dir():
                shutil.copytree(source, temporary, copy_function=link_or_copy)
            else:
                shutil.copyfile(source, temporary)
