# The checked configuration, and what the rules ask of it.

import os
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import get_flag_value
from snakemake.path_modifier import PATH_MODIFIER_FLAG

from selfdistill.errors import UserError
from selfdistill.planning.requests import (
    diagnosis_request,
    discovery_request,
    evaluation_request,
    preflight_request,
    training_request,
    warm_start_request,
)
from selfdistill.reporting.render.texts import SHOWN_AS_THEY_ARE, demonstration
from selfdistill.study.discovery import ATTEMPTS_FILE, BASE_DRAWS_FILE, QUESTIONS_FILE, SEARCHES
from selfdistill.study.matrix import BASE, Run
from selfdistill.study.own_prompts import own_prompts
from selfdistill.study.paths import (
    ACCOUNT,
    DRAWS_FOLDER,
    MODEL,
    RUN_FILES,
    RUN_FOLDER,
    state_of,
)
from selfdistill.study.picture_controls import CONTROLS_FILE, control_cells, controls_settings
from selfdistill.study.preflight import PREFLIGHT_FILE
from selfdistill.study.results import Reported, ReportedSearches
from selfdistill.study.study import config_hash, load_registered_study

# Of the workflow itself. All else that a path names is relative to the working directory.
CLONE = Path(workflow.current_basedir.get_path_or_uri(secret_free=True)).parents[1]
# A module's `prefix` moves what rules declare. What is handed over as a parameter, or looked for here, has to follow.
MOVED = workflow.modifier.path_modifier


def placed(path):
    return str(path if get_flag_value(path, PATH_MODIFIER_FLAG) else MOVED.replace_prefix(path))


try:
    # Snakemake lists the files of the command line first, and they are the stronger ones.
    STUDY = load_registered_study(
        config,
        workflow.configfiles,
        SHIPPED,
        elsewhere="--config" if workflow.config_settings.config else "config",
        placed=placed,
    )
    RESULTS = Reported(STUDY)
    OF_SEARCHES = ReportedSearches(STUDY, made_here=not RESULTS.source)
except UserError as error:
    raise WorkflowError(str(error)) from None

# Captions of the report read it, and end with what `report` says. Of a module, `config` may hold no more than a matrix.
config = {
    **STUDY.config,
    "report": {"demonstration": demonstration(STUDY.generated, STUDY.notes), "as_they_are": SHOWN_AS_THEY_ARE},
}

RUNS = STUDY.runs()
#: Runs that tables, figures and pages show, and runs that the matrix asks for and that are not there, with the reason.
IN_REPORT, MISSING = RESULTS.runs, [*RESULTS.missing, *OF_SEARCHES.missing]
TRAINED = RESULTS.trained
WITH_TEACHER = [run for run in TRAINED if STUDY.has_teacher(run)]
TASKS = STUDY.reporting()
#: Tasks that ask for pre-flights of their base models, and those of the matrix; of draws that were not made here, none.
WITH_PREFLIGHT = [task for task, entry in STUDY.config["tasks"].items() if "preflight" in entry]
PREFLIGHTS = RESULTS.there(STUDY.preflights.cells(), lambda each: each.file)
PICTURE_CONTROLS = RESULTS.there(
    control_cells(STUDY.config, STUDY.runs()),
    lambda cell: CONTROLS_FILE.format(task=cell[0], model=cell[1], variant=BASE),
)
#: (dataset, split) -> a task that it belongs to, and a model that is trained on it.
DATASETS = STUDY.datasets()
#: Models by where they come from: pretrained, one for all tasks; pretrained, and warm-started for each task; of a run, and
#: of a run and warm-started; the project's own, one a task.
FOR_ALL_TASKS = [model for model in STUDY.config["models"] if STUDY.for_all_tasks(model)]
OF_RUNS = [model for model in STUDY.config["models"] if STUDY.base_models.trained(model)]
OF_RUNS_WARM_STARTED = [model for model in OF_RUNS if "warm_start" in STUDY.config["models"][model]]
WARM_STARTED = [
    model for model in STUDY.config["models"] if STUDY.is_pretrained(model) and model not in (*FOR_ALL_TASKS, *OF_RUNS)
]
FOR_ONE_TASK = [model for model in STUDY.config["models"] if not STUDY.is_pretrained(model)]


# A pattern of these names; of none at all, one that nothing matches (an empty one would match whatever there is).
def any_of(names):
    return "|".join(map(re.escape, names)) or r"[^\s\S]"


# Every cell that the registries can name may be asked for by its path, whether the matrix holds it or not.
wildcard_constraints:
    task=any_of(STUDY.config["tasks"]),
    model=any_of(STUDY.config["models"]),
    variant=any_of(STUDY.variants),
    seed="0|[1-9][0-9]*",


# A file that ships with the workflow; in a clone by its relative path, so that nothing is stale once the clone has moved.
def shipped(path):
    return STUDY.given(path if CLONE.samefile(os.curdir) else f"{CLONE}/{path}")


# Snakemake makes a deleted file again only where a target asks for it, so all are asked for, not the last of the chain.
def final_outputs():
    return [
        "results/site",
        *(page["file"] for page in pages().values()),
        *tables_of_site(),
        *figures(),
        *figures_of_overview(),
        *token_summaries("classes", RECORDED),
        *files_of_runs("config", "metrics", "provenance", "records"),
        *draws(),
    ]


def data_sources(wildcards):
    task, model = DATASETS[wildcards.dataset, wildcards.split]
    return [STUDY.given(file) for file in STUDY.source_files(task, wildcards.split, model)]


# A file that the configuration knows by its hash may be put there later: planned without it, its job is refused.
def data_source(wildcards):
    return [file for file in data_sources(wildcards) if os.path.isfile(file)]


def data_missing(wildcards):
    return [file for file in data_sources(wildcards) if not os.path.isfile(file)]


def data_recipe(wildcards):
    task, model = DATASETS[wildcards.dataset, wildcards.split]
    return STUDY.split(task, wildcards.split, model)


def data_grader(wildcards):
    task, _ = DATASETS[wildcards.dataset, wildcards.split]
    return STUDY.config["tasks"][task]["grader"]


def data_own_prompts(wildcards):
    task, _ = DATASETS[wildcards.dataset, wildcards.split]
    return own_prompts(STUDY.config["tasks"][task])


def train_file(wildcards):
    return STUDY.data_file(wildcards.task, "train", wildcards.model)


def val_file(wildcards):
    return STUDY.data_file(wildcards.task, "val")


# Of other tasks, on whose benchmarks it is evaluated as well.
def val_files_of_others(wildcards):
    return [STUDY.data_file(task, "val") for task in STUDY.also(wildcards.task)]


def base_model(wildcards):
    return STUDY.base_model_folder(wildcards.model, wildcards.task)


# Of another model that a run reads beside its own; of most runs there is none.
def external_model(role):
    def folder(wildcards):
        named = STUDY.external_models(wildcards.task, wildcards.model, wildcards.variant)
        return STUDY.base_model_folder(named[role], wildcards.task) if role in named else []

    return folder


# What a run waits for: a list of one file, or of none.
def preflights_awaited(wildcards):
    return [each.file for each in STUDY.preflights.awaited(wildcards.task, wildcards.model, wildcards.variant)]


def refuses(wildcards):
    return STUDY.preflights.refuses(wildcards.task)


def preflight_settings(wildcards):
    return STUDY.preflights.of(wildcards.task, wildcards.model, wildcards.variant)


def preflight_critic(wildcards):
    return [] if wildcards.variant == BASE else external_model("critic")(wildcards)


def controls_of_pictures(wildcards):
    return controls_settings(STUDY.config, wildcards.task, wildcards.model)


def preflight_limits(wildcards):
    return STUDY.preflights.limits(wildcards.task, wildcards.variant)


def base_model_settings(wildcards):
    return STUDY.base_model(wildcards.model, wildcards.task)


# Where the run lies whose model this is.
def trained_model(wildcards):
    return f"{STUDY.trained_model(wildcards.model, wildcards.task).folder}/{MODEL}"


def pretrained_model_settings(wildcards):
    return STUDY.pretrained_model(wildcards.model)


def base_model_source(wildcards):
    settings = base_model_settings(wildcards)
    weights = f"{settings.get('folder')}/{wildcards.task}/model.safetensors"
    if settings["rebuild"]:
        return []
    return STUDY.given(weights) if os.path.exists(weights) else shipped(weights)


def wildcards_of_run(wildcards):
    return wildcards.task, wildcards.model, wildcards.variant, int(wildcards.seed)


def run_settings(wildcards):
    return STUDY.resolve(*wildcards_of_run(wildcards))


# What jobs ask of a cluster. A profile may ask for something else: set-resources.
def training(what):
    def asked(wildcards, attempt):
        return getattr(training_request(STUDY, wildcards.task, wildcards.model, wildcards.variant, attempt), what)

    return asked


def warm_start(what):
    def asked(wildcards, attempt):
        return getattr(warm_start_request(STUDY, wildcards.model, attempt), what)

    return asked


def evaluation(what):
    def asked(wildcards, attempt):
        return getattr(evaluation_request(STUDY, wildcards.task, wildcards.model, attempt), what)

    return asked


def preflight(what):
    def asked(wildcards, attempt):
        return getattr(preflight_request(STUDY, *wildcards_of_preflight(wildcards), attempt), what)

    return asked


def wildcards_of_preflight(wildcards):
    return wildcards.task, wildcards.model, wildcards.variant


def diagnosis(what):
    def asked(wildcards, attempt):
        return getattr(diagnosis_request(STUDY, wildcards.model, wildcards.teacher, attempt), what)

    return asked


def training_environment(wildcards):
    run = run_settings(wildcards)
    device = {"cuda": "gpu", "cpu": "cpu"}[run["verl"]["device"]] if run["trainer"] == "verl" else None
    return f"../../envs/verl_{device}.yaml" if device else "../../envs/local.yaml"


def evaluation_engine(wildcards):
    return evaluation_settings(wildcards)["evaluation"]["engine"]


def evaluation_environment(wildcards):
    return f"../../envs/{'verl_gpu' if evaluation_engine(wildcards) == 'vllm' else 'local'}.yaml"


def state_folder(wildcards):
    return placed(state_of(config_hash(run_settings(wildcards))))


def evaluated_model(wildcards):
    if wildcards.variant == BASE:
        return base_model(wildcards)
    return f"{RUN_FOLDER}/{MODEL}".format(**dict(wildcards.items()))


def evaluation_settings(wildcards):
    chat = STUDY.chat(wildcards.task, wildcards.model, wildcards.variant)
    return {**STUDY.evaluation(wildcards.task), "chat": chat}


def evaluation_state(wildcards):
    return placed(state_of(STUDY.evaluation_hash(*wildcards_of_run(wildcards))))


# Of what is read from a folder of the user's, a run may have no more than its draws.
def files_of_runs(*names):
    files = [getattr(RESULTS.files(run), name) for run in TRAINED for name in names]
    return [file for file in files if file]


def draws():
    return [file for run in IN_REPORT for file in RESULTS.files(run).draws.values()]


def accounts():
    return [file for run in IN_REPORT if (file := RESULTS.files(run).account)]


def cells(runs):
    return RESULTS.cells(runs)
