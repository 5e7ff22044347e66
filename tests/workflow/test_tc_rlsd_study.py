"""config/tc_rlsd.yaml: which runs there are, and every value against what is known of the note's set-up."""

import re

import pytest
from configurations import ROOT, flat, merged, shipped

from selfdistill.planning.requests import training_request
from selfdistill.reporting.read.published_critiques import CONTROL, published_critiques
from selfdistill.study.matrix import BASE
from selfdistill.study.study import load_study

FILE = ROOT / "config/tc_rlsd.yaml"
STUDENT, CRITIC = "llama3_2_3b_instruct", "qwen3_4b"
TASKS = {"gsm8k_level1": 70, "math_lighteval": 70}
#: Variant -> method, where its teacher's critiques come from, and what is written.
ROWS = {
    "grpo": ("grpo", "none", None),
    "rlsd-gold": ("rlsd", "none", None),
    "rlsd-self_critique": ("rlsd", "self", "critique"),
    "rlsd-critique": ("rlsd", "server", "critique"),
    "rlsd_add-critique": ("rlsd_add", "server", "critique"),
    "rlsd_hybrid-critique": ("rlsd_hybrid", "server", "critique"),
}
#: What the note prints.
PRINTED = {
    "trainer": "verl",
    "rollout.prompts_per_step": 1024,
    "rollout.group_size": 8,
    "rollout.max_prompt_tokens": 1024,
    "rollout.max_response_tokens": 3072,
    "optimizer.learning_rate": 1e-6,
    "update.prompts_per_update": 256,
    "update.micro_batch_tokens": 24000,
    "update.kl_coef": 0.0,
    "update.entropy_coef": 1e-3,
    "reward.deviation": "sample",
    "validation.temperature": 0.6,
    "validation.draws": 1,
}
#: What nobody says, and the configuration marks as open.
OPEN = {
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "rollout.top_k": 0,
    "optimizer.warmup_steps": 0,
}
OPEN_OF_CRITIC = {"max_tokens": 1024, "temperature": 0.0, "thinking": False}
SHARED_LAM = {"objective.lam": 0.5, "objective.lam_decay_steps": 50}
OBJECTIVES = {
    "rlsd": SHARED_LAM | {"objective.epsilon_w": 0.2},
    "rlsd_add": SHARED_LAM,
    "rlsd_hybrid": SHARED_LAM | {"objective.epsilon_w": 0.2, "objective.alpha": 0.7, "objective.beta": 0.3},
}


@pytest.fixture(scope="module")
def study():
    return load_study(merged(files=shipped("tc_rlsd")), shipped("tc_rlsd"))


def test_the_six_rows_are_run_on_both_sets_and_two_more_where_they_are_asked_for(study):
    runs = {(run.task, run.variant) for run in study.runs()}
    more = {("gsm8k_level1", "rlsd-critique_gold"), ("math_lighteval", "rlsd-critique-snapshot")}
    assert runs == {(task, variant) for task in TASKS for variant in (BASE, *ROWS)} | more
    assert {run.model for run in study.runs()} == {STUDENT}
    models = {study.config["models"][name]["hub"]["id"] for name in (STUDENT, CRITIC)}
    assert models == {"meta-llama/Llama-3.2-3B-Instruct", "Qwen/Qwen3-4B"}
    assert set(study.hub_files()["models"]) == {f"{name}@main" for name in models}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("variant", ROWS)
def test_every_run_has_the_values_of_the_sheet(study, task, variant):
    method, kind, mode = ROWS[variant]
    resolved = study.resolve(task, STUDENT, variant, 0)
    settings, critic = flat(resolved), resolved.get("critic", {})
    expected = PRINTED | OPEN | OBJECTIVES.get(method, {}) | {"implementation": method, "steps": TASKS[task]}
    # A setting that came later is not there while it is at its default.
    settings = flat(study.config["defaults"]) | settings
    assert {key: settings[key] for key in expected} == expected
    # A server that the job starts has GPUs of the same node.
    assert study.machine(task, STUDENT, variant) == {"nodes": 1, "gpus": 4}
    assert training_request(study, task, STUDENT, variant).gpus == 4 + (kind == "server")
    assert critic.get("kind", "none") == kind
    if method != "grpo":
        assert resolved["teacher"]["kind"] == "live"
    if kind != "none":
        assert (resolved["hints"]["source"], resolved["hints"]["template"]) == ("critique", "critique")
        defaults = study.config["defaults"]["critic"]
        assert {key: critic.get(key, defaults[key]) for key in ("mode", *OPEN_OF_CRITIC)} == {
            "mode": mode
        } | OPEN_OF_CRITIC
    if kind == "server":
        assert (critic["model"], critic["start"]) == (CRITIC, True)
        assert not critic.get("url")
    if variant == "rlsd-gold":
        assert resolved["hints"]["source"] == "gt_cot"


def test_the_other_teacher_and_the_critic_that_sees_the_solution_differ_in_that_alone(study):
    def of(task, variant):
        return flat(study.resolve(task, STUDENT, variant, 0))

    ours = of("math_lighteval", "rlsd-critique")
    other = of("math_lighteval", "rlsd-critique-snapshot")
    changed = {key for key in ours.keys() | other.keys() if ours.get(key) != other.get(key)} - {"variant"}
    assert changed == {"teacher.kind"}
    gold, plain = of("gsm8k_level1", "rlsd-critique_gold"), of("gsm8k_level1", "rlsd-critique")
    changed = {key for key in gold.keys() | plain.keys() if gold.get(key) != plain.get(key)} - {"variant"}
    assert changed == {"critic.mode"}


def test_ten_epochs_are_so_many_steps(study):
    problems = {"gsm8k_level1": 7473 + 564, "gsm8k_level1_as_published": 8388, "math_lighteval": 7500, "gsm8k": 7473}
    steps = {task: entry["steps"] for task, entry in study.config["overrides"]["tasks"].items()}
    assert steps == {task: count // 1024 * 10 for task, count in problems.items()}


@pytest.mark.parametrize("task", TASKS)
def test_evaluation_is_avg_at_32(study, task):
    found = study.evaluation(task)
    assert (study.config["tasks"][task]["metric"], found["draws"]) == ("mean@32", 32)
    how = {key: found["evaluation"][key] for key in ("temperature", "top_p", "top_k", "max_response_tokens")}
    assert how == {"temperature": 0.6, "top_p": 1.0, "top_k": 0, "max_response_tokens": 3072}


def test_what_nobody_says_is_marked_as_open():
    marked = set(re.findall(r"^ +(\w+): [^#{\n]*# open", FILE.read_text(), re.MULTILINE))
    assert marked == {key.rpartition(".")[2] for key in OPEN} | {*OPEN_OF_CRITIC, "gpus"}


def test_published_rows_are_runs_of_the_matrix(study):
    runs = {(run.task, run.variant) for run in study.runs()}
    rows = published_critiques()
    assert {(row.task, row.variant) for row in rows} <= runs
    assert {row.task for row in rows if row.variant == CONTROL} == set(TASKS)
    best = {row.variant: row.peak for row in rows if row.task == "math_lighteval"}
    assert best == {"grpo": 51.4, "rlsd-gold": 51.8, "rlsd-self_critique": 51.7, "rlsd-critique": 52.5}


def test_the_whole_matrix_is_planned_without_data_models_or_network(furnished, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    jobs = furnished.planned("--configfile", "config/tc_rlsd.yaml")
    assert sum(times for job, times in jobs.items() if job.startswith("train ")) == 2 * len(ROWS) + 2
    assert {"critiques", "critiques_audit", "claims"} <= jobs.keys()
    # Each critic is tried before its runs: four on either set, and the one that sees the solution.
    assert sum(times for job, times in jobs.items() if job.startswith("preflight ")) == 2 * 4 + 1
