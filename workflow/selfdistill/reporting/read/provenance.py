"""Reads a run's provenance and its evaluation's account, which may come from elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.json_files import read_object
from selfdistill.reporting.read.runs import RunFiles
from selfdistill.study.matrix import BASE
from selfdistill.texts import shortened, visible

#: What is computed with; the others are only shown.
_NUMBERS = ("wall_seconds", "gpu_hours", "steps", "tokens")
_MEMORY, _HARDWARE = "peak_memory_gib", "hardware"
#: Characters of a machine's name, at most.
_LONGEST_NAME = 200


def provenance_of(run: RunFiles) -> dict[str, Any] | None:
    """Return the provenance of a run's training; None where it has none. Raises UserError as `read_facts` does."""
    return None if run.provenance is None else read_facts(run.provenance)


def read_facts(path: Path) -> dict[str, Any]:
    """Return the facts of a provenance.json or evaluation.json, with objects at peak_memory_gib and hardware.

    Raises UserError with file and key: a file that cannot be read, and a fact of another type than we write.
    """
    facts = read_object(path)
    for name in _NUMBERS:
        _check_number(path, name, facts.get(name))
    for name in (_MEMORY, _HARDWARE):
        if not isinstance(facts.get(name), dict | None):
            raise UserError(f"{path}: {name} is {facts[name]!r}, expected an object or null")
    facts |= {name: facts.get(name) or {} for name in (_MEMORY, _HARDWARE)}
    for part in ("host", "device"):
        _check_number(path, f"{_MEMORY}.{part}", facts[_MEMORY].get(part))
    for part in ("cpu", "gpu"):
        if not isinstance(facts[_HARDWARE].get(part), str | None):
            raise UserError(f"{path}: {_HARDWARE}.{part} is {facts[_HARDWARE][part]!r}, expected a text or null")
    return facts


def check_same_base(runs: Sequence[RunFiles]) -> None:
    """Raise UserError where runs of one task and model began with unlike weights, by what is written of them.

    The base model itself is a run: what was evaluated as such must be what the others were trained from.
    """
    known: dict[tuple[str, str], tuple[str, RunFiles]] = {}
    for run in runs:
        file, key = (run.account, "weights_sha256") if run.variant == BASE else (run.provenance, "base_model_sha256")
        if file is None or not file.is_file():
            continue
        weights = read_facts(file).get(key)
        if weights is None:
            continue
        expected, other = known.setdefault((run.task, run.model), (weights, run))
        if weights != expected:
            raise UserError(
                f"{file}: {key} is {str(weights)[:12]}..., and {str(expected)[:12]}... of {other.name}: runs that "
                "began with unlike weights cannot be compared; was the model replaced? Give the new one a name of its "
                "own in config/models.yaml, or make all runs of this one again"
            )


def machine(facts: Mapping[str, Any]) -> str | None:
    """Returns what a run was made on: its GPU, else its processor; None where it does not say."""
    named = facts[_HARDWARE].get("gpu") or facts[_HARDWARE].get("cpu")
    return named and shortened(visible(named), _LONGEST_NAME)


def _check_number(path: Path, name: str, value: Any) -> None:
    if value is None:
        return
    if type(value) not in (int, float) or not 0 <= value <= sys.float_info.max:
        raise UserError(f"{path}: {name} is {value!r}, expected a number of 0 or more, or null")
