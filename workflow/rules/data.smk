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
    script:
        "../scripts/data.py"
