"""Writes and reads run.json: what is at work in a state, where and since when (for `make watch`)."""

import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfdistill.files import write_json

RUN_FILE = "run.json"
#: In the state of an evaluation or a search: how far it is.
PROGRESS_FILE = "progress.json"
#: The kinds of state.
TRAINING, EVALUATION, SEARCH = "training", "evaluation", "search"


def write_attempt(state: Path, run: Mapping[str, Any], kind: str, **amount: Any) -> None:
    """Say in a state which run it is of and who is at work in it; each attempt says it anew.

    Args:
        state: the folder, which the caller holds.
        run: has task, model, variant (of a search its name) and seed.
        kind: TRAINING, EVALUATION or SEARCH.
        amount: what there is to do: steps of a training run, draws (benchmark -> number) of an evaluation, questions
            and budget (attempts at each) of a search, with its part where several jobs share the questions.
    """
    facts = {key: run[key] for key in ("task", "model", "variant", "seed")}
    facts |= {"kind": kind, **amount, "host": platform.node(), "pid": os.getpid(), "started": time.time()}
    write_json(state / RUN_FILE, facts | {"slurm_job": os.environ.get("SLURM_JOB_ID")})
