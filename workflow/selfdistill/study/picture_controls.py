"""Resolves a task's controls of pictures (own, blank, swapped, hinted or not): `tasks.<name>.picture_controls`."""

from collections.abc import Iterable, Mapping
from typing import Any

from selfdistill.study.base_chat import base_chat, base_section
from selfdistill.study.matrix import Run
from selfdistill.study.own_prompts import resolved_prompt

OWN = "own"
#: What is shown with a question: its picture, one that shows nothing, that of another problem.
PICTURES = (OWN, "blank", "swapped")
CONTROLS_FILE = "results/controls/{task}/{model}/{variant}.json"  # variant: base


def control_cells(config: Mapping[str, Any], runs: Iterable[Run]) -> list[tuple[str, str]]:
    """Return (task, model) of the matrix whose task asks for controls."""
    cells = dict.fromkeys((run.task, run.model) for run in runs)
    return [cell for cell in cells if "picture_controls" in config["tasks"][cell[0]]]


def controls_settings(config: Mapping[str, Any], task: str, model: str) -> dict[str, Any]:
    """Return all that decides the controls of a base model, JSON-able.

    Args:
        config: a whole configuration.
        task: one that asks for controls.
        model: name of a model.
    """
    entry = config["tasks"][task]
    return {
        "problems": entry["picture_controls"]["problems"],
        "grader": entry["grader"],
        "grading": dict(entry.get("grading", {})),
        **resolved_prompt(entry),
        "evaluation": dict(entry["evaluation"]),
        **{name: base_section(config, task, model, name) for name in ("rollout", "hints")},
        "chat": base_chat(config, task, model),
    }
