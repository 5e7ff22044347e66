# Before anything is trained: what a base model makes of the contexts that a task names (variant "base"), beside the limits
# of the task, or of those of a variant's first step.
rule preflight:
    input:
        train=train_file,
        base_model=base_model,
        critic=preflight_critic,
    output:
        PREFLIGHT_FILE,
    log:
        "results/logs/preflight/{task}/{model}/{variant}.log",
    wildcard_constraints:
        task=any_of(WITH_PREFLIGHT),
    conda:
        evaluation_environment
    threads: 1
    resources:
        gpus=preflight("gpus"),
        gres=preflight("gres"),
        cpus_per_task=preflight("cpus"),
        mem_mb=preflight("mem_mb"),
        runtime=preflight("runtime_minutes"),
    params:
        settings=preflight_settings,
        limits=preflight_limits,
    script:
        "../scripts/preflight.py"


rule preflight_table:
    input:
        [each.file for each in PREFLIGHTS],
    output:
        table_csv("preflight"),
    log:
        "results/logs/tables/preflight.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["preflight"].caption,
    script:
        "../scripts/preflight_table.py"
