"""config/sdpo.yaml: which runs there are, and every published value in every one of them (arXiv 2601.20802)."""

from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from selfdistill.study.matrix import BASE
from selfdistill.study.study import load_study

ROOT = Path(__file__).parents[2]
DOMAINS = ["sciknoweval_biology", "sciknoweval_chemistry", "sciknoweval_material", "sciknoweval_physics", "tool_use"]
CODE = "livecodebench"


@pytest.fixture(scope="module")
def study():
    config: dict = {}
    for name in ("defaults", "models", "methods", "tasks", "sdpo"):
        update_config(config, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    return load_study(config)


def run(study, variant, task=DOMAINS[0], seed=0):
    return study.resolve(task, "qwen3_8b", variant, seed)


def at(settings, key):
    for part in key.split("."):
        settings = settings[part]
    return settings


def test_the_matrix_holds_the_runs_that_it_should_and_each_once(study):
    found = [(run.task, run.model, run.variant, run.seed) for run in study.runs()]
    assert len(found) == len(set(found))
    methods = (BASE, "grpo-sdpo", "grpo-sdpo-on_policy", "sdpo_official-siblings")
    models = ("qwen3_8b", "olmo3_7b_instruct")
    assert {cell[:3] for cell in found if cell[0] != CODE} == {
        (t, m, v) for t in DOMAINS for m in models for v in methods
    }
    code = {cell[2].removeprefix("sdpo_official-code").lstrip("-") for cell in found if cell[0] == CODE}
    assert code == {
        *(BASE, "grpo-sdpo-code", "", "no_feedback", "feedback_only", "live", "frozen"),
        *("trust_region", "token", "sequence", "grpo_share"),
    }
    assert {cell[3] for cell in found if cell[2] != BASE} == {0, 1, 2}


def test_every_variant_of_the_registry_is_held_to_the_sheet(study):
    """But those of searches at test time, which tests/study/test_discovery_settings.py holds."""
    named = {name for name in study.config["variants"] if name.startswith(("grpo-sdpo", "sdpo_official-"))}
    named = {name for name in named if not name.startswith("sdpo_official-test_time")}
    assert named == SHEET.keys()


def test_the_whole_matrix_is_planned_without_data_models_or_network(furnished, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    jobs = furnished.planned("--configfile", "config/sdpo.yaml")
    assert sum(times for job, times in jobs.items() if job.startswith("train ")) == 2 * 5 * 3 * 3 + 10 * 3
    assert {"within", "graders", "sdpo_audit", "sdpo_code", "preflight_table"} <= jobs.keys()
    # Contexts: of siblings in each domain and model; on code with feedback, without siblings, without feedback.
    assert sum(times for job, times in jobs.items() if job.startswith("preflight ")) == 5 * 2 + 3


#: What is the same in all runs.
COMMON = {
    "trainer": "verl",
    "chat.thinking": False,
    "rollout.prompts_per_step": 32,
    "rollout.group_size": 8,
    "rollout.max_prompt_tokens": 2048,
    "rollout.max_response_tokens": 8192,
    "rollout.temperature": 1.0,
    "rollout.top_p": 1.0,
    "rollout.top_k": 0,
    "rollout.old_logprobs": "recompute",
    "rollout.importance_threshold": 2.0,
    "reward.deviation": "none",
    "optimizer.weight_decay": 0.01,
    "optimizer.max_grad_norm": 1.0,
    "update.kl_coef": 0.0,
    "validation.every": 5,
    "validation.temperature": 0.6,
    "validation.top_p": 0.95,
    "validation.max_response_tokens": 8192,
}
GRPO = {
    "implementation": "grpo",
    "objective.epsilon_low": 0.2,
    "objective.epsilon_high": 0.28,
    "objective.dual_clip": 3.0,
    "update.aggregation": "rollouts",
    "teacher.kind": "none",
}
SDPO = {
    "implementation": "sdpo_official",
    "objective.tail": True,
    "objective.is_clip": 2.0,
    "objective.level": "logits",
    "objective.grpo_share": 0.0,
    "update.aggregation": "all_rollouts",
    "teacher.kind": "ema",
    "teacher.clock": "training_steps",
    "hints.source": "self_rollout",
    "hints.mode": "solution",
    "hints.template": "sections",
    "hints.max_tokens": 8192,  # with a prompt of 2,048 the context of 10,240
}


def sizes(prompts, rate, warmup):
    return {"update.prompts_per_update": prompts, "optimizer.learning_rate": rate, "optimizer.warmup_steps": warmup}


_OF_CODE = {"objective.alpha": 1.0, "objective.top_k": 20, **sizes(1, 1e-6, 0)}
EMA = {"teacher.ema_decay": 0.99}
#: Variant -> where it is run, and what it has beside COMMON.
SHEET = {
    "grpo-sdpo": (DOMAINS, GRPO | sizes(8, 1e-5, 10)),
    "grpo-sdpo-lr1e6": (DOMAINS, GRPO | sizes(8, 1e-6, 10)),
    "grpo-sdpo-on_policy": (DOMAINS, GRPO | sizes(32, 1e-5, 10)),
    "grpo-sdpo-on_policy-lr1e6": (DOMAINS, GRPO | sizes(32, 1e-6, 10)),
    "sdpo_official-siblings": (
        DOMAINS,
        SDPO
        | {"objective.alpha": 0.5, "objective.top_k": 100, "teacher.ema_decay": 0.95, "hints.feedback": "never"}
        | sizes(32, 1e-5, 10),
    ),
    "grpo-sdpo-code": ([CODE], GRPO | sizes(8, 1e-6, 0)),
    "sdpo_official-code": ([CODE], SDPO | _OF_CODE | EMA | {"hints.feedback": "only_without_solution"}),
    "sdpo_official-code-no_feedback": ([CODE], SDPO | _OF_CODE | EMA | {"hints.feedback": "never"}),
    "sdpo_official-code-feedback_only": (
        [CODE],
        SDPO | _OF_CODE | EMA | {"hints.source": "none", "hints.feedback": "always"},
    ),
    "sdpo_official-code-live": ([CODE], SDPO | _OF_CODE | {"teacher.kind": "live"}),
    "sdpo_official-code-frozen": ([CODE], SDPO | _OF_CODE | {"teacher.kind": "initial"}),
    "sdpo_official-code-token": ([CODE], SDPO | _OF_CODE | EMA | {"objective.level": "token"}),
    "sdpo_official-code-sequence": ([CODE], SDPO | _OF_CODE | EMA | {"objective.level": "sequence"}),
    "sdpo_official-code-trust_region": (
        [CODE],
        SDPO | _OF_CODE | {"teacher.kind": "trust_region", "teacher.student_share": 0.01},
    ),
    "sdpo_official-code-grpo_share": ([CODE], SDPO | _OF_CODE | EMA | {"objective.grpo_share": 0.9}),
}


@pytest.mark.parametrize("variant", SHEET)
def test_every_run_has_the_values_of_the_sheet(study, variant):
    tasks, values = SHEET[variant]
    for task in tasks:
        settings = run(study, variant, task)
        expected = COMMON | values | {"validation.draws": 4 if task == CODE else 16}
        # A setting that came later is not there while it is at its default.
        defaults = yaml.safe_load((ROOT / "config/defaults.yaml").read_text())["defaults"]
        for key, value in expected.items():
            try:
                assert at(settings, key) == value, (task, key)
            except KeyError:
                assert at(defaults, key) == value, (task, key)
        assert settings["prompt"] == "own"


@pytest.mark.parametrize("task", [*DOMAINS, CODE])
def test_evaluation_is_avg_at_16_on_code_at_4_with_both_graders(study, task):
    found, count = study.evaluation(task), 4 if task == CODE else 16
    assert (study.config["tasks"][task]["metric"], found["draws"]) == (f"mean@{count}", count)
    assert found["second_grader"] == f"{found['grader']}_as_published"
    assert {key: found["evaluation"][key] for key in ("temperature", "top_p", "top_k", "max_response_tokens")} == {
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 0,
        "max_response_tokens": 8192,
    }
    assert found["prompt"] == "own"
    assert not study.chat(task, "qwen3_8b", BASE)["thinking"]
