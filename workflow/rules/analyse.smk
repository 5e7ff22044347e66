# Tables, each as a CSV; what readers and papers want is made of that alone, by one rule.
rule scores:
    input:
        draws(),
    output:
        scores="results/scores.parquet",
        missing="results/tables/missing.csv",
    log:
        "results/logs/scores.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(IN_REPORT),
        missing=MISSING,
        tasks=TASKS,
    script:
        "../scripts/scores.py"


rule tables:
    input:
        "results/scores.parquet",
        published=[
            shipped(f"resources/published/{name}.csv")
            for name in ("main_results", "plugin_study", "ablations", "contrast")
        ],
    output:
        report(
            "results/tables/{table}.csv",
            category="Tables",
            caption="../report/table.rst",
            labels=labels_of_table,
        ),
    log:
        "results/logs/tables/{table}.log",
    wildcard_constraints:
        table=any_of(TABLES_OF_SCORES),
    conda:
        "../../envs/local.yaml"
    params:
        caption=caption_of_table,
        methods={run.variant: run.method for run in IN_REPORT},
        tasks=TASKS,
        version=STUDY.published,
    script:
        "../scripts/tables.py"


rule behaviour:
    input:
        files_of_runs("metrics"),
        main="results/tables/main.csv",
    output:
        table_csv("beside"),
    log:
        "results/logs/tables/beside.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["beside"].caption,
        runs=cells(IN_REPORT),
    script:
        "../scripts/behaviour.py"


rule windows:
    input:
        files_of_runs("metrics"),
    output:
        table_csv("windows"),
    log:
        "results/logs/tables/windows.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["windows"].caption,
        runs=cells(TRAINED),
        tasks=TASKS,
        version=STUDY.published,
    script:
        "../scripts/windows.py"


rule audit:
    input:
        [
            shipped(f"resources/published/{name}.csv")
            for name in ("main_results", "plugin_study", "ablations", "contrast", "benchmark_problems")
        ],
    output:
        table_csv("audit"),
    log:
        "results/logs/tables/audit.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["audit"].caption,
    script:
        "../scripts/audit.py"


rule drift:
    input:
        shipped("resources/published/main_results.csv"),
    output:
        table_csv("drift"),
    log:
        "results/logs/tables/drift.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["drift"].caption,
    script:
        "../scripts/drift.py"


rule costs:
    input:
        files_of_runs("metrics", "provenance"),
        accounts(),
    output:
        table_csv("costs"),
    log:
        "results/logs/tables/costs.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["costs"].caption,
        runs=cells(IN_REPORT),
    script:
        "../scripts/costs.py"


rule claims:
    input:
        metrics=files_of_runs("metrics"),
        scores="results/scores.parquet",
        tokens=["results/tables/tokens.csv"] if RECORDED else [],
        diagnosis=["results/tables/diagnosis.csv"] if DIAGNOSED else [],
    output:
        table_csv("claims"),
    log:
        "results/logs/tables/claims.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["claims"].caption,
        runs=cells(IN_REPORT),
        missing=MISSING,
        tasks=TASKS,
        graders={task: STUDY.config["tasks"][task]["grader"] for task in TASKS},
        steps=STUDY.planned_steps(),
        figures=[*figures(), *figures_of_contrast(), *figures_of_tokens(), *figures_of_teachers()],
    script:
        "../scripts/claims.py"


rule table_formats:
    input:
        csv="results/tables/{table}.csv",
        missing="results/tables/missing.csv",
    output:
        html=report(
            "results/tables/{table}.html",
            category=category_of_table,
            caption="../report/table.rst",
            labels=labels_of_page,
        ),
        markdown="results/tables/{table}.md",
        latex="results/tables/{table}.tex",
    log:
        "results/logs/tables/{table}_formats.log",
    wildcard_constraints:
        table=any_of(TABLES),
    conda:
        "../../envs/local.yaml"
    params:
        caption=caption_of_table,
        tasks=TASKS,
    script:
        "../scripts/table_formats.py"
