rule tables:
    input:
        draws(),
        published=shipped("resources/published/main_results.csv"),
    output:
        main=report(
            "results/tables/main.csv",
            category="Tables",
            caption="../report/main.rst",
            labels={"table": "main results", "format": "CSV"},
        ),
        main_html=report(
            "results/tables/main.html",
            category="Tables",
            caption="../report/main.rst",
            labels={"table": "main results", "format": "HTML"},
        ),
        main_markdown="results/tables/main.md",
        main_latex="results/tables/main.tex",
        gains=report(
            "results/tables/gains.csv",
            category="Tables",
            caption="../report/gains.rst",
            labels={"table": "paired gains", "format": "CSV"},
        ),
        gains_html=report(
            "results/tables/gains.html",
            category="Tables",
            caption="../report/gains.rst",
            labels={"table": "paired gains", "format": "HTML"},
        ),
        gains_markdown="results/tables/gains.md",
        gains_latex="results/tables/gains.tex",
        missing="results/tables/missing.csv",
    log:
        "results/logs/tables.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(REPORTED),
        missing=MISSING,
        tasks=TASKS,
    script:
        "../scripts/tables.py"


rule studies:
    input:
        draws(),
        published=[shipped(f"resources/published/{name}.csv") for name in ("plugin_study", "ablations")],
    output:
        plugin=report(
            "results/tables/plugin.csv",
            category="Tables",
            caption="../report/plugin.rst",
            labels={"table": "contrast as a plug-in", "format": "CSV"},
        ),
        plugin_html=report(
            "results/tables/plugin.html",
            category="Tables",
            caption="../report/plugin.rst",
            labels={"table": "contrast as a plug-in", "format": "HTML"},
        ),
        plugin_markdown="results/tables/plugin.md",
        plugin_latex="results/tables/plugin.tex",
        hints=report(
            "results/tables/hints.csv",
            category="Tables",
            caption="../report/hints.rst",
            labels={"table": "hint settings", "format": "CSV"},
        ),
        hints_html=report(
            "results/tables/hints.html",
            category="Tables",
            caption="../report/hints.rst",
            labels={"table": "hint settings", "format": "HTML"},
        ),
        hints_markdown="results/tables/hints.md",
        hints_latex="results/tables/hints.tex",
        ablations=report(
            "results/tables/ablations.csv",
            category="Tables",
            caption="../report/ablations.rst",
            labels={"table": "variants against their methods", "format": "CSV"},
        ),
        ablations_html=report(
            "results/tables/ablations.html",
            category="Tables",
            caption="../report/ablations.rst",
            labels={"table": "variants against their methods", "format": "HTML"},
        ),
        ablations_markdown="results/tables/ablations.md",
        ablations_latex="results/tables/ablations.tex",
    log:
        "results/logs/studies.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(REPORTED),
        missing=MISSING,
        tasks=TASKS,
    script:
        "../scripts/studies.py"


rule beside:
    input:
        files_of_runs("metrics"),
        main="results/tables/main.csv",
    output:
        csv=report(
            "results/tables/beside.csv",
            category="Tables",
            caption="../report/beside.rst",
            labels={"table": "length, truncation, entropy beside accuracy", "format": "CSV"},
        ),
        html=report(
            "results/tables/beside.html",
            category="Tables",
            caption="../report/beside.rst",
            labels={"table": "length, truncation, entropy beside accuracy", "format": "HTML"},
        ),
        markdown="results/tables/beside.md",
        latex="results/tables/beside.tex",
    log:
        "results/logs/beside.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(REPORTED),
        missing=MISSING,
        tasks=TASKS,
    script:
        "../scripts/beside.py"


rule power:
    input:
        draws(),
    output:
        csv=report(
            "results/tables/power.csv",
            category="Tables",
            caption="../report/power.rst",
            labels={"table": "what these seeds and draws can see", "format": "CSV"},
        ),
        html=report(
            "results/tables/power.html",
            category="Tables",
            caption="../report/power.rst",
            labels={"table": "what these seeds and draws can see", "format": "HTML"},
        ),
        markdown="results/tables/power.md",
        latex="results/tables/power.tex",
    log:
        "results/logs/power.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(REPORTED),
        tasks=TASKS,
    script:
        "../scripts/power.py"


rule audit:
    input:
        [shipped(f"resources/published/{name}.csv") for name in ("main_results", "plugin_study", "benchmark_problems")],
    output:
        csv=report(
            "results/tables/audit.csv",
            category="Tables",
            caption="../report/audit.rst",
            labels={"table": "audit of the published tables", "format": "CSV"},
        ),
        html=report(
            "results/tables/audit.html",
            category="Tables",
            caption="../report/audit.rst",
            labels={"table": "audit of the published tables", "format": "HTML"},
        ),
        markdown="results/tables/audit.md",
        latex="results/tables/audit.tex",
    log:
        "results/logs/audit.log",
    conda:
        "../../envs/local.yaml"
    script:
        "../scripts/audit.py"


rule costs:
    input:
        files_of_runs("metrics", "provenance"),
        accounts(),
    output:
        csv=report(
            "results/tables/costs.csv",
            category="Costs",
            caption="../report/costs.rst",
            labels={"table": "time, GPU-hours, tokens, memory", "format": "CSV"},
        ),
        html=report(
            "results/tables/costs.html",
            category="Costs",
            caption="../report/costs.rst",
            labels={"table": "time, GPU-hours, tokens, memory", "format": "HTML"},
        ),
        markdown="results/tables/costs.md",
        latex="results/tables/costs.tex",
    log:
        "results/logs/costs.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(REPORTED),
    script:
        "../scripts/costs.py"


rule claims:
    input:
        draws=draws(),
        metrics=files_of_runs("metrics"),
        tokens=["results/tables/tokens.csv"] if RECORDED else [],
    output:
        csv=report(
            "results/tables/claims.csv",
            category="Claims",
            caption="../report/claims.rst",
            labels={"table": "verdicts on the paper's claims", "format": "CSV"},
        ),
        markdown="results/tables/claims.md",
    log:
        "results/logs/claims.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(REPORTED),
        missing=MISSING,
        tasks=TASKS,
        graders={task: STUDY.config["tasks"][task]["grader"] for task in TASKS},
        figures=[*figures(), *figures_of_contrast(), *figures_of_tokens()],
    script:
        "../scripts/claims.py"
