# What figures, pages and the site ask of the checked configuration: which of them there are, and what they show.

import os
import shlex

from selfdistill.reporting.tokens.classes import PARTITIONS, lists_digest
from selfdistill.reporting.read.published_sdpo import CODE_BENCHMARK
from selfdistill.reporting.render.texts import TABLES as TEXTS
from selfdistill.study.hint_settings import has_contrast

# A copy of the workflow without its documents has no page of departures.
DEPARTURES = shipped("docs/departures.md")
TOKENS_FOLDER = "results/tokens/{task}/{model}/{variant}/seed{seed}"


def run_config(run):
    return STUDY.resolve(run.task, run.model, run.variant, run.seed)


#: Runs in which a teacher was recorded.
RECORDED = [
    run
    for run in WITH_TEACHER
    if RESULTS.files(run).records and (RESULTS.source or run_config(run)["records"]["every"])
]


# Of a task those figures that have something to show.
def figures():
    # A profile of one answer to each problem is a flat line.
    seeds = {(run.task, run.seed) for run in IN_REPORT}
    answers = {task: STUDY.config["tasks"][task]["draws"] * sum(task == of for of, _ in seeds) for task in TASKS}
    profiled = [run for run in IN_REPORT if answers[run.task] > 1]
    shown = {"benchmarks": IN_REPORT, "profiles": profiled, "dynamics": TRAINED, "signals": WITH_TEACHER}
    found = [(task, name) for task in TASKS for name, runs in shown.items() if any(run.task == task for run in runs)]
    return [f"results/figures/{task}/{name}.svg" for task, name in found]


def figures_of_models():
    def files(figure, runs):
        return [f"results/figures/{figure}/{model}.svg" for model in dict.fromkeys(run.model for run in runs)]

    return [*files("benchmarks", IN_REPORT), *files("dynamics", TRAINED)]


def figures_of_contrast():
    tasks = [task for task in TASKS if has_contrast([run for run in TRAINED if run.task == task])]
    return [f"results/figures/{task}/contrast.svg" for task in tasks]


def figures_of_tokens():
    return [f"results/figures/{task}/{name}.svg" for task in tasks_with_records() for name in ("tokens", "token_means")]


def figures_of_teachers():
    return [f"results/figures/{task}/teachers.svg" for task in tasks_diagnosed()]


# Of the wildcard that a figure has, task or model, what it shows.
def shown_in(wildcards, runs):
    return [run for run in runs if all(getattr(run, axis) == name for axis, name in wildcards.items())]


def metrics_shown(wildcards):
    return [RESULTS.files(run).metrics for run in shown_in(wildcards, TRAINED)]


def records_of_run(wildcards):
    run = Run(*wildcards_of_run(wildcards), STUDY.variants[wildcards.variant])
    return RESULTS.files(run).records or f"{run.folder}/{RUN_FILES['records']}"


def records_shown(wildcards):
    return [RESULTS.files(run).records for run in shown_in(wildcards, RECORDED)]


def token_summaries(part, runs):
    return [f"{TOKENS_FOLDER}/{part}.parquet".format(**vars(run)) for run in runs]


def cells_shown(wildcards):
    return cells(shown_in(wildcards, TRAINED))


def cells_recorded(wildcards):
    return cells(shown_in(wildcards, RECORDED))


def tasks_shown(wildcards):
    return {run.task: TASKS[run.task] for run in shown_in(wildcards, IN_REPORT)}


def methods_shown(wildcards):
    return {run.variant: run.method for run in shown_in(wildcards, IN_REPORT)}


# The paper's figures first: of each model over its tasks.
def figures_of_overview():
    return [
        *figures_of_models(),
        *figures_of_contrast(),
        *figures_of_tokens(),
        *figures_of_teachers(),
        *(f"results/figures/discovery/{task}/{model}.svg" for task, model in SEARCHED),
    ]


def tasks_with_records():
    return list(dict.fromkeys(run.task for run in RECORDED))


# The command that makes a file again, in place of {path}, with the config files that were given; none for draws that were
# not made here. Not with --config: the page would be made again whenever a value is only spelt otherwise.
def remake(wildcards):
    if RESULTS.source:
        return None
    files = [os.path.relpath(file) for file in workflow.config_settings.configfiles or ()]
    words = ["--configfile", *files] if files else []
    if (snakefile := os.path.relpath(workflow.main_snakefile)) not in ("workflow/Snakefile", "Snakefile"):
        words = ["--snakefile", snakefile, *words]
    profile = shlex.quote(shipped("profiles/local"))
    return " ".join([f"snakemake --profile {profile} --force {{path}}", *map(shlex.quote, words)])


def pages():
    found = {
        "Overview": ("index.html", "results/pages/overview.html"),
        "Results": ("results.html", "results/pages/results.html"),
    }
    for task in tasks_with_records():
        found[f"Tokens: {task}"] = (f"tokens/{task}.html", f"results/pages/tokens/{task}.html")
    for task in tasks_diagnosed():
        found[f"Teachers: {task}"] = (f"teachers/{task}.html", f"results/pages/teachers/{task}.html")
    if SEARCHED:
        found["Attempts"] = ("attempts.html", "results/pages/attempts.html")
    if RESULTS.data():
        found["Data"] = ("data.html", "results/data/report.html")
    if os.path.exists(DEPARTURES):
        found["Departures"] = ("departures.html", "results/pages/departures.html")
    return {title: {"place": place, "file": file} for title, (place, file) in found.items()}


# Tables of the draws alone, and all that have a page.
TABLES_OF_SCORES = ["main", "gains", "pooled", "problems", "flips", "plugin", "hints", "ablations", "power"]
# Task -> its grader and its second one; what belongs to these tasks alone is left out where there are none.
SECOND_GRADERS = {
    task: [about["grader"], about["second_grader"]]
    for task in TASKS
    if "second_grader" in (about := STUDY.config["tasks"][task])
}
OF_SECOND_GRADERS = ["within", "graders", "sdpo_audit"]
# Whether any run of the matrix has a critic, whose tables are left out otherwise.
CRITICIZED = any(map(STUDY.has_critic, RUNS))
OF_CRITICS = ["critiques", "critiques_audit"]
#: Teachers that are compared with students before any training.
DIAGNOSED = RESULTS.there(STUDY.diagnoses.cells(), lambda each: each.file)
#: Tasks of RLSD's own paper.
OF_PICTURES = [task for task in TASKS if STUDY.config["tasks"][task]["grader"] == "pictures"]
ABSENT = [*([] if SECOND_GRADERS else OF_SECOND_GRADERS), *([] if DIAGNOSED else ["diagnosis"]), "tokens"]
ABSENT += [] if OF_PICTURES else ["rlsd_audit", "groups"]
ABSENT += [] if PREFLIGHTS else ["preflight"]
ABSENT += [] if PICTURE_CONTROLS else ["pictures"]
ABSENT += [] if CRITICIZED else OF_CRITICS
ABSENT += [] if any(CODE_BENCHMARK in of["benchmarks"] for of in TASKS.values()) else ["sdpo_code"]
#: Task and model of each search at test time; none of draws that were not made here.
SEARCHED = OF_SEARCHES.models
ABSENT += [] if SEARCHED else ["discovery", "discovery_needed", "discovery_claims"]
# What is recorded rollout by rollout.
ABSENT += [] if RECORDED else ["signs", "certain"]
TABLES = [name for name in TEXTS if name not in ABSENT]


def table_csv(table):
    text = TEXTS[table]
    labels = {"table": text.title, "format": "CSV"}
    return report(f"results/tables/{table}.csv", category=text.category, caption="../report/table.rst", labels=labels)


def caption_of_table(wildcards):
    return TEXTS[wildcards.table].caption


def category_of_table(wildcards):
    return TEXTS[wildcards.table].category


def labels_of_table(wildcards):
    return {"table": TEXTS[wildcards.table].title, "format": "CSV"}


def labels_of_page(wildcards):
    return {"table": TEXTS[wildcards.table].title, "format": "HTML"}


def tables_of_site():
    names = ("tokens", "top_tokens", "rollout_signals") if RECORDED else ()
    tokens = [f"results/tables/{name}.csv" for name in names]
    made = [f"results/tables/{table}.{ending}" for table in TABLES for ending in ("csv", "html", "md", "tex")]
    diagnoses = [f"results/tables/diagnosis_{part}.csv" for part in ("classes", "tokens")] if DIAGNOSED else []
    return [*made, "results/tables/missing.csv", *tokens, *diagnoses]


def tasks_diagnosed():
    return list(dict.fromkeys(each.task for each in DIAGNOSED))


def cells_diagnosed(wildcards):
    return [vars(each) for each in DIAGNOSED if each.task == wildcards.task]


def files_diagnosed(wildcards):
    return [each.file for each in DIAGNOSED if each.task == wildcards.task]


def diagnosis_settings(wildcards):
    return STUDY.diagnoses.of(wildcards.task, wildcards.model, wildcards.teacher)


def diagnosed_teacher(wildcards):
    return STUDY.base_model_folder(wildcards.teacher, wildcards.task)
