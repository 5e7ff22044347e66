# The settings decide whether a run is stale; they hold the digests of its data and base model. Checkpoints live undeclared
# in the state folder, where no failed job can delete them, and a run that is complete there is only published again.
# No ancient() on the inputs: Snakemake 9 then plans new data without the runs whose digest changed with them.
rule train:
    input:
        train=train_file,
        val=val_file,
        base_model=base_model,
        teacher=external_model("teacher"),
        reference=external_model("reference"),
        critic=external_model("critic"),
        preflight=preflights_awaited,
    output:
        **{name: f"{RUN_FOLDER}/{file}" for name, file in RUN_FILES.items()},
        model=directory(f"{RUN_FOLDER}/{MODEL}"),
    log:
        "results/logs/train/{task}/{model}/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant=any_of(name for name in STUDY.variants if name != BASE),
    conda:
        training_environment
    threads: 1
    resources:
        gpus=training("gpus"),  # of each node, as is the next
        gres=training("gres"),
        nodes=training("nodes"),
        cpus_per_task=training("cpus"),
        mem_mb=training("mem_mb"),
        runtime=training("runtime_minutes"),
    params:
        run=run_settings,
        refuses=refuses,
        state=state_folder,
    script:
        "../scripts/train.py"
