"""What a run's provenance.json says."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.reporting.read.runs import RunFiles
from selfdistill.study.matrix import BASE


def provenance_of(run: RunFiles) -> dict[str, Any] | None:
    """The provenance of a run's training; None where it has none. Raises UserError: a file that cannot be read."""
    return None if run.provenance is None else _read(run.provenance)


def check_same_base(runs: Sequence[RunFiles]) -> None:
    """Raise UserError where runs of one task and model began with unlike weights, by what is written of them.

    The base model itself is a run: what was evaluated as such must be what the others were trained from.
    """
    known: dict[tuple[str, str], tuple[str, RunFiles]] = {}
    for run in runs:
        file, key = (run.account, "weights_sha256") if run.variant == BASE else (run.provenance, "base_model_sha256")
        if file is None or not file.is_file():
            continue
        facts = _read(file)
        weights = facts.get(key) if isinstance(facts, dict) else None
        if weights is None:
            continue
        expected, other = known.setdefault((run.task, run.model), (weights, run))
        if weights != expected:
            raise UserError(
                f"{file}: {key} is {weights[:12]}..., and {expected[:12]}... of {other.name}: runs of one model that "
                "began with unlike weights cannot be compared; was the model replaced? Give the new one a name of its "
                "own in config/models.yaml, or make all runs of this one again"
            )


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: cannot read it ({error}); make this run again") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: not JSON ({error.msg}); make this run again") from None
