# Shipped weights are known by their sha256, which is in the settings; a checkout may touch them at will.
rule base_model:
    input:
        ancient(base_model_source),
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
