# Whether base models look at their pictures, before anything is trained.


rule picture_controls:
    input:
        train=train_file,
        base_model=base_model,
    output:
        CONTROLS_FILE,
    log:
        "results/logs/controls/{task}/{model}/{variant}.log",
    wildcard_constraints:
        task=any_of(task for task, _ in PICTURE_CONTROLS),
        variant=BASE,
    conda:
        evaluation_environment
    threads: 1
    resources:
        gpus=evaluation("gpus"),
        gres=evaluation("gres"),
        cpus_per_task=evaluation("cpus"),
        mem_mb=evaluation("mem_mb"),
        runtime=evaluation("runtime_minutes"),
    params:
        settings=controls_of_pictures,
    script:
        "../scripts/picture_controls.py"


rule pictures:
    input:
        [CONTROLS_FILE.format(task=task, model=model, variant=BASE) for task, model in PICTURE_CONTROLS],
    output:
        table_csv("pictures"),
    log:
        "results/logs/tables/pictures.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["pictures"].caption,
    script:
        "../scripts/pictures.py"
