rule base_model:
    input:
        base_model_source,
    output:
        directory("results/models/{model}/{task}"),
    log:
        "results/logs/base_model/{model}/{task}.log",
    conda:
        "../../envs/local.yaml"
    params:
        model=base_model_settings,
    script:
        "../scripts/base_model.py"
