"""Reads from results/ what finished runs took. Imports nothing heavy, since the rules use it."""

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfdistill.study.paths import ACCOUNT, DRAWS_FOLDER, RUN_FILES, RUN_FOLDER

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Training:
    """One trained run: `work` is what one step may draw, in tokens (`step_work`); `gpus` all that it used."""

    trainer: str
    implementation: str
    work: int
    steps: int
    wall_seconds: float
    gpus: int


@dataclass(frozen=True)
class Evaluation:
    """One evaluated run; `gpus` all that it used; `benchmarks` those that have draws beside its account."""

    engine: str
    wall_seconds: float
    gpus: int
    benchmarks: frozenset[str]


def step_work(settings: dict[str, Any]) -> int:
    """Tokens that one training step of these settings draws at most: prompts x rollouts x limit of the response."""
    rollout = settings["rollout"]
    return rollout["prompts_per_step"] * rollout["group_size"] * rollout["max_response_tokens"]


@functools.cache
def trainings(task: str, model: str, folder: str = RUN_FOLDER) -> tuple[Training, ...]:
    """Return the finished runs of a task and a model, of all variants. A file that cannot be read tells nothing here.

    folder: pattern of the runs' folders, where these lie.
    """
    found = []
    for file in _files(folder, task, model, RUN_FILES["provenance"]):
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            settings = yaml.load(file.with_name(RUN_FILES["config"]).read_text(encoding="utf-8"), _Loader)
            wall, hours = float(facts["wall_seconds"]), float(facts["gpu_hours"])
            gpus = round(hours * 3600 / wall)
            run = Training(
                settings["trainer"],
                settings["implementation"],
                step_work(settings),
                int(settings["steps"]),
                wall,
                gpus,
            )
        except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError, yaml.YAMLError):
            continue
        if min(run.wall_seconds, run.steps, run.work) > 0:
            found.append(run)
    return tuple(found)


@functools.cache
def evaluations(task: str, model: str, folder: str = DRAWS_FOLDER) -> tuple[Evaluation, ...]:
    """Return the evaluated runs of a task and a model. A file that cannot be read tells nothing here.

    folder: pattern of the folders of draws, where these lie.
    """
    found = []
    for file in _files(folder, task, model, ACCOUNT):
        try:
            facts = json.loads(file.read_text(encoding="utf-8"))
            drawn = frozenset(draws.stem for draws in file.parent.glob("*.parquet"))
            run = Evaluation(str(facts["engine"]), float(facts["wall_seconds"]), int(facts["gpus"]), drawn)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if run.wall_seconds > 0:
            found.append(run)
    return tuple(found)


def _files(folder: str, task: str, model: str, name: str) -> Iterator[Path]:
    pattern = folder.format(task=task, model=model, variant="*", seed="*")
    return iter(sorted(Path().glob(f"{pattern}/{name}")))
