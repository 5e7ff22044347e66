# A file of the user's is known by its sha256, which is in the recipe; its time of change says nothing.
rule data:
    input:
        ancient(data_source),
    output:
        "results/data/{dataset}/{split}.parquet",
    log:
        "results/logs/data/{dataset}/{split}.log",
    wildcard_constraints:
        dataset=any_of(dataset for dataset, _ in DATASETS),
        split="train|val",
    conda:
        "../../envs/local.yaml"
    params:
        recipe=data_recipe,
        grader=data_grader,
        own_prompts=data_own_prompts,
        missing=data_missing,
    script:
        "../scripts/data.py"


rule data_report:
    input:
        [each["path"] for each in RESULTS.data()],
    output:
        csv="results/data/report.csv",
        html=report(
            "results/data/report.html",
            category="Data",
            caption="../report/data.rst",
            labels={"table": "what is known of the data"},
        ),
    log:
        "results/logs/data/report.log",
    conda:
        "../../envs/local.yaml"
    params:
        files=[{**each, "path": placed(each["path"])} for each in RESULTS.data()],
        pairs=RESULTS.data_pairs(),
    script:
        "../scripts/data_report.py"


# Asks the hub, so it is no part of any other rule: snakemake lock --configfile <yours>, or make lock CONFIG=<yours>.
localrules:
    lock,


rule lock:
    log:
        "results/logs/lock.log",
    conda:
        "../../envs/local.yaml"
    params:
        files=STUDY.hub_files(),
    script:
        "../scripts/lock.py"
