"""Checks of a configuration what no JSON schema can say."""

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import shipped
from selfdistill.schemas import KeyPath, canonical
from selfdistill.study.config_files import value_at
from selfdistill.study.control_settings import check_controls
from selfdistill.study.critic_settings import check_critic
from selfdistill.study.data import GENERATED, HUB
from selfdistill.study.feedback_levels import check_feedback, check_level
from selfdistill.study.matrix import AXES, BASE
from selfdistill.study.models import PACKAGE, TRAINED
from selfdistill.study.own_source import source_sha256
from selfdistill.study.preflight import check_preflight
from selfdistill.study.raw_data import MIXTURES, check_raw, format_of
from selfdistill.study.teacher_settings import NO_REFERENCE
from selfdistill.study.training_settings import check_prompts
from selfdistill.study.verl_words import hydra_overrides

if TYPE_CHECKING:
    from selfdistill.study.study import Study


#: Of one block of the matrix. Planning takes a second for some hundred runs (benchmarks/README.md).
MOST_RUNS = 100_000


def check_study(study: "Study") -> None:
    """Check a whole configuration that satisfies its schema, and resolve each of its runs once. Raises UserError."""
    _check_methods(study)
    _check_variants(study)
    _check_matrix(study)
    for axis in ("tasks", "methods"):
        for name in study.config["overrides"].get(axis, {}):
            study.names.check(axis, name, ("overrides", axis))
    for model in study.config["models"]:
        _check_model(study, model)
    for task in study.config["tasks"]:
        _check_task(study, task)
    study.data_sets.check()
    _ = study.diagnoses, study.discoveries
    for task, model, variant in dict.fromkeys((run.task, run.model, run.variant) for run in study.runs()):
        if variant == BASE:
            study.base_model(model, task)
        else:
            study.resolve(task, model, variant, 0)
    for task in study.axis("tasks"):
        study.evaluation(task)


def check_run(settings: Mapping[str, Any], machine: Mapping[str, int], where: str) -> None:
    """Check the resolved settings of one run: sizes, loss, and whether its trainer can run them.

    Args:
        settings: as `RunSettings.resolve` returns them.
        machine: what the run asks of a cluster: `nodes`, and `gpus` of each.
        where: names the run in messages.

    Raises:
        UserError: for settings that contradict each other.
    """
    check_prompts(settings["rollout"]["prompts_per_step"], settings["update"]["prompts_per_update"], where)
    if kind := shipped().get(settings["implementation"]):
        with _behind(where):
            loss = kind(**settings["objective"])
        _check_teacher(kind.published, settings, getattr(loss, "extrapolation", 1.0), where)
        if settings["rollout"]["group_size"] == 1 and loss.compares_rollouts:
            raise UserError(
                f"{where}: rollout.group_size is 1, but method {settings['implementation']} compares the rollouts of a "
                "group: expected 2 or more; raise it",
                keys=["rollout.group_size"],
            )
    check_feedback(settings, where)
    check_controls(settings, where)
    check_critic(settings, machine, where)
    if settings["trainer"] == "verl":
        place, (gpus, nodes) = "anywhere", (machine["gpus"], machine["nodes"])
        with _behind(where):
            hydra_overrides(
                settings,
                train_file=place,
                val_file=place,
                model=place,
                state=place,
                gpus=gpus,
                nodes=nodes,
                attention="sdpa",
            )
    elif settings["rollout"]["engine"] == "vllm":
        raise UserError(
            f"{where}: rollout.engine with trainer local: expected one of own, transformers, found 'vllm'; change it, "
            "or set trainer: verl",
            keys=["rollout.engine"],
        )


def _check_teacher(published: Mapping[str, Any], settings: Mapping[str, Any], extrapolation: float, where: str) -> None:
    """Raise UserError where a shipped method's teacher is not there, reads nothing, or is compared with nothing.

    Which methods need one is what they are published with; training.method_checks asks the losses themselves.
    """
    method, teacher, hints = settings["implementation"], settings["teacher"], settings["hints"]
    if published.get("teacher") and teacher["kind"] == "none":
        raise UserError(
            f"{where}: teacher.kind is 'none', but method {method} needs a teacher; name one", keys=["teacher.kind"]
        )
    if published.get("hints") and hints["source"] == "none" and hints.get("feedback", "never") == "never":
        raise UserError(
            f"{where}: hints.source is 'none' and hints.feedback 'never', but the teacher of method {method} reads "
            "hints; set one of them",
            keys=["hints.source", "hints.feedback"],
        )
    if extrapolation != 1.0 and teacher.get("reference", NO_REFERENCE) == NO_REFERENCE:
        raise UserError(
            f"{where}: objective.extrapolation is {extrapolation}, which starts from teacher.reference, and that is "
            f"{NO_REFERENCE!r}; set it to initial or to an entry of models, or extrapolation to 1",
            keys=["objective.extrapolation", "teacher.reference"],
        )


@contextlib.contextmanager
def _behind(where: str) -> Iterator[None]:
    """Put a place before the message of a UserError."""
    try:
        yield
    except UserError as error:
        raise error.behind(where) from None


@contextlib.contextmanager
def _about(*keys: str) -> Iterator[None]:
    """Say by which keys a setting stands that a UserError is about."""
    try:
        yield
    except UserError as error:
        error.keys.append(keys)
        raise


def _check_methods(study: "Study") -> None:
    config = study.config
    implementations = list(shipped())
    for method, entry in config["methods"].items():
        if ":" not in (name := entry["implementation"]):
            at = ("methods", method, "implementation")
            own = "; one of your own is package.module:Class"
            study.names.check_one_of("implementation", name, implementations, at, own)
        else:
            with _about("methods", method, "implementation"), _behind(f"methods.{method}.implementation"):
                source_sha256(name)
        at = ("methods", method, "objective")
        objective = study.objectives.checked(method, entry["objective"], at)
        with _about(*at):
            canonical(objective, study.objectives.schema(method), f"{'.'.join(at)} (a method names all its keys)")
    implementations += [entry["implementation"] for entry in config["methods"].values()]
    for preset, parts in config["presets"].items():
        for name in parts.get("implementations", {}):
            at = ("presets", preset, "implementations")
            study.names.check_one_of("implementation", name, dict.fromkeys(implementations), at)


def _check_variants(study: "Study") -> None:
    config = study.config
    for variant, entry in config["variants"].items():
        if variant == BASE or variant in config["methods"]:
            taken = "the untrained model" if variant == BASE else "the method without changes"
            raise UserError(
                f"{study.origin(('variants', variant), entry)}: variants.{variant}: {variant!r} already names "
                f"{taken}; two runs would have one name: rename the variant, or put the change under overrides"
            )
        study.names.check("methods", entry["method"], ("variants", variant, "method"))
    if BASE in config["methods"]:
        raise UserError(
            f"methods.{BASE}: the name {BASE!r} is the untrained model's; rename the method", keys=[("methods", BASE)]
        )


def _check_matrix(study: "Study") -> None:
    matrix = study.config["matrix"]
    for at, block in study.blocks.items():
        if missing := [axis for axis in AXES if axis not in block]:
            place = study.origin(tuple(at.split(".", 2)), value_at(study.config, tuple(at.split(".", 2))))
            raise UserError(f"{place}: {at}: key {missing[0]!r} is missing, here and in the matrix itself")
    blocks = matrix.get("blocks", {})
    for axis in (axis for axis in AXES if blocks and axis in matrix):
        if all(axis in block for block in blocks.values()):
            raise UserError(
                f"{study.origin(('matrix', axis), matrix[axis])}: matrix.{axis}: every block names its own {axis}, "
                "so this list would be read by nothing: change those of the blocks"
            )
    places: list[tuple[KeyPath, Mapping[str, Any]]] = [(("matrix",), matrix)]
    places += [(("matrix", "blocks", name), block) for name, block in blocks.items()]
    for place, axis in itertools.product(places, AXES):
        at, names = (*place[0], axis), place[1].get(axis, [])
        for name in names if axis != "seeds" else ():
            study.names.check(axis, name, at)
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise UserError(
                f"{study.origin(at, names)}: {'.'.join(map(str, at))}: {twice[0]!r} is listed twice; two runs would "
                "have one name: remove one"
            )
    for at, block in study.blocks.items():
        if (count := math.prod(len(block[axis]) for axis in AXES)) > MOST_RUNS:
            sizes = " x ".join(f"{len(block[axis]):,} {axis}" for axis in AXES)
            raise UserError(
                f"{study.origin(tuple(at.split('.', 2)), block)}: {at}: {sizes} are {count:,} runs; expected at most "
                f"{MOST_RUNS:,}, which Snakemake can plan: leave some out"
            )


def _check_model(study: "Study", model: str) -> None:
    entry = study.config["models"][model]
    place = f"{study.origin(('models', model), entry)}: models.{model}"
    if study.is_pretrained(model):
        if entry["source"] == HUB and HUB not in entry:
            raise UserError(f"{place}: source {HUB!r} needs `hub` with id and revision; give it, or a folder")
        if entry["source"] == PACKAGE and PACKAGE not in entry:
            raise UserError(f"{place}: source {PACKAGE!r} needs `package` with name and file; give it, or a folder")
        if entry["source"] == TRAINED:
            if TRAINED not in entry:
                raise UserError(
                    f"{place}: source {TRAINED!r} needs `trained` with model, variant and seed; give it, or a folder "
                    "(one of this name is ./trained)"
                )
            study.names.check("models", entry[TRAINED]["model"], ("models", model, TRAINED, "model"))
            study.names.check("variants", entry[TRAINED]["variant"], ("models", model, TRAINED, "variant"))
            if entry[TRAINED]["variant"] == BASE:
                raise UserError(f"{place}.trained.variant: {BASE!r} is the untrained model; name one that is trained")
            _refuse_own_ancestor(study, model, place)
    elif entry["rebuild"] and "architecture" not in entry:
        raise UserError(f"{place}: rebuild needs an `architecture`; give one, or set rebuild: false")
    for task in entry.get("datasets", {}):
        study.names.check("tasks", task, ("models", model, "datasets"))


def _refuse_own_ancestor(study: "Study", model: str, place: str) -> None:
    """Raise UserError where a model that a run trained begins with itself."""
    chain = [model]
    while named := study.base_models.trained(chain[-1]):
        if named["model"] not in study.config["models"]:
            return  # is told of its own entry
        chain.append(named["model"])
        if chain[-1] in chain[:-1]:
            raise UserError(f"{place}.trained: it is trained from itself ({' -> '.join(chain)}); name another run")


def _check_task(study: "Study", task: str) -> None:
    entry = study.config["tasks"][task]
    place = f"{study.origin(('tasks', task), entry)}: tasks.{task}"
    kind, k = entry["metric"].split("@")
    if int(k) > entry["draws"] or (kind == "mean" and int(k) != entry["draws"]):
        raise UserError(f"{place}: metric {entry['metric']} does not fit draws {entry['draws']}; change one of them")
    _check_also(study, task, place)
    check_raw(place, entry)
    check_level(entry["grader"], entry.get("grading", {}).get("feedback"), f"{place}.grading.feedback")
    if (entry.get("second_grader") == "judge") != ("judge" in entry):
        there = "there" if "judge" in entry else "missing"
        raise UserError(
            f"{place}: second_grader is {entry.get('second_grader')!r}, and `judge` is {there}; a judge needs both: "
            "second_grader: judge, and judge: {url: ..., model: ...}"
        )
    if "preflight" in entry:
        check_preflight(entry["preflight"], entry["grader"], f"{place}.preflight", study.variants)
    source = entry["data"]["source"]
    if source == HUB and HUB not in entry["data"] and format_of(entry["data"]) not in MIXTURES:
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


def _check_also(study: "Study", task: str, place: str) -> None:
    """Draws are told apart by their benchmark's name alone."""
    tasks = study.config["tasks"]
    whose = dict.fromkeys(tasks[task]["benchmarks"], task)
    for other in study.also(task):
        study.names.check("tasks", other, ("tasks", task, "also"))
        if other == task:
            raise UserError(f"{place}.also: {task!r} is the task itself; name another one, or remove it")
        for name in tasks[other]["benchmarks"]:
            if name in whose:
                raise UserError(
                    f"{place}.also.{other}: {name!r} is a benchmark of tasks.{whose[name]} and of tasks.{other}; "
                    "two files of draws would have one name: rename one, or leave one of the tasks out"
                )
            whose[name] = other
