# What the rules of searches at test time ask of the checked configuration.


# Of the section `discovery`, all that decides a job; parts are jobs that share the questions.
def discovery_base(wildcards):
    return STUDY.discoveries.of_base(wildcards.task, wildcards.model)


def discovery_search(wildcards):
    return STUDY.discoveries.of(wildcards.task, wildcards.model, wildcards.search, int(wildcards.seed))


def discovery_state(settings):
    def folder(wildcards):
        return placed(state_of(STUDY.discoveries.state(settings(wildcards), wildcards.part)))

    return folder


def discovery_draws(wildcards):
    return STUDY.discoveries.base_draws(wildcards.task, wildcards.model)


def discovery(what):
    def asked(wildcards, attempt):
        search = dict(wildcards.items()).get("search", "")
        return getattr(discovery_request(STUDY, wildcards.task, wildcards.model, attempt, search), what)

    return asked


def discovery_environment(wildcards):
    of_search, discoveries = dict(wildcards.items()).get("search", ""), STUDY.discoveries
    if discoveries.through_verl(wildcards.task, wildcards.model, of_search):
        device = discovery_base(wildcards)["run"]["verl"]["device"]
        return f"../../envs/verl_{'gpu' if device == 'cuda' else 'cpu'}.yaml"
    return f"../../envs/{'verl_gpu' if discoveries.settings.engine == 'vllm' else 'local'}.yaml"


def discovery_questions(wildcards):
    return {**STUDY.discoveries.of_questions(), "run": discovery_base(wildcards)["run"]}


def files_of_searches(wildcards):
    discoveries = STUDY.discoveries
    found = [each.file for each in OF_SEARCHES.cells]
    for task, model in SEARCHED:
        found += [QUESTIONS_FILE.format(task=task, model=model), *discoveries.base_draws(task, model)]
    return found


# What reads all searches: of each task and model its jobs, the file of questions, and the untrained model's draws.
def searches(wildcards):
    discoveries = STUDY.discoveries
    return [
        {
            "cells": [
                {**vars(each), "file": placed(each.file)}
                for each in OF_SEARCHES.cells
                if (each.task, each.model) == (task, model)
            ],
            "questions": placed(QUESTIONS_FILE.format(task=task, model=model)),
            "draws": [placed(file) for file in discoveries.base_draws(task, model)],
            "selection": discoveries.selection,
            "budget": discoveries.settings.budget,
        }
        for task, model in SEARCHED
    ]
