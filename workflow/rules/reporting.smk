# What figures, pages and the site ask of the checked configuration: which of them there are, and what they show.

import os
import shlex
from pathlib import Path

from selfdistill.reporting.tokens.classes import lists_digest
from selfdistill.study.hint_settings import has_contrast
from selfdistill.study.rule_dependencies import dependencies

# A copy of the workflow without its documents has no page of departures.
DEPARTURES = shipped("docs/departures.md")
TOKENS_FOLDER = "results/tokens/{task}/{model}/{variant}/seed{seed}"


def run_config(run):
    return STUDY.resolve(run.task, run.model, run.variant, run.seed)


#: Runs in which a teacher was recorded.
RECORDED = [run for run in TAUGHT if TAKEN.files(run).records and (TAKEN.source or run_config(run)["records"]["every"])]


# Of a task those figures that have something to show.
def figures():
    shown = {"benchmarks": REPORTED, "dynamics": TRAINED, "signals": TAUGHT}
    found = [(task, name) for task in TASKS for name, runs in shown.items() if any(run.task == task for run in runs)]
    return [f"results/figures/{task}/{name}.svg" for task, name in found]


def figures_of_models():
    def files(figure, runs):
        return [f"results/figures/{figure}/{model}.svg" for model in dict.fromkeys(run.model for run in runs)]

    return [*files("benchmarks", REPORTED), *files("dynamics", TRAINED)]


def figures_of_contrast():
    tasks = [task for task in TASKS if has_contrast([run for run in TRAINED if run.task == task])]
    return [f"results/figures/{task}/contrast.svg" for task in tasks]


def figures_of_tokens():
    return [f"results/figures/{task}/tokens.svg" for task in tasks_with_records()]


# Of the wildcard that a figure has, task or model, what it shows.
def shown_in(wildcards, runs):
    return [run for run in runs if all(getattr(run, axis) == name for axis, name in wildcards.items())]


def metrics_shown(wildcards):
    return [TAKEN.files(run).metrics for run in shown_in(wildcards, TRAINED)]


def records_of_run(wildcards):
    run = Run(*wildcards_of_run(wildcards), STUDY.variants[wildcards.variant])
    return TAKEN.files(run).records or f"{run.folder}/{RUN_FILES['records']}"


def records_shown(wildcards):
    return [TAKEN.files(run).records for run in shown_in(wildcards, RECORDED)]


def token_summaries(part, runs):
    return [f"{TOKENS_FOLDER}/{part}.parquet".format(**vars(run)) for run in runs]


def rollouts_shown(wildcards):
    return token_summaries("rollouts", shown_in(wildcards, RECORDED))


def cells_shown(wildcards):
    return cells(shown_in(wildcards, TRAINED))


def cells_recorded(wildcards):
    return cells(shown_in(wildcards, RECORDED))


def tasks_shown(wildcards):
    return {run.task: TASKS[run.task] for run in shown_in(wildcards, REPORTED)}


def methods_shown(wildcards):
    return {run.variant: run.method for run in shown_in(wildcards, REPORTED)}


# The paper's figures first: of each model over its tasks.
def figures_of_overview():
    return [*figures_of_models(), *figures_of_contrast(), *figures_of_tokens()]


def stages_of_workflow(wildcards):
    stages, made = {}, rules_of_workflow(wildcards)
    for each in workflow.rules:
        if each.name in made and each.name != "all":
            stages.setdefault(Path(str(each.snakefile)).stem, []).append(each.name)
    return stages


def rules_of_workflow(wildcards):
    return dependencies(workflow.rules, map(placed, final_outputs()))


def tasks_with_records():
    return list(dict.fromkeys(run.task for run in RECORDED))


# The command that makes a file again, in place of {path}, with the config files that were given; none for draws that were
# not made here. Not with --config: the page would be made again whenever a value is only spelt otherwise.
def remake(wildcards):
    if TAKEN.source:
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
    if TAKEN.data():
        found["Data"] = ("data.html", "results/data/report.html")
    if os.path.exists(DEPARTURES):
        found["Departures"] = ("departures.html", "results/pages/departures.html")
    return {title: {"place": place, "file": file} for title, (place, file) in found.items()}


def tables_of_site():
    made = [rules.tables, rules.studies, rules.beside, rules.power, rules.audit, rules.costs, rules.claims]
    made += [rules.tokens] if RECORDED else []
    return [file for each in made for file in each.output]
