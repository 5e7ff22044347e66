# What RLSD's own paper asks for beside the tables of every study: made where a task of the matrix is its own.


rule rlsd_audit:
    input:
        shipped("resources/published/rlsd_results.csv"),
    output:
        table_csv("rlsd_audit"),
    log:
        "results/logs/tables/rlsd_audit.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["rlsd_audit"].caption,
    script:
        "../scripts/rlsd_audit.py"


rule groups:
    input:
        draws(),
    output:
        table_csv("groups"),
    log:
        "results/logs/tables/groups.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["groups"].caption,
        runs=cells(IN_REPORT),
        tasks=TASKS,
    script:
        "../scripts/groups.py"
