# What studies with critics ask for beside the tables of every study: made where a run of the matrix has a critic.


rule critiques:
    input:
        files_of_runs("metrics"),
        shipped("resources/published/tc_rlsd.csv"),
    output:
        table_csv("critiques"),
    log:
        "results/logs/tables/critiques.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["critiques"].caption,
        runs=cells(IN_REPORT),
    script:
        "../scripts/critiques.py"


rule critiques_audit:
    input:
        shipped("resources/published/tc_rlsd.csv"),
    output:
        table_csv("critiques_audit"),
    log:
        "results/logs/tables/critiques_audit.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["critiques_audit"].caption,
    script:
        "../scripts/critiques_audit.py"
