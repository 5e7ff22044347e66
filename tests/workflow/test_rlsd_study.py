"""config/rlsd.yaml: which runs there are, and every published value in every one of them (arXiv 2604.03128)."""

from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from selfdistill.study.matrix import BASE
from selfdistill.study.study import load_study

ROOT = Path(__file__).parents[2]
TASK, MODEL = "pictures", "qwen3_vl_8b_instruct"


@pytest.fixture(scope="module")
def study():
    config: dict = {}
    for name in ("defaults", "models", "methods", "tasks", "rlsd"):
        update_config(config, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    return load_study(config)


def at(settings, key):
    for part in key.split("."):
        settings = settings[part]
    return settings


#: What is the same in all runs.
COMMON = {
    "trainer": "verl",
    "steps": 200,
    "rollout.prompts_per_step": 256,
    "rollout.group_size": 8,
    "rollout.max_prompt_tokens": 4096,
    "rollout.max_response_tokens": 4096,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "rollout.top_k": 0,
    "rollout.importance_threshold": None,
    "chat.min_pixels": 262144,
    "chat.max_pixels": 1048576,
    "optimizer.learning_rate": 1e-6,
    "optimizer.weight_decay": 0.01,
    "optimizer.warmup_steps": 0,
    "optimizer.max_grad_norm": 1.0,
    "update.prompts_per_update": 256,  # one optimizer step a batch
    "update.kl_coef": 0.0,
}
GRPO = {
    "implementation": "grpo",
    "objective.epsilon_low": 0.2,
    "objective.epsilon_high": 0.28,
    "reward.deviation": "sample",
    "teacher.kind": "none",
}
ANSWER = {"hints.source": "gt_cot", "hints.mode": "answer_only"}
RLSD = {
    "implementation": "rlsd",
    "objective.epsilon_low": 0.2,
    "objective.epsilon_high": 0.28,
    "objective.epsilon_w": 0.2,
    "objective.lam": 0.5,
    "objective.form": "interpolated",
    "reward.deviation": "sample",
    "teacher.kind": "snapshot",
    "teacher.clock": "training_steps",
    **ANSWER,
}
SHEET = {
    "grpo-rlsd": GRPO,
    "grpo-rlsd-twice": GRPO | {"steps": 400},
    "opsd-rlsd": {"implementation": "opsd", "teacher.kind": "initial", "optimizer.max_grad_norm": 0.1, **ANSWER},
    "sdpo-rlsd": {
        "implementation": "sdpo_official",
        "objective.alpha": 0.5,
        "objective.grpo_share": 0.0,
        "teacher.kind": "ema",
        "hints.source": "self_rollout",
        "hints.feedback": "never",
    },
    "grpo_opsd-rlsd": {
        "implementation": "sdpo_official",
        "objective.alpha": 0.0,
        "objective.grpo_share": 0.5,
        "reward.deviation": "sample",
        "teacher.kind": "initial",
        "hints.template": "reference",
        "hints.feedback": "never",
        **ANSWER,
    },
    "rlsd-paper": RLSD
    | {
        "objective.lam_decay_steps": 50,
        "teacher.sync_interval": 10,
        "hints.template": "reference",
        "chat.template": None,
    },
    "rlsd-released": RLSD
    | {"objective.lam_decay_steps": 60, "teacher.sync_interval": 20, "rollout.max_prompt_tokens": 16384},
}


def test_the_matrix_holds_the_runs_that_it_should_and_each_once(study):
    found = [(run.task, run.model, run.variant, run.seed) for run in study.runs()]
    assert sorted(found) == sorted((TASK, MODEL, variant, 0) for variant in (BASE, *SHEET))


@pytest.mark.parametrize("variant", SHEET)
def test_every_run_has_the_values_of_the_sheet(study, variant):
    settings = study.resolve(TASK, MODEL, variant, 0)
    # A setting that came later is not there while it is at its default.
    defaults = yaml.safe_load((ROOT / "config/defaults.yaml").read_text())["defaults"]
    for key, value in (COMMON | SHEET[variant]).items():
        try:
            assert at(settings, key) == value, key
        except KeyError:
            assert at(defaults, key) == value, key


def test_a_run_asks_for_four_nodes_of_eight_gpus(study):
    assert {(m["nodes"], m["gpus"]) for m in (study.machine(TASK, MODEL, v) for v in SHEET)} == {(4, 8)}


def test_the_released_messages_ask_for_tags_and_show_the_bare_answer(study):
    settings = study.resolve(TASK, MODEL, "rlsd-released", 0)
    assert settings["chat"]["template"].count("{problem}") == 1
    assert "<answer>" in settings["chat"]["template"]
    teacher = (ROOT / settings["hints"]["template"]).read_text()
    assert teacher.startswith("{problem}\n")
    assert "{answer}" in teacher
    assert "{solution}" not in teacher


def test_five_benchmarks_make_the_mean_and_we_math_is_scored_by_groups(study):
    about = study.reporting()[TASK]
    assert about["metric"] == "mean@1"
    assert list(about["benchmarks"]) == ["mmmu", "mathvista", "mathvision", "zerobench", "wemath"]
    assert all(each.get("counted", True) for each in about["benchmarks"].values())
    assert about["benchmarks"]["wemath"]["groups"] == "strict"


def test_all_files_are_the_hubs_by_name(study):
    files = study.hub_files()["datasets"]
    assert {name.partition("@")[0]: len(of) for name, of in files.items()} == {
        "OpenDataArena/MMFineReason-SFT-123K-Qwen3-VL-235B-Thinking": 18,
        "MMMU/MMMU": 30,
        "AI4Math/MathVista": 1,
        "MathLLMs/MathVision": 1,
        "jonathan-roberts1/zerobench": 1,
        "We-Math/We-Math": 1,
    }


def test_the_whole_matrix_is_planned_without_data_models_or_network(furnished, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    jobs = furnished.planned("--configfile", "config/rlsd.yaml")
    assert sum(times for job, times in jobs.items() if job.startswith("train ")) == len(SHEET)
    assert {"rlsd_audit", "groups", "claims"} <= jobs.keys()
