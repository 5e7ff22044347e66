# Each as SVG and PNG: of one task over its models, and of one model over its tasks, as the paper has them.
rule dynamics:
    input:
        metrics_shown,
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
        runs=cells_shown,
        tasks=tasks_shown,
        version=STUDY.published,
    script:
        "../scripts/dynamics.py"


rule dynamics_of_model:
    input:
        metrics_shown,
    output:
        svg=report(
            "results/figures/dynamics/{model}.svg",
            category="Figures",
            caption="../report/dynamics.rst",
            labels={"model": "{model}", "figure": "training dynamics"},
        ),
        png="results/figures/dynamics/{model}.png",
    log:
        "results/logs/figures/dynamics/{model}.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells_shown,
        tasks=tasks_shown,
        version=STUDY.published,
    script:
        "../scripts/dynamics.py"


rule signals:
    input:
        metrics_shown,
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
        runs=cells_shown,
    script:
        "../scripts/signals.py"


rule contrast:
    input:
        metrics_shown,
    output:
        svg=report(
            "results/figures/{task}/contrast.svg",
            category="Figures",
            caption="../report/contrast.rst",
            labels={"task": "{task}", "figure": "effect of contrast"},
        ),
        png="results/figures/{task}/contrast.png",
    log:
        "results/logs/figures/{task}/contrast.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells_shown,
        version=STUDY.published,
    script:
        "../scripts/contrast.py"


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
        methods=methods_shown,
    script:
        "../scripts/benchmarks.py"


rule profiles:
    input:
        "results/tables/problems.csv",
    output:
        svg=report(
            "results/figures/{task}/profiles.svg",
            category="Figures",
            caption="../report/profiles.rst",
            labels={"task": "{task}", "figure": "performance profiles"},
        ),
        png="results/figures/{task}/profiles.png",
    log:
        "results/logs/figures/{task}/profiles.log",
    conda:
        "../../envs/local.yaml"
    params:
        methods=methods_shown,
    script:
        "../scripts/profiles.py"


rule benchmarks_of_model:
    input:
        "results/tables/main.csv",
    output:
        svg=report(
            "results/figures/benchmarks/{model}.svg",
            category="Figures",
            caption="../report/benchmarks.rst",
            labels={"model": "{model}", "figure": "benchmarks"},
        ),
        png="results/figures/benchmarks/{model}.png",
    log:
        "results/logs/figures/benchmarks/{model}.log",
    conda:
        "../../envs/local.yaml"
    params:
        methods=methods_shown,
    script:
        "../scripts/benchmarks.py"
