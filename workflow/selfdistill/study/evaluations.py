"""Resolves what decides the draws of a task's evaluation, and its benchmarks."""

from collections.abc import Mapping
from typing import Any

from selfdistill.files import sha256_json
from selfdistill.schemas import canonical, schema
from selfdistill.study.config_files import value_at
from selfdistill.study.data import DataSets
from selfdistill.study.own_prompts import resolved_prompt


class Evaluations:
    """The evaluations of all tasks, whether the matrix holds them or not."""

    def __init__(self, config: Mapping[str, Any], data: DataSets):
        """config: a whole configuration; data: its data sets."""
        self._tasks, self._data = config["tasks"], data

    def settings(self, task: str) -> dict[str, Any]:
        """Return what decides the draws of a task: all that makes an evaluation stale, and nothing that does not."""
        entry = self._tasks[task]
        others = {name: {**about, **self._of_problems(name)} for name, about in self.also(task).items()}
        own = self._of_problems(task)
        return {
            "task": task,
            "grader": own["grader"],
            "first_role_counts": own["first_role_counts"],
            **{key: own[key] for key in ("second_grader", "judge", "grading", "prompt") if key in own},
            "draws": entry["draws"],
            "benchmarks": own["benchmarks"],
            "evaluation": canonical(
                {"engine": "own", **entry["evaluation"]},
                value_at(schema("tasks"), ("additionalProperties", "properties", "evaluation")),
                f"tasks.{task}",
            ),
            "data": own["data"],
            **({"also": others} if others else {}),
        }

    def also(self, task: str) -> Mapping[str, Mapping[str, int]]:
        """Return other tasks on whose benchmarks a task's models are evaluated too -> `problems`, where not all."""
        return self._tasks[task].get("also", {})

    def benchmarks(self, task: str) -> dict[str, dict[str, Any]]:
        """Return all benchmarks of a task's evaluation -> distribution, whether it counts, and `groups` if it has any.

        Its own come first, then those of other tasks (`also`), which enter no average of this one.
        """
        found = {
            name: {"distribution": about["distribution"], "counted": about.get("counted", True)} | _groups(about)
            for name, about in self._tasks[task]["benchmarks"].items()
        }
        for other in self.also(task):
            for name, about in self._tasks[other]["benchmarks"].items():
                found[name] = {"distribution": about["distribution"], "counted": False} | _groups(about)
        return found

    def _of_problems(self, task: str) -> dict[str, Any]:
        """Returns what draws depend on beside the sampling: the task's problems and how they are graded."""
        entry = self._tasks[task]
        return {
            "grader": entry["grader"],
            **{key: entry[key] for key in ("second_grader", "judge") if key in entry},
            "first_role_counts": entry.get("first_role_counts", False),
            **({"grading": dict(entry["grading"])} if "grading" in entry else {}),
            **resolved_prompt(entry),
            "benchmarks": list(entry["benchmarks"]),
            "data": {"digest": sha256_json(self._data.recipe(task, "val"))},
        }


def _groups(about: Mapping[str, Any]) -> dict[str, str]:
    """By which rule a benchmark's rows are scored in groups; nothing where they are not."""
    return {"groups": about["groups"]} if "groups" in about else {}
