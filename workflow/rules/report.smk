rule page:
    input:
        main="results/tables/main.csv",
        gains="results/tables/gains.csv",
        costs="results/tables/costs.csv",
        draws=draws(),
        origins=files_of_runs("config.yaml", "provenance.json"),
    output:
        report(
            "results/pages/results.html",
            category="Results",
            caption="../report/page.rst",
            labels={"page": "results and where they come from"},
        ),
    log:
        "results/logs/pages/results.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(RUNS),
        tasks=TASKS,
        demonstration=STUDY.generated_only,
    script:
        "../scripts/page.py"
