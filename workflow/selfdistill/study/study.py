"""Checks a configuration (registries, matrix, overrides), and gives its runs and the full settings of each."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import sha256_json
from selfdistill.hub.lock import DATASETS, LOCK_FILE, MODELS, Lock, entry_name, read_lock
from selfdistill.schemas import KeyPath, checked, schema
from selfdistill.study.base_chat import base_chat
from selfdistill.study.checks import check_study
from selfdistill.study.config_files import ConfigFiles, merged, refuse_odd_keys, registry_files
from selfdistill.study.critic_settings import CRITIQUE
from selfdistill.study.data import GENERATED, HUB, DataSets
from selfdistill.study.diagnosis import Diagnoses
from selfdistill.study.discovery import Discoveries
from selfdistill.study.evaluations import Evaluations
from selfdistill.study.known_names import KnownNames
from selfdistill.study.layers import RunSettings
from selfdistill.study.matrix import BASE, Matrix, Run
from selfdistill.study.models import BaseModels
from selfdistill.study.objective_keys import ObjectiveKeys
from selfdistill.study.preflight import Preflights
from selfdistill.study.registered_methods import with_shipped
from selfdistill.study.setting_places import with_place
from selfdistill.study.yaml_text import check_expansion, read_settings


@dataclass(frozen=True, eq=False)  # known by identity, so that what is computed of it can be kept
class Study:
    """A checked configuration. Make it with `load_study`.

    Each part of it has a class of its own; what rules and planning ask is here.

    Attributes:
        config: the merged configuration.
        files: the files that it was merged from, those of the command line before the registries. Read again for
            messages, and for what an entry was before something was merged over it.
        lock: what files of the hub are held to (see `selfdistill.hub.lock`).
        elsewhere: where values come from that no file has, for messages; None: --config.
        placed: from the path that a rule declares to where the file lies: elsewhere under a module's `prefix`.
        own_objectives: method -> JSON schema of its objective, where a class of the user's own was asked for it.
    """

    config: Mapping[str, Any]
    files: Sequence[str | os.PathLike]
    lock: Lock = dataclasses.field(default_factory=lambda: {DATASETS: {}, MODELS: {}})
    elsewhere: str | None = None
    placed: Callable[[str], str] = str
    own_objectives: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def config_files(self) -> ConfigFiles:
        """Returns the files, read again."""
        return ConfigFiles(self.files, self.elsewhere)

    @functools.cached_property
    def matrix(self) -> Matrix:
        """Returns which runs there are."""
        return Matrix(self.config)

    @functools.cached_property
    def names(self) -> KnownNames:
        """Returns the names of tasks, models, methods and variants."""
        return KnownNames(self.config, self.config_files, self.variants)

    @functools.cached_property
    def objectives(self) -> ObjectiveKeys:
        """Returns the keys of each method's objective."""
        return ObjectiveKeys(self.config, self.config_files, self.own_objectives)

    @functools.cached_property
    def data_sets(self) -> DataSets:
        """Data sets of all tasks."""
        return DataSets(self.config, self.lock)

    @functools.cached_property
    def base_models(self) -> BaseModels:
        """Initial weights of all models."""
        return BaseModels(self.config, self.config_files, self.lock, lambda *cell: self.run_settings.resolve(*cell))

    @functools.cached_property
    def run_settings(self) -> RunSettings:
        """Returns settings of all runs."""
        return RunSettings(self.config, self.variants, self.names, self.objectives, self.data_sets, self.base_models)

    @functools.cached_property
    def evaluations(self) -> Evaluations:
        """Evaluations of all tasks."""
        return Evaluations(self.config, self.data_sets)

    def origin(self, path: KeyPath, value: Any) -> str:
        """Return the file that holds a value under these keys, else "--config"."""
        return self.config_files.origin(path, value)

    def given(self, path: str) -> str:
        """Return a path of the user's own, from the working directory: absolute where Snakemake would move it."""
        return path if self.placed(path) == path else os.path.abspath(path)

    @property
    def variants(self) -> dict[str, str]:
        """Returns variant -> method: the base, each method as it is, and the named variants."""
        return self.matrix.variants

    @property
    def blocks(self) -> dict[str, dict[str, list]]:
        """Key of each block of the matrix -> axis -> values."""
        return self.matrix.blocks

    def axis(self, axis: str) -> list:
        """Return all values of an axis, in the order in which the blocks name them."""
        return self.matrix.axis(axis)

    def runs(self) -> list[Run]:
        """Return the runs of the matrix, task by task, each once."""
        return self.matrix.runs()

    def resolve(self, task: str, model: str, variant: str, seed: int) -> dict[str, Any]:
        """Return the full settings of one training run, as `RunSettings.resolve` does. Raises UserError as that."""
        return self.run_settings.resolve(task, model, variant, seed)

    def has_teacher(self, run: Run) -> bool:
        """Return whether a trained run reads hints."""
        return self.resolve(run.task, run.model, run.variant, run.seed)["teacher"]["kind"] != "none"

    def has_critic(self, run: Run) -> bool:
        """Return whether a run's teacher reads critiques."""
        if run.variant == BASE:
            return False
        settings = self.resolve(run.task, run.model, run.variant, run.seed)
        return bool(settings["hints"]["source"] == CRITIQUE)

    def machine(self, task: str, model: str, variant: str) -> dict[str, int]:
        """Return what a run asks of a cluster: `nodes`, and `gpus` of each (0 on a CPU and with the local trainer)."""
        return self.run_settings.machine(task, model, variant)

    def evaluation(self, task: str) -> dict[str, Any]:
        """Return what decides the draws of a task: all that makes an evaluation stale, and nothing that does not."""
        return self.evaluations.settings(task)

    def evaluation_hash(self, task: str, model: str, variant: str, seed: int) -> str:
        """Return the name of the state of a run's evaluation: a hash of its weights' settings and of its own."""
        weights = self.base_model(model, task) if variant == BASE else self.resolve(task, model, variant, seed)
        settings = [self.evaluation(task), self.chat(task, model, variant)]
        return sha256_json([[task, model, variant, int(seed)], weights, *settings])

    def chat(self, task: str, model: str, variant: str) -> dict[str, Any]:
        """Return how an evaluation renders prompts: as the run's training, for the base as its warm start."""
        if variant == BASE:
            return base_chat(self.config, task, model)
        return self.resolve(task, model, variant, 0)["chat"]

    @property
    def published(self) -> str:
        """Return which version of the paper stands beside the results: v1 or v2."""
        return self.config.get("published", "v1")

    @property
    def token_classes(self) -> str:
        """Return whose rules say which tokens are style: `ours`, or `paper`."""
        return self.config.get("token_classes", "ours")

    def also(self, task: str) -> Mapping[str, Mapping[str, int]]:
        """Return other tasks on whose benchmarks a task's models are evaluated too -> `problems`, where not all."""
        return self.evaluations.also(task)

    def benchmarks(self, task: str) -> dict[str, dict[str, Any]]:
        """Return all benchmarks of a task's evaluation -> distribution and whether it counts."""
        return self.evaluations.benchmarks(task)

    def reporting(self) -> dict[str, Any]:
        """Return task -> what tables and figures need of it: metric and benchmarks, for the tasks of the matrix."""
        return {
            task: {"metric": self.config["tasks"][task]["metric"], "benchmarks": self.benchmarks(task)}
            for task in self.axis("tasks")
        }

    def planned_steps(self) -> dict[str, int]:
        """Return task -> the most training steps of any of its runs in the matrix; 0 where none is trained."""
        runs = [run for run in self.runs() if run.variant != BASE]
        steps = {run: self.resolve(run.task, run.model, run.variant, run.seed)["steps"] for run in runs}
        return {
            task: max((n for run, n in steps.items() if run.task == task), default=0) for task in self.axis("tasks")
        }

    @property
    def generated(self) -> list[str]:
        """Returns the toy tasks of the matrix, made by a generator."""
        return [task for task in self.axis("tasks") if self.config["tasks"][task]["data"]["source"] == GENERATED]

    @property
    def notes(self) -> list[str]:
        """Returns what captions say of single tasks of the matrix."""
        entries = [self.config["tasks"][task] for task in self.axis("tasks")]
        return [entry["note"] for entry in entries if "note" in entry]

    @property
    def generated_only(self) -> bool:
        """Returns whether all tasks of the matrix are toy ones."""
        return self.generated == list(self.axis("tasks"))

    def dataset(self, task: str, split: str, model: str | None = None) -> str:
        """Return the name of a task's dataset. Raises UserError where neither task nor model names a training set."""
        return self.data_sets.name(task, split, model)

    def datasets(self) -> dict[tuple[str, str], tuple[str, str | None]]:
        """Return (dataset, split) -> a task that it belongs to, and for a training set a model trained on it."""
        return self.data_sets.owners()

    def data_file(self, task: str, split: str, model: str | None = None) -> str:
        """Return where the rules put a task's data: results/data/<dataset>/<split>.parquet."""
        return self.data_sets.file(task, split, model)

    def source_files(self, task: str, split: str, model: str | None = None) -> list[str]:
        """Return the files of the user's folder that a split comes from; none where it is generated or of the hub."""
        return self.data_sets.source_files(task, split, model)

    def split(self, task: str, split: str, model: str | None = None) -> dict[str, Any]:
        """Return what the content of one split depends on. Raises UserError where the user's file is not there."""
        return self.data_sets.recipe(task, split, model)

    def data(self, task: str, model: str | None = None) -> dict[str, Any]:
        """Return split -> what its content depends on."""
        return self.data_sets.recipes(task, model)

    def data_digest(self, task: str, model: str | None = None) -> str:
        """Return a hash that changes when, and only when, the content of the task's data does."""
        return self.data_sets.digest(task, model)

    def is_pretrained(self, model: str) -> bool:
        """Return whether a model comes from the hub, a folder or a package, and is no toy of this project's."""
        return self.base_models.is_pretrained(model)

    def for_all_tasks(self, model: str) -> bool:
        """Return whether a model has one base model for all tasks: a pretrained one that is not warm-started."""
        return self.base_models.for_all_tasks(model)

    def trained_model(self, model: str, task: str) -> Run | None:
        """Return the run that a task's base model comes from; None where it comes from none."""
        named = self.base_models.trained(model)
        if named is None:
            return None
        return Run(task, named["model"], named["variant"], named["seed"], self.variants[named["variant"]])

    def base_model_folder(self, model: str, task: str) -> str:
        """Return where the rules put a base model."""
        return self.base_models.folder(model, task)

    def pretrained_model(self, model: str) -> dict[str, Any]:
        """Return the part of a pretrained model's entry that decides it, in the entry's own shape."""
        return self.base_models.pretrained(model)

    def base_model(self, model: str, task: str) -> dict[str, Any]:
        """Return the part of a model's entry that decides one task's base model. Raises UserError where it has none."""
        return self.base_models.settings(model, task)

    def base_model_digest(self, model: str, task: str) -> str:
        """Return the sha256 of the shipped weights, or the hash of what they come from."""
        return self.base_models.digest(model, task)

    def external_models(self, task: str, model: str, variant: str) -> dict[str, str]:
        """Return role -> entry of `models`, of the models that a run reads beside its own."""
        named = self.resolve(task, model, variant, 0).get("external_models", {})
        return {role: facts["model"] for role, facts in named.items()}

    @functools.cached_property
    def diagnoses(self) -> Diagnoses:
        """Comparisons of teachers with students before any training."""
        return Diagnoses(self)

    @functools.cached_property
    def preflights(self) -> Preflights:
        """Returns what is measured of base models under contexts before any training."""
        return Preflights(self)

    @functools.cached_property
    def discoveries(self) -> Discoveries:
        """Searches for answers to single questions at test time."""
        return Discoveries(self)

    def hub_files(self) -> dict[str, dict[str, list[str]]]:
        """Return what the matrix takes from the hub.

        "datasets" and "models", each name of a lock's entry -> files that are known by name (of a model none: they are
        those that its repository has).
        """
        found: dict[str, dict[str, list[str]]] = {DATASETS: {}, MODELS: {}}
        for run in self.runs():
            model = self.config["models"][self._first_of(run.model)]
            wanted = [] if run.variant == BASE else [(run.task, "train")]
            for task, split in [*wanted, *((task, "val") for task in (run.task, *self.also(run.task)))]:
                for name, file in self.data_sets.hub_files(task, split, run.model):
                    files = found[DATASETS].setdefault(name, [])
                    files += [file] if file not in files else []
            beside = [] if run.variant == BASE else self.external_models(run.task, run.model, run.variant).values()
            for each in (model, *(self.config["models"][self._first_of(name)] for name in beside)):
                if each.get("source") == HUB:
                    found[MODELS].setdefault(entry_name(each[HUB]), [])
        return found

    def _first_of(self, model: str) -> str:
        """The model that a run's model was trained from, and so on to the first; itself where it is no run's."""
        while named := self.base_models.trained(model):
            model = named["model"]
        return model


def load_study(
    config: Mapping[str, Any],
    files: Sequence[str | os.PathLike] = (),
    lock_file: str | os.PathLike = LOCK_FILE,
    *,
    elsewhere: str | None = None,
    placed: Callable[[str], str] = str,
) -> Study:
    """Check a merged configuration.

    Args:
        config: as Snakemake merged it: registries, the config file, --config.
        files: the files that it was merged from, those of the command line before the registries; only read again,
            for messages, for the types of an own method's published values, and for what YAML would read as
            something else than it looks like.
        lock_file: what files of the hub are held to; it need not be there.
        elsewhere, placed: as of `Study`.

    Returns:
        The study, each of its runs resolved once.

    Raises:
        UserError: for whatever is wrong, naming place, key and the nearest valid one.
    """
    written = ConfigFiles(files, elsewhere)
    written.check()
    check_expansion(config, written.elsewhere)
    refuse_odd_keys(config, written.elsewhere)
    config, own = with_shipped(written.ordered({"variants": {}, "overrides": {}, **config}), written)
    config = checked(config, schema("config"), origin=written.origin)
    study = Study(config, files, read_lock(lock_file), elsewhere, placed, own)
    try:
        check_study(study)
    except UserError as error:
        raise UserError(with_place(error, config, written)) from None
    return study


def load_registered_study(
    config: Mapping[str, Any], files: Sequence[str | os.PathLike], registries: str | os.PathLike, **more: Any
) -> Study:
    """Check a configuration that is merged over the registries, whether it holds them already or not.

    Args:
        config: what is run: config files and --config, or the `config` of a module.
        files: the config files that it was merged from, the strongest first.
        registries: the workflow's folder config/.
        more: passed on to `load_study`.

    Returns:
        As `load_study`.

    Raises:
        UserError: as `load_study`, and for a registry that is not there.
    """
    shipped = registry_files(registries)
    whole: dict[str, Any] = {}
    for file in shipped:
        whole = merged(whole, read_settings(file) or {})
    ConfigFiles(files).check()
    check_expansion(config, more.get("elsewhere") or "--config")
    more_files = [file for file in shipped if not any(os.path.samefile(file, other) for other in files)]
    return load_study(merged(whole, config), [*files, *more_files], **more)


def config_hash(settings: Mapping[str, Any]) -> str:
    """Return the name of a run's state: a hash of its resolved settings."""
    return sha256_json(settings)
