"""Resolves the data sets of a configuration's tasks: names, origins, and what their content depends on."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import known_sha256, sha256_json
from selfdistill.hub.lock import Lock, entry_name, locked_file
from selfdistill.study import paths
from selfdistill.study.raw_data import PARQUET, format_of, raw_files, raw_hub_files, raw_recipe

#: What data may come from, beside a folder; a model too may come from the hub.
GENERATED = "generated"
HUB = "hub"


class DataSets:
    """The data sets of all tasks, whether the matrix holds them or not."""

    def __init__(self, config: Mapping[str, Any], lock: Lock):
        """config: a whole configuration; lock: what files of the hub are held to."""
        self._tasks, self._models, self._lock = config["tasks"], config["models"], lock

    def name(self, task: str, split: str, model: str | None = None) -> str:
        """Return the name of a task's dataset: the training set's own, or the benchmarks joined by "+".

        The training set is the one that the model's entry names for the task, else the task's. Raises UserError where
        neither names one.
        """
        if split != "train":
            return "+".join(self._tasks[task]["benchmarks"])
        name = self._training_set(task, model)
        if name is None:
            raise UserError(
                f"tasks.{task}.data has no `dataset`, and models.{model}.datasets has nothing for task {task!r}: give "
                "one of them, or leave this model or task out of the matrix",
                keys=[("tasks", task, "data"), ("models", str(model), "datasets")],
            )
        return name

    def file(self, task: str, split: str, model: str | None = None) -> str:
        """Return where the rules put a task's data."""
        return paths.data_file(self.name(task, split, model), split)

    def owners(self) -> dict[tuple[str, str], tuple[str, str | None]]:
        """Return (dataset, split) -> a task that it belongs to, and for a training set a model trained on it."""
        found: dict[tuple[str, str], tuple[str, str | None]] = {}
        for dataset, split, task, model in self._named():
            found.setdefault((dataset, split), (task, model))
        return found

    def source_files(self, task: str, split: str, model: str | None = None) -> list[str]:
        """Return the files of the user's folder that a split comes from; none where it is generated or of the hub."""
        data = self._tasks[task]["data"]
        if data["source"] in (GENERATED, HUB):
            return []
        return [f"{data['source']}/{file}" for file in self._files(task, split, model)]

    def hub_files(self, task: str, split: str, model: str | None = None) -> list[tuple[str, str]]:
        """Return the files of the hub that a split comes from: name of the lock's entry, and file."""
        data = self._tasks[task]["data"]
        if data["source"] != HUB:
            return []
        if format_of(data) != PARQUET:
            return [(entry_name(hub), file) for hub, file in raw_hub_files(data, split)]
        return [(entry_name(data[HUB]), file) for file in self._files(task, split, model)]

    def recipe(self, task: str, split: str, model: str | None = None) -> dict[str, Any]:
        """Return what the content of one split depends on.

        That is the generator's recipe, the source file's sha256, or the split's place on the hub, with commit, size and
        hash where the lock has them. Raises UserError where the source file is not there.
        """
        entry, dataset = self._tasks[task], self.name(task, split, model)
        if format_of(entry["data"]) != PARQUET:
            return raw_recipe(task, entry, dataset, split, self._lock)
        if entry["data"]["source"] == HUB:
            return locked_file(self._lock, entry["data"][HUB], f"{dataset}/{split}.parquet")
        for source in self.source_files(task, split, model):
            if not os.path.isfile(source):
                raise UserError(
                    f"tasks.{task}.data.source: {source}: no such file; expected {GENERATED!r}, {HUB!r} or a folder "
                    f"that holds {dataset}/{split}.parquet: put it there (of a CSV or JSON Lines file, `python -m "
                    "selfdistill.tasks.table` makes it), or change the key",
                    keys=[("tasks", task, "data", "source")],
                )
            return {"sha256": known_sha256(source)}
        recipe = {key: entry["data"]["generator"][key] for key in ("exercise", "seed")}
        if split == "train":
            return {**recipe, "dataset": dataset, **entry["data"]["generator"]["train"]}
        benchmarks = {
            name: {key: about[key] for key in ("size", "problems", "exercise") if key in about}
            for name, about in entry["benchmarks"].items()
        }
        return {**recipe, "benchmarks": benchmarks}

    def recipes(self, task: str, model: str | None = None) -> dict[str, Any]:
        """Return split -> what its content depends on."""
        return {split: self.recipe(task, split, model) for split in ("train", "val")}

    def digest(self, task: str, model: str | None = None) -> str:
        """Return a hash that changes when, and only when, the content of the task's data does.

        On the hub: when its revision or lock does.
        """
        return sha256_json(self.recipes(task, model))

    def check(self) -> None:
        """Raise UserError where two tasks give different data one name; they may share a dataset."""
        seen: dict[str, tuple[str, Any]] = {}
        for _, split, task, model in self._named():
            content = self.source_files(task, split, model) or self.recipe(task, split, model)
            file = self.file(task, split, model)
            other, known = seen.setdefault(file, (task, content))
            if known != content:
                raise UserError(
                    f"tasks.{other} and tasks.{task} give different data for {file}; name the dataset or the "
                    "benchmarks of one of them differently",
                    keys=[("tasks", other), ("tasks", task)],
                )

    def _files(self, task: str, split: str, model: str | None) -> list[str]:
        data = self._tasks[task]["data"]
        if format_of(data) != PARQUET:
            return raw_files(data, split)
        return [f"{self.name(task, split, model)}/{split}.parquet"]

    def _training_set(self, task: str, model: str | None) -> str | None:
        own = self._models[model].get("datasets", {}) if model else {}
        return own.get(task, self._tasks[task]["data"].get("dataset"))

    def _named(self) -> Iterator[tuple[str, str, str, str | None]]:
        """(dataset, split, task, model) of all tasks, for the training sets with every model and without any."""
        for task in self._tasks:
            for model in (None, *self._models):
                if (name := self._training_set(task, model)) is not None:
                    yield name, "train", task, model
            yield self.name(task, "val"), "val", task, None
