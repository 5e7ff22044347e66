# Shipped weights are known by their sha256, which is in the settings; a checkout may touch them at will.
rule base_model:
    input:
        ancient(base_model_source),
    output:
        directory("results/models/{model}/{task}"),
    log:
        "results/logs/base_model/{model}/{task}.log",
    wildcard_constraints:
        model=any_of(FOR_ONE_TASK),
    conda:
        "../../envs/local.yaml"
    params:
        model=base_model_settings,
    script:
        "../scripts/base_model.py"


# From the hub, known by repository and revision; a folder of the user's, by its files; a Python package, by its sha256. All
# of these are in the settings.
rule pretrained_model:
    output:
        directory("results/models/{model}"),
    log:
        "results/logs/base_model/{model}.log",
    wildcard_constraints:
        model=any_of(FOR_ALL_TASKS),
    conda:
        "../../envs/local.yaml"
    params:
        model=pretrained_model_settings,
    script:
        "../scripts/pretrained_model.py"


# The same, where each task has a model of its own that is made from it.
use rule pretrained_model as model_to_warm_start with:
    output:
        directory("results/pretrained/{model}"),
    log:
        "results/logs/pretrained/{model}.log",
    wildcard_constraints:
        model=any_of(WARM_STARTED),


rule warm_started_model:
    input:
        "results/pretrained/{model}",
    output:
        directory("results/models/{model}/{task}"),
    log:
        "results/logs/base_model/{model}/{task}.log",
    wildcard_constraints:
        model=any_of(WARM_STARTED),
    conda:
        "../../envs/local.yaml"
    threads: 1
    resources:
        mem_mb=warm_start("mem_mb"),
        runtime=warm_start("runtime_minutes"),
    params:
        model=base_model_settings,
    script:
        "../scripts/warm_started_model.py"


# The same, where a task's model is what a run of this configuration has trained: as it is, or warmed up further.
rule trained_model:
    input:
        trained_model,
    output:
        directory("results/models/{model}/{task}"),
    log:
        "results/logs/base_model/{model}/{task}.log",
    wildcard_constraints:
        model=any_of(model for model in OF_RUNS if model not in OF_RUNS_WARM_STARTED),
    conda:
        "../../envs/local.yaml"
    params:
        model=base_model_settings,
    script:
        "../scripts/trained_model.py"


use rule warm_started_model as trained_model_to_warm_start with:
    input:
        trained_model,
    wildcard_constraints:
        model=any_of(OF_RUNS_WARM_STARTED),
