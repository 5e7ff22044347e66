# What teachers said token by token. Of a run's records, the largest of its files, tables take a summary, made once.
rule token_summary:
    input:
        records_of_run,
    output:
        classes=f"{TOKENS_FOLDER}/classes.parquet",
        tokens=f"{TOKENS_FOLDER}/tokens.parquet",
    log:
        "results/logs/tokens/{task}/{model}/{variant}/seed{seed}.log",
    wildcard_constraints:
        variant=any_of(variant for variant in STUDY.variants if variant != BASE),
    conda:
        "../../envs/local.yaml"
    params:
        classes=lists_digest(),
    script:
        "../scripts/token_summary.py"


rule tokens:
    input:
        classes=token_summaries("classes", RECORDED),
        tokens=token_summaries("tokens", RECORDED),
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
    log:
        "results/logs/tokens.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["tokens"].caption,
        runs=cells(RECORDED),
    script:
        "../scripts/tokens.py"


rule token_figure:
    input:
        tokens="results/tables/tokens.csv",
        top="results/tables/top_tokens.csv",
    output:
        svg=report(
            "results/figures/{task}/tokens.svg",
            category="Figures",
            caption="../report/token_figure.rst",
            labels={"task": "{task}", "figure": "tokens with the largest signal"},
        ),
        png="results/figures/{task}/tokens.png",
    log:
        "results/logs/figures/{task}/tokens.log",
    conda:
        "../../envs/local.yaml"
    params:
        methods=methods_shown,
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
