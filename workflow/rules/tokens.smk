# What teachers said token by token. Of a run's records, the largest of its files, tables take a summary, made once.
rule token_summary:
    input:
        records_of_run,
    output:
        classes=f"{TOKENS_FOLDER}/classes.parquet",
        tokens=f"{TOKENS_FOLDER}/tokens.parquet",
        rollouts=f"{TOKENS_FOLDER}/rollouts.parquet",
    log:
        "results/logs/tokens/{task}/{model}/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant=any_of(variant for variant in STUDY.variants if variant != BASE),
    conda:
        "../../envs/local.yaml"
    params:
        classes=lists_digest(STUDY.token_classes),
        partition=STUDY.token_classes,
    script:
        "../scripts/token_summary.py"


rule tokens:
    input:
        classes=token_summaries("classes", RECORDED),
        tokens=token_summaries("tokens", RECORDED),
        rollouts=token_summaries("rollouts", RECORDED),
    output:
        tokens=report(
            "results/tables/tokens.csv",
            category="Tables",
            caption="../report/table.rst",
            labels={"table": "signal by class of token", "format": "CSV"},
        ),
        top=report(
            "results/tables/top_tokens.csv",
            category="Tables",
            caption="../report/table.rst",
            labels={"table": "tokens with the largest signal", "format": "CSV"},
        ),
        signals=report(
            "results/tables/rollout_signals.csv",
            category="Tables",
            caption="../report/table.rst",
            labels={"table": "signal by rollout and class of token", "format": "CSV"},
        ),
        signs=table_csv("signs"),
        certain=table_csv("certain"),
    log:
        "results/logs/tokens.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["tokens"].caption,
        runs=cells(RECORDED),
        partition=STUDY.token_classes,
    script:
        "../scripts/tokens.py"


rule token_figure:
    input:
        tokens="results/tables/tokens.csv",
        top="results/tables/top_tokens.csv",
        signals="results/tables/rollout_signals.csv",
    output:
        svg=report(
            "results/figures/{task}/tokens.svg",
            category="Figures",
            caption="../report/token_figure.rst",
            labels={"task": "{task}", "figure": "tokens with the largest signal"},
        ),
        png="results/figures/{task}/tokens.png",
        means_svg=report(
            "results/figures/{task}/token_means.svg",
            category="Figures",
            caption="../report/token_means.rst",
            labels={"task": "{task}", "figure": "signal of rollouts by class of token"},
        ),
        means_png="results/figures/{task}/token_means.png",
    log:
        "results/logs/figures/{task}/tokens.log",
    conda:
        "../../envs/local.yaml"
    params:
        methods=methods_shown,
        published=lambda wildcards: STUDY.token_classes == "paper" and wildcards.task == "math",
    script:
        "../scripts/token_figure.py"


rule token_view:
    input:
        records_shown,
    output:
        report(
            "results/pages/tokens/{task}.html",
            category="Tokens",
            caption="../report/token_view.rst",
            labels={"task": "{task}", "page": "token view"},
        ),
    log:
        "results/logs/pages/tokens/{task}.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells_recorded,
    script:
        "../scripts/token_view.py"


# How far teachers are from the untrained student, on its own rollouts; nothing is trained.
rule diagnosis:
    input:
        train=train_file,
        student=base_model,
        teacher=diagnosed_teacher,
    output:
        "results/diagnosis/{task}/{model}/{teacher}.parquet",
    log:
        "results/logs/diagnosis/{task}/{model}/{teacher}.log",
    wildcard_constraints:
        teacher=any_of(STUDY.config["models"]),
    conda:
        "../../envs/local.yaml"
    threads: 1
    resources:
        gpus=diagnosis("gpus"),
        gres=diagnosis("gres"),
        cpus_per_task=diagnosis("cpus"),
        mem_mb=diagnosis("mem_mb"),
        runtime=diagnosis("runtime_minutes"),
    params:
        diagnosis=diagnosis_settings,
        batch_tokens=STUDY.diagnoses.settings.batch_tokens,
    script:
        "../scripts/diagnosis.py"


rule diagnosis_tables:
    input:
        [each.file for each in DIAGNOSED],
    output:
        table=table_csv("diagnosis"),
        classes="results/tables/diagnosis_classes.csv",
        tokens="results/tables/diagnosis_tokens.csv",
    log:
        "results/logs/tables/diagnosis.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["diagnosis"].caption,
        cells=[vars(each) for each in DIAGNOSED],
        least_count=STUDY.diagnoses.settings.least_count,
        classes=[lists_digest(name) for name in PARTITIONS],
    script:
        "../scripts/diagnosis_tables.py"


rule teachers_figure:
    input:
        "results/tables/diagnosis_tokens.csv",
    output:
        svg=report(
            "results/figures/{task}/teachers.svg",
            category="Figures",
            caption="../report/teachers_figure.rst",
            labels={"task": "{task}", "figure": "teachers before any training"},
        ),
        png="results/figures/{task}/teachers.png",
    log:
        "results/logs/figures/{task}/teachers.log",
    conda:
        "../../envs/local.yaml"
    script:
        "../scripts/teachers_figure.py"


rule teachers_view:
    input:
        files_diagnosed,
    output:
        report(
            "results/pages/teachers/{task}.html",
            category="Tokens",
            caption="../report/teachers_view.rst",
            labels={"task": "{task}", "page": "teachers before any training"},
        ),
    log:
        "results/logs/pages/teachers/{task}.log",
    conda:
        "../../envs/local.yaml"
    params:
        cells=cells_diagnosed,
    script:
        "../scripts/teachers_view.py"
