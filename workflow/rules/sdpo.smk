# What SDPO's own paper asks for beside the tables of every study: made where a task of the matrix has a second grader.


rule within:
    input:
        files_of_runs("metrics"),
        shipped("resources/published/sdpo_results.csv"),
    output:
        table_csv("within"),
    log:
        "results/logs/tables/within.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["within"].caption,
        runs=cells(IN_REPORT),
    script:
        "../scripts/within.py"


rule graders:
    input:
        draws(),
    output:
        table_csv("graders"),
    log:
        "results/logs/tables/graders.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["graders"].caption,
        runs=cells(IN_REPORT),
        graders=SECOND_GRADERS,
    script:
        "../scripts/graders.py"


rule sdpo_audit:
    input:
        shipped("resources/published/sdpo_results.csv"),
        shipped("resources/published/sdpo_code.csv"),
    output:
        table_csv("sdpo_audit"),
    log:
        "results/logs/tables/sdpo_audit.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["sdpo_audit"].caption,
    script:
        "../scripts/sdpo_audit.py"


rule sdpo_code:
    input:
        files_of_runs("metrics"),
        shipped("resources/published/sdpo_code.csv"),
    output:
        table_csv("sdpo_code"),
    log:
        "results/logs/tables/sdpo_code.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["sdpo_code"].caption,
        runs=cells(IN_REPORT),
    script:
        "../scripts/sdpo_code.py"
