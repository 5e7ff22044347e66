rule tables:
    input:
        draws(),
    output:
        main=report(
            "results/tables/main.csv",
            category="Tables",
            caption="../report/main.rst",
            labels={"table": "main results", "format": "CSV"},
        ),
        gains=report(
            "results/tables/gains.csv",
            category="Tables",
            caption="../report/gains.rst",
            labels={"table": "paired gains", "format": "CSV"},
        ),
        main_markdown="results/tables/main.md",
        gains_markdown="results/tables/gains.md",
    log:
        "results/logs/tables.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(RUNS),
        tasks=TASKS,
    script:
        "../scripts/tables.py"


rule costs:
    input:
        files_of_runs("metrics.jsonl", "provenance.json"),
        accounts(),
    output:
        csv=report(
            "results/tables/costs.csv",
            category="Costs",
            caption="../report/costs.rst",
            labels={"table": "time, GPU-hours, tokens, memory", "format": "CSV"},
        ),
        markdown="results/tables/costs.md",
    log:
        "results/logs/costs.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(RUNS),
        tasks=TASKS,
    script:
        "../scripts/costs.py"


rule dynamics:
    input:
        metrics_of_task,
    output:
        svg=report(
            "results/figures/{task}/dynamics.svg",
            category="Figures",
            caption="../report/dynamics.rst",
            labels={"task": "{task}", "figure": "training dynamics"},
        ),
        png="results/figures/{task}/dynamics.png",
    log:
        "results/logs/figures/{task}/dynamics.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells_of_task,
        task=settings_of_task,
    script:
        "../scripts/dynamics.py"


rule signals:
    input:
        metrics_of_task,
    output:
        svg=report(
            "results/figures/{task}/signals.svg",
            category="Figures",
            caption="../report/signals.rst",
            labels={"task": "{task}", "figure": "signals"},
        ),
        png="results/figures/{task}/signals.png",
    log:
        "results/logs/figures/{task}/signals.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells_of_task,
        task=settings_of_task,
    script:
        "../scripts/signals.py"


rule benchmarks:
    input:
        "results/tables/main.csv",
    output:
        svg=report(
            "results/figures/{task}/benchmarks.svg",
            category="Figures",
            caption="../report/benchmarks.rst",
            labels={"task": "{task}", "figure": "benchmarks"},
        ),
        png="results/figures/{task}/benchmarks.png",
    log:
        "results/logs/figures/{task}/benchmarks.log",
    conda:
        "../../envs/local.yaml"
    params:
        methods=methods_of_task,
    script:
        "../scripts/benchmarks.py"
