"""Remove finished states that no published run stands for any more: `python -m selfdistill.runs.clean_states`.

A state is keyed by the hash of the settings of a run, or of an evaluation. After a change of settings the old one is
only of use if the change is taken back. Unfinished states are left alone: they hold work that a later run may go on
with.
"""

import json
import shutil
import sys
from pathlib import Path

import yaml

from selfdistill.runs.state_folder import StateFolder
from selfdistill.study.study import config_hash


def clean_states(results: Path) -> list[str]:
    """Remove such states under results/state/; return one line for each state that was removed or left unfinished."""
    published = {config_hash(yaml.safe_load(file.read_text())) for file in results.glob("runs/*/*/*/seed*/config.yaml")}
    published |= {json.loads(file.read_text())["state"] for file in results.glob("draws/*/*/*/seed*/evaluation.json")}
    said = []
    for folder in sorted((results / "state").glob("*")):
        if folder.name in published:
            continue
        if StateFolder(folder).final.exists():
            shutil.rmtree(folder)
            said.append(f"{folder}: removed, no published run has these settings")
        else:
            said.append(f"{folder}: unfinished, left alone; remove it by hand if no run will go on with it")
    return said


if __name__ == "__main__":
    print("\n".join(clean_states(Path(sys.argv[1] if len(sys.argv) > 1 else "results"))) or "nothing to remove")
