# Pages, each a file that stands alone, and the site that joins them.
rule page:
    input:
        main="results/tables/main.csv",
        gains="results/tables/gains.csv",
        costs="results/tables/costs.csv",
        draws=draws(),
        origins=files_of_runs("config", "provenance"),
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
        runs=cells(IN_REPORT),
        demonstration=STUDY.generated_only,
        remake=remake,
    script:
        "../scripts/page.py"


# The report's menu is sorted by category, and this page should come first.
rule overview:
    input:
        files_of_runs("provenance"),
        claims="results/tables/claims.csv",
        main="results/tables/main.csv",
        audit="results/tables/audit.csv",
        costs="results/tables/costs.csv",
        data=["results/data/report.csv"] if RESULTS.data() else [],
        figures=figures_of_overview(),
    output:
        report(
            "results/pages/overview.html",
            category="At a glance",
            caption="../report/overview.rst",
            labels={"page": "overview"},
        ),
    log:
        "results/logs/pages/overview.log",
    conda:
        "../../envs/local.yaml"
    params:
        runs=cells(IN_REPORT),
        missing=MISSING,
        tasks=TASKS,
        demonstration=STUDY.generated_only,
    script:
        "../scripts/overview.py"


rule departures:
    input:
        DEPARTURES,
    output:
        report(
            "results/pages/departures.html",
            category="Results",
            caption="../report/departures.rst",
            labels={"page": "departures from the paper"},
        ),
    log:
        "results/logs/pages/departures.log",
    conda:
        "../../envs/local.yaml"
    script:
        "../scripts/departures.py"


rule site:
    input:
        pages=[page["file"] for page in pages().values()],
        figures=list(dict.fromkeys([*figures_of_overview(), *figures()])),
        tables=tables_of_site(),
    output:
        directory("results/site"),
    log:
        "results/logs/site.log",
    conda:
        "../../envs/local.yaml"
    params:
        pages={title: {**page, "file": placed(page["file"])} for title, page in pages().items()},
    script:
        "../scripts/static_site.py"
