"""From a run's finished state to the files that its rule promises."""

import shutil
from pathlib import Path

from selfdistill.files import atomic_path
from selfdistill.training.state_folder import StateFolder

_NAMES = {"config": "config.yaml", "metrics": "metrics.jsonl", "provenance": "provenance.json", "model": "model"}


def publish(state: StateFolder, outputs: dict[str, Path]) -> None:
    """Copy what is in `state.final` to `outputs`: config, metrics, provenance (files) and model (folder)."""
    for key, name in _NAMES.items():
        source = state.final / name
        with atomic_path(outputs[key]) as temporary:
            if source.is_dir():
                shutil.copytree(source, temporary)
            else:
                shutil.copyfile(source, temporary)
