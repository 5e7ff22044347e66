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


# Before any run: what the first step's contexts are worth. Variants with the same contexts share one.
rule teacher_gap:
    input:
        train=train_file,
        base_model=base_model,
    output:
        "results/gaps/{task}/{model}/{variant}.json",
    log:
        "results/logs/gaps/{task}/{model}/{variant}.log",
    wildcard_constraints:
        variant=any_of(name for name in STUDY.variants if name != BASE),
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
        run=run_of_gap,
        engine=evaluation_engine,
        prompts=STUDY.diagnoses.settings.prompts,
    script:
        "../scripts/teacher_gap.py"


rule gaps:
    input:
        gaps_of_teachers(),
    output:
        table_csv("gaps"),
    log:
        "results/logs/tables/gaps.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["gaps"].caption,
    script:
        "../scripts/gaps.py"
