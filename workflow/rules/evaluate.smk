# One job evaluates one run on all benchmarks of its task, and of those that it names beside them (`also`). Benchmarks are
# the outputs, so each task has a rule of its own.
for name in STUDY.config["tasks"]:

    rule:
        name:
            f"evaluate_{name}"
        input:
            model=evaluated_model,
            val=val_file,
            also=val_files_of_others,
        output:
            draws=[f"{DRAWS_FOLDER}/{benchmark}.parquet" for benchmark in STUDY.benchmarks(name)],
            account=f"{DRAWS_FOLDER}/{ACCOUNT}",
        log:
            "results/logs/evaluate/{task}/{model}/{variant}/seed{seed}.log",
        wildcard_constraints:
            task=re.escape(name),
        conda:
            evaluation_environment
        threads: 1
        resources:
            gpus=evaluation("gpus"),
            gres=evaluation("gres"),
            nodes=evaluation("nodes"),
            cpus_per_task=evaluation("cpus"),
            mem_mb=evaluation("mem_mb"),
            runtime=evaluation("runtime_minutes"),
        params:
            task=evaluation_settings,
            state=evaluation_state,
        script:
            "../scripts/evaluate.py"
