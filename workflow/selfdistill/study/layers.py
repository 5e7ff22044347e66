"""Resolves the settings of a run from the layers of the configuration, in their order."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from selfdistill.errors import UserError, shown
from selfdistill.files import known_sha256
from selfdistill.methods.catalogue import shipped
from selfdistill.methods.setting import from_mapping, without_added
from selfdistill.schemas import KeyPath, canonical, nearest, schema
from selfdistill.study.base_chat import with_question
from selfdistill.study.checks import check_run
from selfdistill.study.config_files import merged, value_at
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.study.critique_modes import read_prompt
from selfdistill.study.data import DataSets
from selfdistill.study.known_names import KnownNames
from selfdistill.study.layer_order import LAYERS
from selfdistill.study.matrix import BASE
from selfdistill.study.models import BaseModels
from selfdistill.study.objective_keys import ObjectiveKeys
from selfdistill.study.own_prompts import resolved_prompt
from selfdistill.study.own_source import source_sha256
from selfdistill.study.run_settings import RunSettings as Settings
from selfdistill.study.setting_places import about
from selfdistill.study.teacher_settings import TEMPLATES, TeacherSettings
from selfdistill.study.templates import SHOWN, check_shown, read_wording, shown_parts

#: Keys of a run's `verl` section that are about the machine: no part of its settings, so a change retrains nothing.
_MACHINE = ("nodes", "gpus_per_node")


class RunSettings:
    """The resolved settings of every run that a configuration can name."""

    def __init__(
        self,
        config: Mapping[str, Any],
        variants: Mapping[str, str],
        names: KnownNames,
        objectives: ObjectiveKeys,
        data: DataSets,
        models: BaseModels,
    ):
        """Take the parts of a configuration.

        Args:
            config: a whole configuration.
            variants: variant -> method.
            names: of tasks, models and variants.
            objectives: keys of each method's objective.
            data: the data sets, whose digests are part of the settings.
            models: the base models, whose digests are too.
        """
        self._config, self._variants, self._names = config, variants, names
        self._objectives, self._data, self._models = objectives, data, models

    def resolve(self, task: str, model: str, variant: str, seed: int) -> dict[str, Any]:
        """Return the full settings of one training run, JSON-able, in one order of keys.

        Raises:
            UserError: for an unknown name, for an unknown or ill-typed objective key in any layer, and for settings
                that contradict each other.
        """
        return {**self._cell(task, model, variant), "seed": int(seed)}

    def machine(self, task: str, model: str, variant: str) -> dict[str, int]:
        """Return what a run asks of a cluster: `nodes`, and `gpus` of each (0 on a CPU and with the local trainer)."""
        return dict(self._machines(task, model, variant))

    @functools.cached_property
    def _cell(self) -> Callable[[str, str, str], dict[str, Any]]:
        """Settings but for the seed, worked out once: planning asks for those of every run again and again."""
        return functools.cache(self._resolved_cell)

    @functools.cached_property
    def _machines(self) -> Callable[[str, str, str], dict[str, int]]:
        """`machine`, worked out once a cell."""
        return functools.cache(lambda *cell: _machine(self._merged_layers(*cell)))

    def _resolved_cell(self, task: str, model: str, variant: str) -> dict[str, Any]:
        with about(task, model, variant):
            return self._checked_cell(task, model, variant)

    def _checked_cell(self, task: str, model: str, variant: str) -> dict[str, Any]:
        for axis, name in (("tasks", task), ("models", model), ("variants", variant)):
            self._names.check(axis, name, ("matrix", axis))
        method = self._variants[variant]
        if method == BASE:
            raise UserError(f"variant {BASE!r} is the untrained model: there is nothing to train, only to evaluate")
        implementation = self._config["methods"][method]["implementation"]
        where = f"run {task}/{model}/{variant}"
        layered = self._merged_layers(task, model, variant)
        settings = canonical(layered, {"properties": self._properties(method, layered["trainer"])}, where)
        settings = without_added(Settings, settings)
        settings["chat"] = with_question(settings["chat"], where)
        if kind := shipped().get(implementation):
            settings["objective"] = without_added(kind, settings["objective"])
        entry = self._config["tasks"][task]
        resolved = {
            "task": task,
            "model": model,
            "variant": variant,
            "method": method,
            "implementation": implementation,
            **({"implementation_sha256": source_sha256(implementation)} if ":" in implementation else {}),
            "seed": 0,  # in its place; `resolve` gives the run's own
            "data": {
                "digest": self._data.digest(task, model),
                "allow_overlap": entry["data"].get("allow_overlap", False),
            },
            "base_model": {"digest": self._models.digest(model, task)},
            **self._external(settings, task, where),
            "grader": entry["grader"],
            **({"grading": dict(entry["grading"])} if "grading" in entry else {}),
            **resolved_prompt(entry),
            **_own_template(settings["hints"], settings.get("critic", {}), where),
            "benchmarks": list(entry["benchmarks"]),
            **settings,
        }
        check_run(resolved, _machine(layered), where)
        return resolved

    def _external(self, settings: Mapping[str, Any], task: str, where: str) -> dict[str, Any]:
        """Returns what decides the weights of other models that a run reads: their entries and digests."""
        teacher = from_mapping(TeacherSettings, settings["teacher"], where)
        teacher.check_model(where)
        named = teacher.models | from_mapping(CriticSettings, settings.get("critic", {}), where).models
        keys = {"teacher": "teacher.model", "reference": "teacher.reference", "critic": "critic.model"}
        for role, model in named.items():
            if model not in self._config["models"]:
                known = self._config["models"]
                raise UserError(
                    f"{where}: {keys[role]}: unknown model {shown(model)}; the nearest known one is "
                    f"{nearest(model, known)!r} (known: {', '.join(known)})",
                    keys=[keys[role]],
                )
        found = {role: {"model": model, "digest": self._models.digest(model, task)} for role, model in named.items()}
        return {"external_models": found} if found else {}

    def _properties(self, method: str, trainer: str) -> dict[str, Any]:
        """The schema of a run's settings: with its method's objective, and with a section of verl where verl trains."""
        properties = {**schema("run")["properties"], "objective": self._objectives.schema(method)}
        verl = properties.pop("verl")
        if trainer == "verl":
            kept = {key: part for key, part in verl["properties"].items() if key not in _MACHINE}
            properties["verl"] = {**verl, "properties": kept}
        return properties

    def _merged_layers(self, task: str, model: str, variant: str) -> dict[str, Any]:
        """All that the layers say of a run, objective keys checked."""
        method = self._variants[variant]
        names = {
            "task": task,
            "model": model,
            "variant": variant,
            "method": method,
            "implementation": self._config["methods"][method]["implementation"],
        }
        naming = [self._values(layer.path(names)) for layer in LAYERS if layer.names_preset]
        names["preset"] = next(layer["preset"] for layer in reversed(naming) if "preset" in layer)
        settings: dict[str, Any] = {}
        for at in (layer.path(names) for layer in LAYERS):
            values = self._values(at)
            objective = self._objectives.checked(method, values.get("objective", {}), (*at, "objective"))
            settings = merged(settings, {**values, "objective": objective})
        return {**settings, "preset": names["preset"]}

    def _values(self, at: KeyPath) -> dict[str, Any]:
        """Returns what stands in one layer. A method's entry is a layer but for its `implementation`."""
        return {key: value for key, value in (value_at(self._config, at) or {}).items() if key != "implementation"}


def _own_template(hints: Mapping[str, Any], critic: Mapping[str, Any], where: str) -> dict[str, str]:
    """The digests of a template and a critic's prompt of one's own, so that an edit retrains their runs.

    Raises UserError without a file, and where a template has no place for what the teacher is to read.
    """
    path = hints.get("template", TEMPLATES[0])
    try:
        sections = SHOWN[path] if path in TEMPLATES else read_wording(path).sections
        check_shown(sections, shown_parts(hints, critic.get("right", "none")), path)
    except UserError as error:
        told = str(error).removeprefix("hints.template: ")  # of a file that cannot be read
        raise UserError(f"{where}: hints.template: {told}", keys=["hints.template", *error.keys]) from None
    found = {} if path in TEMPLATES else {"hint_template_sha256": known_sha256(path)}
    if prompt := critic.get("prompt"):
        try:
            read_prompt(prompt, critic.get("mode", "critique"))
        except UserError as error:
            raise UserError(f"{where}: {error}", keys=["critic.prompt", *error.keys]) from None
        found["critic_prompt_sha256"] = known_sha256(prompt)
    return found


def _machine(settings: Mapping[str, Any]) -> dict[str, int]:
    verl = settings["verl"]
    if settings["trainer"] != "verl":
        return {"nodes": 1, "gpus": 0}
    return {"nodes": int(verl["nodes"]), "gpus": 0 if verl["device"] == "cpu" else int(verl["gpus_per_node"])}
