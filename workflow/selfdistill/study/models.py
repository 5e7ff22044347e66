"""Resolves the models of a configuration: origins, places, and what decides their weights."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import known_sampled_sha256, known_sha256, own_file, sha256_json
from selfdistill.hub.lock import Lock, locked_model
from selfdistill.study.base_chat import base_chat
from selfdistill.study.config_files import ConfigFiles
from selfdistill.study.data import HUB
from selfdistill.study.model_folder import check_folder

#: What a model may come from, beside the hub and a folder: a Python package, and a run of this configuration.
PACKAGE, TRAINED = "package", "trained"


class BaseModels:
    """The initial weights of all models, whether the matrix holds them or not."""

    def __init__(
        self,
        config: Mapping[str, Any],
        files: ConfigFiles,
        lock: Lock,
        resolve: Callable[[str, str, str, int], Mapping[str, Any]],
    ):
        """Take the parts of a configuration.

        Args:
            config, files: a whole configuration and where it was written.
            lock: what files of the hub are held to.
            resolve: task, model, variant, seed -> settings of a run.
        """
        self._config, self._models, self._files, self._lock = config, config["models"], files, lock
        self._resolve, self._asked = resolve, []

    def is_pretrained(self, model: str) -> bool:
        """Return whether a model comes from the hub, a folder, a package or a run, and is no toy of this project's."""
        return "source" in self._models[model]

    def trained(self, model: str) -> Mapping[str, Any] | None:
        """Return the model, variant and seed of the run that a model comes from; None where it comes from none."""
        entry = self._models[model]
        return entry["trained"] if entry.get("source") == TRAINED else None

    def for_all_tasks(self, model: str) -> bool:
        """Return whether a model has one base model for all tasks: a pretrained one that is not warm-started."""
        return self.is_pretrained(model) and "warm_start" not in self._models[model] and not self.trained(model)

    def folder(self, model: str, task: str) -> str:
        """Return where the rules put a base model."""
        return f"results/models/{model}" if self.for_all_tasks(model) else f"results/models/{model}/{task}"

    def pretrained(self, model: str) -> dict[str, Any]:
        """Return the part of a pretrained model's entry that decides it, in the entry's own shape."""
        entry = self._models[model]
        if entry["source"] == HUB:
            return {"source": HUB, **locked_model(self._lock, entry[HUB])}
        if entry["source"] == PACKAGE:
            return {"source": PACKAGE, PACKAGE: entry[PACKAGE]}
        return {"source": entry["source"], "files": _listing(model, entry["source"])}

    def settings(self, model: str, task: str) -> dict[str, Any]:
        """Return the part of a model's entry that decides one task's base model, in the entry's own shape.

        Where it is made by a warm start, `chat` says how that renders prompts.

        Raises UserError where the entry has nothing for the task.
        """
        entry = self._models[model]
        if self.for_all_tasks(model):
            return self.pretrained(model)
        if self.trained(model) and "warm_start" not in entry:
            return self._of_run(model, task)
        key = "warm_start" if self.is_pretrained(model) or entry["rebuild"] else "sha256"
        if task not in entry.get(key, {}):
            raise UserError(
                f"{self._files.origin(('models', model), entry)}: models.{model}.{key} has nothing for task {task!r} "
                f"(it has: {', '.join(entry.get(key, {})) or 'nothing'}); add it, or leave this model or task out of "
                "the matrix"
            )
        own = {key: {task: entry[key][task]}}
        if key == "warm_start":
            own["chat"] = base_chat(self._config, task, model)
        if self.trained(model):
            return self._of_run(model, task) | own
        if self.is_pretrained(model):
            return self.pretrained(model) | own
        return {name: entry[name] for name in ("folder", "rebuild", "architecture") if name in entry} | own

    def _of_run(self, model: str, task: str) -> dict[str, Any]:
        """The part of an entry of a run's model, with the hash of that run's settings on a task."""
        named, place = self._models[model]["trained"], self._files.origin(("models", model), self._models[model])
        if model in self._asked:
            chain = " -> ".join([*self._asked[self._asked.index(model) :], model])
            raise UserError(f"{place}: models.{model}.trained: it is trained from itself ({chain}); name another run")
        self._asked.append(model)
        try:
            run = self._resolve(task, named["model"], named["variant"], named["seed"])
        except UserError as error:
            said, where = str(error), f"{place}: models.{model}.trained: "
            raise UserError(where + said.removeprefix(where)) from None  # one that begins with itself has told so
        finally:
            self._asked.pop()
        return {"source": TRAINED, TRAINED: {**named, "seed": int(named["seed"]), "settings": sha256_json(run)}}

    def digest(self, model: str, task: str) -> str:
        """Return the sha256 of the shipped weights, or the hash of what they come from.

        That is the recipe that rebuilds them or warms a pretrained model, repository and revision on the hub (commit
        and hashes where the lock has them), the files of a folder, a package with its sha256, or the settings of a run.
        """
        settings = self.settings(model, task)
        if self.is_pretrained(model):
            return sha256_json({key: part for key, part in settings.items() if key != "source"})
        if not settings["rebuild"]:
            return settings["sha256"][task]
        return sha256_json({key: settings[key] for key in ("architecture", "warm_start", "chat")})


def _listing(model: str, folder: str) -> dict[str, Any]:
    """Return what a folder's model depends on: sha256 of the small files, and of pieces of each weights file.

    Hashing all of the weights would take minutes each time that something is planned.
    """
    if not os.path.isdir(folder):
        raise UserError(
            f"models.{model}.source: {folder}: no such folder; expected {HUB!r}, {PACKAGE!r}, {TRAINED!r} or a folder "
            "that holds a model as transformers saves it: put it there, or change the key",
            keys=[("models", model, "source")],
        )
    found: dict[str, Any] = {}
    try:
        check_folder(Path(folder))
        for path in sorted(Path(folder).glob("*")):
            if path.suffix in (".safetensors", ".json", ".jinja") and path.is_file():
                digest = known_sampled_sha256 if path.suffix == ".safetensors" else known_sha256
                found[path.name] = digest(own_file(folder, path))
    except UserError as error:
        raise UserError(f"models.{model}.source: {error}", keys=[("models", model, "source")]) from None
    return found
