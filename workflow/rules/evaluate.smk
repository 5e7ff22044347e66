# One job evaluates one run on all benchmarks of its task. Benchmarks are the outputs, so each task has a rule of its own.
for name in STUDY.config["tasks"]:

    rule:
        name:
            f"evaluate_{name}"
        input:
            model=evaluated_model,
            val=val_file,
        output:
            [f"{DRAWS_FOLDER}/{benchmark}.parquet" for benchmark in STUDY.config["tasks"][name]["benchmarks"]],
        log:
            "results/logs/evaluate/{task}/{model}/{variant}/seed{seed}.log",
        wildcard_constraints:
            task=re.escape(name),
        conda:
            evaluation_environment
        threads: 1
        resources:
            gpus=evaluation_gpus,
        params:
            task=evaluation_settings,
        script:
            "../scripts/evaluate.py"
