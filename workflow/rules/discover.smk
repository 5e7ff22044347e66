# Searches at test time (docs/discovery.md): the untrained model's draws, the questions that they choose, and attempts.


rule discovery_draws:
    input:
        train=train_file,
        val=val_file,
        base_model=base_model,
    output:
        BASE_DRAWS_FILE,
    log:
        "results/logs/discovery/{task}/{model}/base/part{part}.log",
    wildcard_constraints:
        part="[0-9]+",
    conda:
        discovery_environment
    threads: 1
    resources:
        gpus=discovery("gpus"),
        gres=discovery("gres"),
        cpus_per_task=discovery("cpus"),
        mem_mb=discovery("mem_mb"),
        runtime=discovery("runtime_minutes"),
    params:
        settings=discovery_base,
        state=discovery_state(discovery_base),
    script:
        "../scripts/discover.py"


# One file for all sets: which questions a search has is known when these are, and no rule waits for a name that it holds.
rule discovery_questions:
    input:
        train=train_file,
        val=val_file,
        draws=discovery_draws,
    output:
        QUESTIONS_FILE,
    log:
        "results/logs/discovery/{task}/{model}/questions.log",
    conda:
        "../../envs/local.yaml"
    params:
        settings=discovery_questions,
    script:
        "../scripts/discovery_questions.py"


rule discover:
    input:
        train=train_file,
        val=val_file,
        base_model=base_model,
        questions=QUESTIONS_FILE,
    output:
        ATTEMPTS_FILE,
    log:
        "results/logs/discovery/{task}/{model}/{search}/seed{seed}/part{part}.log",
    wildcard_constraints:
        search=any_of(SEARCHES),
        part="[0-9]+",
    conda:
        discovery_environment
    threads: 1
    resources:
        gpus=discovery("gpus"),
        gres=discovery("gres"),
        cpus_per_task=discovery("cpus"),
        mem_mb=discovery("mem_mb"),
        runtime=discovery("runtime_minutes"),
    params:
        settings=discovery_search,
        state=discovery_state(discovery_search),
    script:
        "../scripts/discover.py"


rule discovery_tables:
    input:
        files_of_searches,
    output:
        discovery=table_csv("discovery"),
        needed=table_csv("discovery_needed"),
        claims=table_csv("discovery_claims"),
    log:
        "results/logs/tables/discovery.log",
    conda:
        "../../envs/local.yaml"
    params:
        caption=TEXTS["discovery"].caption,
        searches=searches,
    script:
        "../scripts/discovery_tables.py"


rule discovery_figure:
    input:
        "results/tables/discovery.csv",
    output:
        svg=report(
            "results/figures/discovery/{task}/{model}.svg",
            category="Searches",
            caption="../report/discovery.rst",
            labels={"task": "{task}", "model": "{model}", "figure": "discovery@k"},
        ),
        png="results/figures/discovery/{task}/{model}.png",
    log:
        "results/logs/figures/discovery/{task}/{model}.log",
    conda:
        "../../envs/local.yaml"
    script:
        "../scripts/discovery_figure.py"


rule attempts_page:
    input:
        files_of_searches,
    output:
        report(
            "results/pages/attempts.html",
            category="Searches",
            caption="../report/attempts.rst",
            labels={"page": "attempts at single questions"},
        ),
    log:
        "results/logs/pages/attempts.log",
    conda:
        "../../envs/local.yaml"
    params:
        searches=searches,
    script:
        "../scripts/attempts_page.py"
