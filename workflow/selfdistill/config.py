"""The configuration: registries, matrix and overrides in; the runs and the full settings of each out.

Imported while Snakemake reads the Snakefile, so nothing heavy is imported here and nothing is written.
"""

import dataclasses
import functools
import importlib.util
import itertools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfdistill.errors import UserError
from selfdistill.files import sha256_file, sha256_json
from selfdistill.hub.lock import DATASETS, LOCK_FILE, MODELS, Lock, entry_name, locked_file, locked_model, read_lock
from selfdistill.schemas import KeyPath, canonical, checked, nearest, parsed, schema
from selfdistill.verl_overrides import hydra_overrides

#: Where a run's files are; both are also the patterns of the rules' outputs.
RUN_FOLDER = "results/runs/{task}/{model}/{variant}/seed{seed}"
DRAWS_FOLDER = "results/draws/{task}/{model}/{variant}/seed{seed}"
#: The untrained model: a variant that is evaluated only.
BASE = "base"
#: What data may come from, beside a folder; a model too may come from the hub, or out of a Python package.
GENERATED = "generated"
HUB = "hub"
PACKAGE = "package"
AXES = ("tasks", "models", "variants", "seeds")
#: Keys of a run's `verl` section that are about the machine: no part of its settings, so a change retrains nothing.
_MACHINE = ("nodes", "gpus_per_node")


@dataclass(frozen=True)
class Run:
    """One cell of the matrix; `method` is that of its variant (BASE for the untrained model)."""

    task: str
    model: str
    variant: str
    seed: int
    method: str

    @property
    def folder(self) -> str:
        """What training left: config, metrics, provenance, model."""
        return RUN_FOLDER.format(**vars(self))

    @property
    def draws_folder(self) -> str:
        """What evaluation left: <benchmark>.parquet."""
        return DRAWS_FOLDER.format(**vars(self))


@dataclass(frozen=True, eq=False)  # known by identity, so that what is computed of it can be kept
class Study:
    """A checked configuration. Make it with `load_study`.

    Attributes:
        config: the merged configuration.
        files: the files that it was merged from, those of the command line before the registries. Read again for
            messages, and for what an entry was before something was merged over it.
        lock: what files of the hub are held to (see `selfdistill.hub.lock`).
    """

    config: Mapping[str, Any]
    files: Sequence[str | os.PathLike]
    lock: Lock = dataclasses.field(default_factory=lambda: {DATASETS: {}, MODELS: {}})

    @functools.cached_property
    def variants(self) -> dict[str, str]:
        """Variant -> method: the base, each method as it is, and the named variants."""
        methods = {name: name for name in self.config["methods"]}
        return {BASE: BASE} | methods | {name: v["method"] for name, v in self.config["variants"].items()}

    @functools.cached_property
    def blocks(self) -> dict[str, dict[str, list]]:
        """Key of each block of the matrix -> axis -> values: the matrix itself, or its `blocks`, which take from it the
        axes that they do not name."""
        common = {axis: values for axis, values in self.config["matrix"].items() if axis in AXES}
        if "blocks" not in self.config["matrix"]:
            return {"matrix": common}
        return {f"matrix.blocks.{name}": common | block for name, block in self.config["matrix"]["blocks"].items()}

    def axis(self, axis: str) -> list:
        """All values of an axis, in the order in which the blocks name them."""
        return list(dict.fromkeys(value for block in self.blocks.values() for value in block[axis]))

    def runs(self) -> list[Run]:
        """The matrix, task by task, each run once whatever the number of blocks that hold it."""
        found = {cell for block in self.blocks.values() for cell in itertools.product(*(block[axis] for axis in AXES))}
        cells = itertools.product(*(self.axis(axis) for axis in AXES))
        return [Run(*cell, self.variants[cell[2]]) for cell in cells if cell in found]

    def has_teacher(self, run: Run) -> bool:
        """Whether a trained run reads hints."""
        return self.resolve(run.task, run.model, run.variant, run.seed)["teacher"]["kind"] != "none"

    def resolve(self, task: str, model: str, variant: str, seed: int) -> dict[str, Any]:
        """The full settings of one training run, JSON-able, in one order of keys.

        Raises UserError for an unknown name, for an unknown or ill-typed objective key in any layer, and for sizes that
        do not divide.
        """
        return {**self._cell(task, model, variant), "seed": int(seed)}

    @functools.cached_property
    def _cell(self) -> Callable[[str, str, str], dict[str, Any]]:
        """Settings but for the seed, worked out once: planning asks for those of every run again and again."""
        return functools.cache(self._resolved_cell)

    def _resolved_cell(self, task: str, model: str, variant: str) -> dict[str, Any]:
        for axis, name in (("tasks", task), ("models", model), ("variants", variant)):
            self._known(axis, name, ("matrix", axis))
        method = self.variants[variant]
        if method == BASE:
            raise UserError(f"variant {BASE!r} is the untrained model: there is nothing to train, only to evaluate")
        implementation = self.config["methods"][method]["implementation"]
        where = f"run {task}/{model}/{variant}"
        properties = {**schema("run")["properties"], "objective": self._objective_schema(method)}
        settings = self._merged_layers(task, model, variant)
        machine = _machine(settings)
        verl = properties.pop("verl")
        if settings["trainer"] == "verl":
            kept = {key: part for key, part in verl["properties"].items() if key not in _MACHINE}
            properties["verl"] = {**verl, "properties": kept}
        settings = canonical(settings, {"properties": properties}, where)
        _check_batches(settings, where)
        _check_divergence(implementation, settings["objective"], where)
        resolved = {
            "task": task,
            "model": model,
            "variant": variant,
            "method": method,
            "implementation": implementation,
            **({"implementation_sha256": _source_sha256(implementation)} if ":" in implementation else {}),
            "seed": 0,  # in its place; `resolve` gives the run's own
            "data": {
                "digest": self.data_digest(task, model),
                "allow_overlap": self.config["tasks"][task]["data"].get("allow_overlap", False),
            },
            "base_model": {"digest": self.base_model_digest(model, task)},
            "grader": self.config["tasks"][task]["grader"],
            "benchmarks": list(self.config["tasks"][task]["benchmarks"]),
            **settings,
        }
        _check_engine(resolved, machine, where)
        return resolved

    def machine(self, task: str, model: str, variant: str) -> dict[str, int]:
        """What a run asks of a cluster: `nodes`, and `gpus` of each (0 on a CPU and with the local trainer)."""
        return dict(self._machines(task, model, variant))

    @functools.cached_property
    def _machines(self) -> Callable[[str, str, str], dict[str, int]]:
        """`machine`, worked out once a cell."""
        return functools.cache(lambda *cell: _machine(self._merged_layers(*cell)))

    def evaluation(self, task: str) -> dict[str, Any]:
        """What decides the draws of a task: all that makes an evaluation stale, and nothing that does not."""
        entry = self.config["tasks"][task]
        others = {name: self._evaluated_beside(name, about) for name, about in self.also(task).items()}
        return {
            "task": task,
            "grader": entry["grader"],
            "first_role_counts": entry.get("first_role_counts", False),
            "draws": entry["draws"],
            "benchmarks": list(entry["benchmarks"]),
            "evaluation": canonical(
                {"engine": "own", **entry["evaluation"]},
                _part("tasks", "additionalProperties", "properties", "evaluation"),
                f"tasks.{task}",
            ),
            "data": {"digest": sha256_json(self.split(task, "val"))},
            **({"also": others} if others else {}),
        }

    def also(self, task: str) -> Mapping[str, Mapping[str, int]]:
        """Other tasks on whose benchmarks a task's models are evaluated too -> `problems`, where not all of each."""
        return self.config["tasks"][task].get("also", {})

    def benchmarks(self, task: str) -> dict[str, dict[str, Any]]:
        """All benchmarks of a task's evaluation -> distribution and whether it counts: its own, then those of other
        tasks (`also`), which enter no average of this one."""
        own, tasks = self.config["tasks"][task]["benchmarks"], self.config["tasks"]
        found = {
            name: {"distribution": about["distribution"], "counted": about.get("counted", True)}
            for name, about in own.items()
        }
        for other in self.also(task):
            for name, about in tasks[other]["benchmarks"].items():
                found[name] = {"distribution": about["distribution"], "counted": False}
        return found

    def _evaluated_beside(self, other: str, about: Mapping[str, int]) -> dict[str, Any]:
        """What the draws on another task's benchmarks depend on, beside the sampling of the task that names it."""
        entry = self.config["tasks"][other]
        return {
            **about,
            "grader": entry["grader"],
            "first_role_counts": entry.get("first_role_counts", False),
            "benchmarks": list(entry["benchmarks"]),
            "data": {"digest": sha256_json(self.split(other, "val"))},
        }

    def evaluation_hash(self, task: str, model: str, variant: str, seed: int) -> str:
        """The name of the state of a run's evaluation: its weights' settings and its own."""
        weights = self.base_model(model, task) if variant == BASE else self.resolve(task, model, variant, seed)
        return sha256_json([[task, model, variant, int(seed)], weights, self.evaluation(task)])

    def reporting(self) -> dict[str, Any]:
        """Task -> what tables and figures need of it: metric and benchmarks, for the tasks of the matrix."""
        return {
            task: {"metric": self.config["tasks"][task]["metric"], "benchmarks": self.benchmarks(task)}
            for task in self.axis("tasks")
        }

    @property
    def generated_only(self) -> bool:
        """Whether all tasks of the matrix are toy ones, made by a generator."""
        return all(self.config["tasks"][task]["data"]["source"] == GENERATED for task in self.axis("tasks"))

    def data_file(self, task: str, split: str, model: str | None = None) -> str:
        """Where the rules put a task's data: results/data/<dataset>/<split>.parquet."""
        return f"results/data/{self.dataset(task, split, model)}/{split}.parquet"

    def dataset(self, task: str, split: str, model: str | None = None) -> str:
        """Name of a task's dataset: the training set's own, or the benchmarks joined by "+".

        The training set is the one that the model's entry names for the task, else the task's. Raises UserError where
        neither names one.
        """
        if split != "train":
            return "+".join(self.config["tasks"][task]["benchmarks"])
        name = self._training_set(task, model)
        if name is None:
            raise UserError(
                f"tasks.{task}.data has no `dataset`, and models.{model}.datasets has nothing for task {task!r}: give "
                "one of them, or leave this model or task out of the matrix"
            )
        return name

    def datasets(self) -> dict[tuple[str, str], tuple[str, str | None]]:
        """(dataset, split) -> a task that it belongs to, and for a training set a model that is trained on it."""
        found: dict[tuple[str, str], tuple[str, str | None]] = {}
        for dataset, split, task, model in self._named_datasets():
            found.setdefault((dataset, split), (task, model))
        return found

    def source_file(self, task: str, split: str, model: str | None = None) -> str | None:
        """The parquet of the user's folder that a split comes from; None where it is generated or of the hub."""
        source = self.config["tasks"][task]["data"]["source"]
        return None if source in (GENERATED, HUB) else f"{source}/{self.dataset(task, split, model)}/{split}.parquet"

    def data(self, task: str, model: str | None = None) -> dict[str, Any]:
        """Split -> what its content depends on."""
        return {split: self.split(task, split, model) for split in ("train", "val")}

    def split(self, task: str, split: str, model: str | None = None) -> dict[str, Any]:
        """What the content of one split depends on: the generator's recipe, the source file's sha256, or its place on
        the hub, with commit, size and hash where the lock has them."""
        entry, dataset = self.config["tasks"][task], self.dataset(task, split, model)
        if entry["data"]["source"] == HUB:
            return locked_file(self.lock, entry["data"][HUB], f"{dataset}/{split}.parquet")
        source = self.source_file(task, split, model)
        if source is not None:
            if not os.path.isfile(source):
                raise UserError(
                    f"{source}: no such file; tasks.{task}.data.source must be {GENERATED!r}, {HUB!r} or a folder that "
                    f"holds {dataset}/{split}.parquet"
                )
            stat = os.stat(source)
            return {"sha256": _sha256(source, stat.st_mtime_ns, stat.st_size)}
        recipe = {key: entry["data"]["generator"][key] for key in ("exercise", "seed")}
        if split == "train":
            return {**recipe, "dataset": dataset, **entry["data"]["generator"]["train"]}
        benchmarks = {
            name: {"size": about["size"], "problems": about["problems"]} for name, about in entry["benchmarks"].items()
        }
        return {**recipe, "benchmarks": benchmarks}

    def data_digest(self, task: str, model: str | None = None) -> str:
        """Changes when, and only when, the content of the task's data does (on the hub: its revision or lock)."""
        return sha256_json(self.data(task, model))

    def hub_files(self) -> dict[str, dict[str, list[str]]]:
        """What the matrix takes from the hub: "datasets" and "models", each name of a lock's entry -> files that are
        known by name (of a model none: they are those that its repository has)."""
        found: dict[str, dict[str, list[str]]] = {DATASETS: {}, MODELS: {}}
        for run in self.runs():
            model = self.config["models"][run.model]
            wanted = [] if run.variant == BASE else [(run.task, "train")]
            for task, split in [*wanted, *((task, "val") for task in (run.task, *self.also(run.task)))]:
                data = self.config["tasks"][task]["data"]
                if data["source"] == HUB:
                    files = found[DATASETS].setdefault(entry_name(data[HUB]), [])
                    if (file := f"{self.dataset(task, split, run.model)}/{split}.parquet") not in files:
                        files.append(file)
            if model.get("source") == HUB:
                found[MODELS].setdefault(entry_name(model[HUB]), [])
        return found

    def is_pretrained(self, model: str) -> bool:
        """Whether a model comes from the hub, a folder or a package, and is no toy of this project's."""
        return "source" in self.config["models"][model]

    def for_all_tasks(self, model: str) -> bool:
        """Whether a model has one base model for all tasks: a pretrained one that is not warm-started."""
        return self.is_pretrained(model) and "warm_start" not in self.config["models"][model]

    def base_model_folder(self, model: str, task: str) -> str:
        """Where the rules put a base model."""
        return f"results/models/{model}" if self.for_all_tasks(model) else f"results/models/{model}/{task}"

    def pretrained_model(self, model: str) -> dict[str, Any]:
        """The part of a pretrained model's entry that decides it, in the entry's own shape."""
        entry = self.config["models"][model]
        if entry["source"] == HUB:
            return {"source": HUB, **locked_model(self.lock, entry[HUB])}
        if entry["source"] == PACKAGE:
            return {"source": PACKAGE, PACKAGE: entry[PACKAGE]}
        return {"source": entry["source"], "files": _listing(entry["source"])}

    def base_model(self, model: str, task: str) -> dict[str, Any]:
        """The part of a model's entry that decides one task's base model, in the entry's own shape."""
        entry = self.config["models"][model]
        if self.for_all_tasks(model):
            return self.pretrained_model(model)
        key = "warm_start" if self.is_pretrained(model) or entry["rebuild"] else "sha256"
        if task not in entry.get(key, {}):
            raise UserError(
                f"{self.origin(('models', model), entry)}: models.{model}.{key} has nothing for task {task!r} "
                f"(it has: {', '.join(entry.get(key, {})) or 'nothing'}); add it, or leave this model or task out of "
                "the matrix"
            )
        own = {key: {task: entry[key][task]}}
        if self.is_pretrained(model):
            return self.pretrained_model(model) | own
        return {name: entry[name] for name in ("folder", "rebuild", "architecture") if name in entry} | own

    def base_model_digest(self, model: str, task: str) -> str:
        """sha256 of the shipped weights, or the hash of what they come from: the recipe that rebuilds them or warms a
        pretrained model, repository and revision on the hub (commit and hashes where the lock has them), the files of a
        folder, a package with its sha256."""
        settings = self.base_model(model, task)
        if self.is_pretrained(model):
            return sha256_json({key: part for key, part in settings.items() if key != "source"})
        if not settings["rebuild"]:
            return settings["sha256"][task]
        return sha256_json({key: settings[key] for key in ("architecture", "warm_start")})

    def origin(self, path: KeyPath, value: Any) -> str:
        """The file that holds a value under these keys, else "--config"."""
        for file in self.files:
            found = _get(_read(str(file)), path)
            if found == value or (isinstance(found, str) and parsed(found) == value):
                return os.path.relpath(file)
        return "--config" if self.files else "config"

    def _layers(
        self, task: str, model: str, method: str, variant: str
    ) -> tuple[str, list[tuple[KeyPath, Mapping[str, Any]]]]:
        """The preset, and weakest first where each layer stands in the configuration, and its values."""

        def values(path: KeyPath) -> dict[str, Any]:
            return {key: value for key, value in (_get(self.config, path) or {}).items() if key != "implementation"}

        stronger: list[KeyPath] = [
            ("tasks", task, "run"),
            ("models", model, "run"),
            ("overrides", "all"),
            ("overrides", "tasks", task),
            ("overrides", "methods", method),
            ("variants", variant, "set"),
        ]
        naming = [values(path) for path in (("defaults",), *stronger)]
        preset = next(layer["preset"] for layer in reversed(naming) if "preset" in layer)
        # What a preset says of all runs gives way to published values; what it says of one loss is about that loss.
        implementation = self.config["methods"][method]["implementation"]
        paths: list[KeyPath] = [
            ("defaults",),
            ("presets", preset, "all"),
            ("methods", method),
            ("presets", preset, "implementations", implementation),
            *stronger,
        ]
        return preset, [(path, values(path)) for path in paths]

    def _merged_layers(self, task: str, model: str, variant: str) -> dict[str, Any]:
        """All that the layers say of a run, objective keys checked."""
        method = self.variants[variant]
        preset, layers = self._layers(task, model, method, variant)
        settings: dict[str, Any] = {}
        for at, values in layers:
            objective = self._objective(method, values.get("objective", {}), (*at, "objective"))
            settings = _merged(settings, {**values, "objective": objective})
        return {**settings, "preset": preset}

    def _training_set(self, task: str, model: str | None) -> str | None:
        own = self.config["models"][model].get("datasets", {}) if model else {}
        return own.get(task, self.config["tasks"][task]["data"].get("dataset"))

    def _named_datasets(self) -> Iterator[tuple[str, str, str, str | None]]:
        """(dataset, split, task, model) of all tasks, for the training sets with every model and without any."""
        for task in self.config["tasks"]:
            for model in (None, *self.config["models"]):
                if (name := self._training_set(task, model)) is not None:
                    yield name, "train", task, model
            yield self.dataset(task, "val"), "val", task, None

    def _objective(self, method: str, values: Mapping[str, Any], at: KeyPath) -> dict[str, Any]:
        """The objective keys of one layer, checked. Raises UserError."""
        try:
            return checked(values, self._objective_schema(method), at, self.origin)
        except UserError as error:
            own = self.config["methods"][method]["implementation"] not in schema("objectives")["properties"]
            rule = ": its keys and their types are those of its published values" if own else ""
            raise UserError(f"{error} (method {method}{rule})") from None

    def _objective_schema(self, method: str) -> Mapping[str, Any]:
        """The keys of a method's objective: those of the shipped loss, or those that the method's entry names.

        A loss of the user's own is not imported here, so its published values also tell the types.
        """
        entry = self.config["methods"][method]
        shipped = schema("objectives")["properties"]
        if entry["implementation"] in shipped:
            return shipped[entry["implementation"]]
        # As the file has it that names the loss: what others or --config put over it is to be checked like any layer.
        found = [_get(_read(str(file)), ("methods", method)) for file in self.files]
        written = [_get(each, ("objective",)) or {} for each in found if _get(each, ("implementation",))]
        published = written[-1] if written else {key: _from_text(value) for key, value in entry["objective"].items()}
        properties = {key: {"type": _type_of(published[key])} for key in sorted(published)}
        return {"type": "object", "additionalProperties": False, "properties": properties}

    def _known(self, axis: str, name: str, at: KeyPath) -> None:
        self._one_of(axis.removesuffix("s"), name, self.variants if axis == "variants" else self.config[axis], at)

    def _one_of(self, what: str, name: str, known: Collection[str], at: KeyPath, more: str = "") -> None:
        if name not in known:
            raise UserError(
                f"{self.origin(at, _get(self.config, at))}: {'.'.join(at)}: unknown {what} {name!r}; "
                f"the nearest known one is {nearest(name, known)!r} (known: {', '.join(known)}{more})"
            )

    def check(self) -> None:
        """Whatever no JSON schema can say. Raises UserError."""
        config = self.config
        implementations = list(schema("objectives")["properties"])
        for method, entry in config["methods"].items():
            if ":" not in (name := entry["implementation"]):
                at = ("methods", method, "implementation")
                self._one_of("implementation", name, implementations, at, "; one of your own is package.module:Class")
            at = ("methods", method, "objective")
            objective = self._objective(method, entry["objective"], at)
            canonical(objective, self._objective_schema(method), f"{'.'.join(at)} (a method names all its keys)")
        implementations += [entry["implementation"] for entry in config["methods"].values()]
        for preset, parts in config["presets"].items():
            for name in parts.get("implementations", {}):
                at = ("presets", preset, "implementations")
                self._one_of("implementation", name, dict.fromkeys(implementations), at)
        for variant, entry in config["variants"].items():
            if variant == BASE or variant in config["methods"]:
                taken = "the untrained model" if variant == BASE else "the method without changes"
                raise UserError(
                    f"{self.origin(('variants', variant), entry)}: variants.{variant}: {variant!r} already names "
                    f"{taken}; two runs would have one name: rename the variant, or put the change under overrides"
                )
            self._known("methods", entry["method"], ("variants", variant, "method"))
        if BASE in config["methods"]:
            raise UserError(f"methods.{BASE}: the name {BASE!r} is the untrained model's; rename the method")
        self._check_matrix()
        for axis in ("tasks", "methods"):
            for name in config["overrides"].get(axis, {}):
                self._known(axis, name, ("overrides", axis))
        for model in config["models"]:
            self._check_model(model)
        for task in config["tasks"]:
            self._check_task(task)
        self._check_datasets()
        for task, model, variant in dict.fromkeys((run.task, run.model, run.variant) for run in self.runs()):
            if variant == BASE:
                self.base_model(model, task)
            else:
                self.resolve(task, model, variant, 0)
        for task in self.axis("tasks"):
            self.evaluation(task)

    def _check_matrix(self) -> None:
        matrix = self.config["matrix"]
        for at, block in self.blocks.items():
            if missing := [axis for axis in AXES if axis not in block]:
                place = self.origin(tuple(at.split(".", 2)), _get(self.config, tuple(at.split(".", 2))))
                raise UserError(f"{place}: {at}: key {missing[0]!r} is missing, here and in the matrix itself")
        blocks = matrix.get("blocks", {})
        for axis in matrix.keys() & set(AXES) if blocks else ():
            if all(axis in block for block in blocks.values()):
                raise UserError(
                    f"{self.origin(('matrix', axis), matrix[axis])}: matrix.{axis}: every block names its own {axis}, "
                    "so this list would be read by nothing: change those of the blocks"
                )
        places: list[tuple[KeyPath, Mapping[str, Any]]] = [(("matrix",), matrix)]
        places += [(("matrix", "blocks", name), block) for name, block in blocks.items()]
        for place, axis in itertools.product(places, AXES):
            at, names = (*place[0], axis), place[1].get(axis, [])
            for name in names if axis != "seeds" else ():
                self._known(axis, name, at)
            if twice := [name for i, name in enumerate(names) if name in names[:i]]:
                raise UserError(
                    f"{self.origin(at, names)}: {'.'.join(at)}: {twice[0]!r} is listed twice; two runs would have one "
                    "name: remove one"
                )

    def _check_model(self, model: str) -> None:
        entry = self.config["models"][model]
        place = f"{self.origin(('models', model), entry)}: models.{model}"
        if self.is_pretrained(model):
            if entry["source"] == HUB and HUB not in entry:
                raise UserError(f"{place}: source {HUB!r} needs `hub` with id and revision; give it, or a folder")
            if entry["source"] == PACKAGE and PACKAGE not in entry:
                raise UserError(f"{place}: source {PACKAGE!r} needs `package` with name and file; give it, or a folder")
        elif entry["rebuild"] and "architecture" not in entry:
            raise UserError(f"{place}: rebuild needs an `architecture`; give one, or set rebuild: false")
        for task in entry.get("datasets", {}):
            self._known("tasks", task, ("models", model, "datasets"))

    def _check_task(self, task: str) -> None:
        entry = self.config["tasks"][task]
        place = f"{self.origin(('tasks', task), entry)}: tasks.{task}"
        kind, k = entry["metric"].split("@")
        if int(k) > entry["draws"] or (kind == "mean" and int(k) != entry["draws"]):
            raise UserError(
                f"{place}: metric {entry['metric']} does not fit draws {entry['draws']}; change one of them"
            )
        self._check_also(task, place)
        source = entry["data"]["source"]
        if source == HUB and HUB not in entry["data"]:
            raise UserError(
                f"{place}.data: source {HUB!r} needs `hub` with id and revision; give it, or a folder as source (a "
                "folder of this name is ./hub)"
            )
        if source != GENERATED:
            return
        if "generator" not in entry["data"]:
            raise UserError(f"{place}.data: source {GENERATED!r} needs a `generator`; give one, or a folder as source")
        for name, about in entry["benchmarks"].items():
            if missing := [key for key in ("size", "problems") if key not in about]:
                raise UserError(f"{place}.benchmarks.{name}: generated problems need {missing[0]!r}; give it")

    def _check_also(self, task: str, place: str) -> None:
        """Draws are told apart by their benchmark's name alone."""
        whose = dict.fromkeys(self.config["tasks"][task]["benchmarks"], task)
        for other in self.also(task):
            self._known("tasks", other, ("tasks", task, "also"))
            if other == task:
                raise UserError(f"{place}.also: {task!r} is the task itself; name another one, or remove it")
            for name in self.config["tasks"][other]["benchmarks"]:
                if name in whose:
                    raise UserError(
                        f"{place}.also.{other}: {name!r} is a benchmark of tasks.{whose[name]} and of tasks.{other}; "
                        "two files of draws would have one name: rename one, or leave one of the tasks out"
                    )
                whose[name] = other

    def _check_datasets(self) -> None:
        """Two tasks may share a dataset, but not a name for different data."""
        seen: dict[str, tuple[str, Any]] = {}
        for _, split, task, model in self._named_datasets():
            content = self.source_file(task, split, model) or self.split(task, split, model)
            other, known = seen.setdefault(self.data_file(task, split, model), (task, content))
            if known != content:
                raise UserError(
                    f"tasks.{other} and tasks.{task} give different data for {self.data_file(task, split, model)}; "
                    "name the dataset or the benchmarks of one of them differently"
                )


def load_study(
    config: Mapping[str, Any], files: Sequence[str | os.PathLike] = (), lock_file: str | os.PathLike = LOCK_FILE
) -> Study:
    """Check a merged configuration.

    Args:
        config: as Snakemake merged it: registries, the config file, --config.
        files: the files that it was merged from, those of the command line before the registries; only read again,
            for messages, for the types of an own method's published values, and to find keys that a file gives twice
            (YAML keeps the last without a word).
        lock_file: what files of the hub are held to; it need not be there.

    Raises:
        UserError: for whatever is wrong, naming place, key and the nearest valid one.
    """
    for file in files:
        _refuse_repeated_keys(str(file))
    _refuse_odd_keys(config, ())
    config = _ordered({"variants": {}, "overrides": {}, **config}, files)
    config = checked(config, schema("config"), origin=Study(config, files).origin)
    study = Study(config, files, read_lock(lock_file))
    study.check()
    return study


def config_hash(settings: Mapping[str, Any]) -> str:
    """The name of a run's state: a hash of its resolved settings."""
    return sha256_json(settings)


def _merged(weaker: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(weaker)
    for key, value in stronger.items():
        both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = _merged(result[key], value) if both else value
    return result


def _ordered(config: Mapping[str, Any], files: Sequence[str | os.PathLike]) -> dict[str, Any]:
    """Keys in the order in which the files give them: Snakemake puts those of --config first, but the order of tasks,
    benchmarks and variants is that of the tables, and names the validation file."""
    like: Mapping[str, Any] = {}
    for file in reversed(files):
        like = _merged(like, _read(str(file)) or {})

    def reorder(node: Any, like: Any) -> Any:
        if not isinstance(node, Mapping):
            return node
        like = like if isinstance(like, Mapping) else {}
        return {key: reorder(node[key], like.get(key)) for key in dict.fromkeys([*like, *node]) if key in node}

    return reorder(config, like)


def _check_batches(settings: Mapping[str, Any], where: str) -> None:
    step, update = settings["rollout"]["prompts_per_step"], settings["update"]["prompts_per_update"]
    if step % update:
        raise UserError(
            f"{where}: rollout.prompts_per_step {step} is no multiple of update.prompts_per_update {update}; change one"
        )


def _check_divergence(implementation: str, objective: Mapping[str, Any], where: str) -> None:
    if implementation == "sdpo" and not objective["full_distribution"] and objective["alpha"] != 1:
        raise UserError(
            f"{where}: objective.full_distribution false needs objective.alpha 1, found {objective['alpha']}: sampled "
            "tokens can estimate the reverse divergence only; change one"
        )


def _machine(settings: Mapping[str, Any]) -> dict[str, int]:
    verl = settings["verl"]
    if settings["trainer"] != "verl":
        return {"nodes": 1, "gpus": 0}
    return {"nodes": int(verl["nodes"]), "gpus": 0 if verl["device"] == "cpu" else int(verl["gpus_per_node"])}


def _check_engine(settings: Mapping[str, Any], machine: Mapping[str, int], where: str) -> None:
    """Whether the trainer can run these settings. Raises UserError."""
    if settings["trainer"] == "verl":
        paths = dict.fromkeys(("train_file", "val_file", "model", "state"), "anywhere")
        try:
            hydra_overrides(settings, **paths, **machine, attention="sdpa")
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    elif settings["rollout"]["engine"] == "vllm":
        raise UserError(
            f"{where}: rollout.engine with trainer local: expected one of own, transformers, found 'vllm'; change it, "
            "or set trainer: verl"
        )


def _listing(folder: str) -> dict[str, Any]:
    """What a folder's model depends on: size of each weights file, sha256 of the small ones.

    Hashing the weights would take minutes each time that something is planned.
    """
    if not os.path.isfile(f"{folder}/config.json"):
        raise UserError(
            f"{folder}: no config.json; a model's `source` is {HUB!r}, {PACKAGE!r} or a folder that "
            "holds it as transformers saves it"
        )
    found: dict[str, Any] = {}
    for path in sorted(Path(folder).glob("*")):
        if path.suffix in (".safetensors", ".json", ".jinja"):
            stat = path.stat()
            weights = path.suffix == ".safetensors"
            found[path.name] = stat.st_size if weights else _sha256(str(path), stat.st_mtime_ns, stat.st_size)
    return found


def _from_text(value: Any) -> Any:
    return parsed(value) if isinstance(value, str) else value


def _type_of(published: Any) -> str | list[str]:
    """The JSON type of a published value; null stands for a number that is switched off."""
    if isinstance(published, str) and isinstance(parsed(published), float):  # 1e-4 is text to PyYAML
        return "number"
    return {bool: "boolean", int: "integer", float: "number", str: "string"}.get(type(published), ["number", "null"])


def _get(node: Any, path: KeyPath) -> Any:
    for key in path:
        try:
            node = node[key]
        except (KeyError, IndexError, TypeError):
            return None
    return node


def _part(name: str, *path: str) -> Mapping[str, Any]:
    return _get(schema(name), path)


@functools.lru_cache
def _read(file: str) -> Any:
    return yaml.safe_load(Path(file).read_text(encoding="utf-8"))


@functools.lru_cache
def _sha256(path: str, _mtime: int, _size: int) -> str:
    return sha256_file(path)


def _source_sha256(implementation: str) -> str | None:
    """Of the file of a method of one's own, so that an edit retrains its runs; None where it is not importable here.

    Nothing but the packages around the module is imported.
    """
    try:
        found = importlib.util.find_spec(implementation.partition(":")[0])
    except ImportError:
        return None
    if found is None or found.origin is None:
        return None
    stat = os.stat(found.origin)
    return _sha256(found.origin, stat.st_mtime_ns, stat.st_size)


def _refuse_odd_keys(node: Any, path: KeyPath) -> None:
    """YAML reads an unquoted `on` as true and 3 as a number; a key must be text."""
    if not isinstance(node, Mapping):
        return
    for key, value in node.items():
        if not isinstance(key, str):
            raise UserError(f"{'.'.join((*path, ''))}{key}: keys must be text, this one was read as {key!r}; quote it")
        _refuse_odd_keys(value, (*path, key))


def _refuse_repeated_keys(file: str) -> None:
    def visit(node: yaml.Node | None, path: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                raise UserError(
                    f"{os.path.relpath(file)}, line {key.start_mark.line + 1}: {path}{key.value} stands twice; the "
                    "second would silently replace the first: rename or remove one"
                )
            seen.add(key.value)
            visit(value, f"{path}{key.value}.")

    visit(yaml.compose(Path(file).read_text(encoding="utf-8"), Loader=yaml.SafeLoader), "")
