# Before anything is trained: what a base model makes of each kind of context, beside the limits of its task.
rule preflight:
    input:
        train=train_file,
        base_model=base_model,
    output:
        table=report(
            PREFLIGHT_TABLE,
            category="Pre-flight",
            caption="../report/preflight.rst",
            labels={"task": "{task}", "model": "{model}"},
        ),
        verdict=PREFLIGHT_VERDICT,
    log:
        "results/logs/preflight/{task}/{model}.log",
    wildcard_constraints:
        task=any_of(WITH_PREFLIGHT),
    conda:
        "../../envs/local.yaml"
    threads: 1
    resources:
        gpus=evaluation("gpus"),
        gres=evaluation("gres"),
        cpus_per_task=evaluation("cpus"),
        mem_mb=evaluation("mem_mb"),
        runtime=evaluation("runtime_minutes"),
    params:
        settings=preflight_settings,
        limits=preflight_limits,
    script:
        "../scripts/preflight.py"
