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


# From the hub, or a folder of the user's: known by repository and revision, or by its files, which are in the settings.
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
        model=base_model_settings,
    script:
        "../scripts/base_model.py"
