"""The matrix of the paper's second version: which runs there are, and every value that arXiv 2606.11709v2 states."""

import math
from collections import Counter
from pathlib import Path

import pytest
import yaml
from configurations import flat
from snakemake.utils import update_config

from selfdistill.study.matrix import BASE
from selfdistill.study.study import Study, config_hash, load_study

ROOT = Path(__file__).parents[2]
TASKS, SMALL, LARGE = ("math", "logic"), "qwen3_4b", "qwen3_8b"
#: Training set of mathematics by model: DeepMath's levels.
LEVELS = {"qwen3_1_7b": "5_7", "qwen3_4b": "6_8", "qwen3_8b": "7_10", "olmo3_7b_think": "7_10"}

#: Setting -> value, of all runs.
EVERYWHERE = {
    "optimizer.learning_rate": 1e-6,
    "optimizer.weight_decay": 0.01,
    "optimizer.warmup_steps": 50,
    "rollout.group_size": 8,
    "rollout.prompts_per_step": 64,
    "update.prompts_per_update": 16,
    "rollout.old_logprobs": "recompute",
    "rollout.importance_threshold": 2.0,
    "rollout.temperature": 1.0,
    "rollout.top_p": 0.95,
    "rollout.top_k": 20,
    "rollout.max_prompt_tokens": 2048,
    "rollout.max_response_tokens": 16384,
    "validation.temperature": 0.6,
    "validation.top_p": 0.95,
    "validation.top_k": 20,
    "validation.max_response_tokens": 38912,
    "chat.thinking": True,
    "trainer": "verl",
}
#: Task -> setting -> value, of all runs.
OF_TASK = {
    "math": {"validation.draws": 12, "benchmarks": ["amc23", "aime24", "aime25"]},
    "logic": {"validation.draws": 1, "benchmarks": ["kk_4to8_test", "kk_9", "kk_10", "kk_11"]},
}
SOLUTION = {"hints.source": "gt_cot", "hints.mode": "solution_answer"}
POPULATION = {"reward.deviation": "population"}
SUPPORT = {"objective.top_k": 100, "objective.tail": True}
MOVING = {
    "teacher.kind": "ema",
    "teacher.ema_decay": 0.95,
    "objective.alpha": 0.5,
    "objective.is_clip": 2.0,
    **SUPPORT,
    **SOLUTION,
    "update.kl_coef": 0.0,
}
SNAPSHOT = {
    "teacher.kind": "snapshot",
    "teacher.sync_interval": 10,
    "objective.epsilon_w": 0.2,
    "objective.lam": 0.5,
    "objective.lam_decay_steps": 50,
    "update.kl_coef": 0.0,
    **SOLUTION,
    **POPULATION,
}
OPSD = {
    "teacher.kind": "initial",
    "objective.beta": 0.0,
    "objective.token_clip": 0.05,
    "update.kl_coef": 0.0,
    **SUPPORT,
    **SOLUTION,
}
RLCSD = {
    "teacher.kind": "initial",
    "hints.k_max": 4,
    "hints.allow_self": False,
    "objective.tau": 1.3,
    "objective.lam": 0.5,
    "objective.delta": 0.02,
    "objective.eta": 0.5,
    "objective.beta": 1.0,  # there is none
    "objective.epsilon": 0.2,
    "objective.zero_advantage": "shifts",
    "objective.one_sided": False,
    "objective.anchor": True,
    "objective.single_path": False,
    "update.aggregation": "rollouts",
    "update.kl_coef": 0.0,
    **SOLUTION,
    **POPULATION,
}
#: Variant -> setting -> value.
OF_VARIANT = {
    "grpo-v2": {"update.kl_coef": 0.001, "teacher.kind": "none", **POPULATION},
    "opsd": OPSD,
    "sdpo": MOVING,
    "srpo-v2": MOVING | POPULATION,
    "rlsd-v2": SNAPSHOT,
    "rlcsd-v2": RLCSD,
    "opsd_ectr-v2": OPSD
    | {
        "objective.ectr_alpha": 0.5,
        "objective.log_w_floor": None,
        "objective.cw_from": "wrong",
        "objective.cw_tau": 1.0,
        "update.aggregation": "sums",
        "hints.k_max": 1,
    },
    "rlsd_ectr-v2": SNAPSHOT | {"hints.k_max": 1},
    "rlcsd-v2-one_sided": RLCSD | {"objective.one_sided": True},
    "rlcsd-v2-one_wrong_hint": RLCSD | {"hints.k_max": 1},
    "rlcsd-v2-self_hint": RLCSD | {"hints.allow_self": True},
    "rlcsd-v2-no_anchor": RLCSD | {"objective.anchor": False},
    "rlcsd-v2-single_path": RLCSD | {"objective.single_path": True},
    "rlcsd-v2-two_wrong_hints": RLCSD | {"hints.k_max": 2},
    "rlcsd-v2-tau0.65": RLCSD | {"objective.tau": 0.65},
    "rlcsd-v2-tau2.6": RLCSD | {"objective.tau": 2.6},
    "rlcsd-v2-lam0.25": RLCSD | {"objective.lam": 0.25},
    "rlcsd-v2-lam1": RLCSD | {"objective.lam": 1.0},
    "rlcsd-v2-delta0.01": RLCSD | {"objective.delta": 0.01},
    "rlcsd-v2-delta0.04": RLCSD | {"objective.delta": 0.04},
    "rlcsd-v2-eta0.25": RLCSD | {"objective.eta": 0.25},
    "rlcsd-v2-eta1": RLCSD | {"objective.eta": 1.0},
}
MAIN = ("grpo-v2", "opsd", "sdpo", "srpo-v2", "rlsd-v2", "rlcsd-v2")
STUDIES = tuple(list(OF_VARIANT)[6:13])
SENSITIVITY = ("rlcsd-v2-one_wrong_hint", *list(OF_VARIANT)[13:])


def read(name: str) -> Study:
    config: dict = {}
    for file in ("defaults", "models", "methods", "tasks", name):
        update_config(config, yaml.safe_load((ROOT / f"config/{file}.yaml").read_text()))
    return load_study(config)


@pytest.fixture(scope="module")
def study() -> Study:
    return read("paper_v2")


def test_the_matrix_holds_what_the_second_version_runs_and_each_once(study):
    cells = {(task, model, variant) for task in TASKS for model in LEVELS for variant in (BASE, *MAIN)}
    cells |= {(task, SMALL, variant) for task in TASKS for variant in STUDIES}
    cells |= {("math", LARGE, variant) for variant in SENSITIVITY}
    assert (len(STUDIES), len(SENSITIVITY)) == (7, 10)
    found = Counter((run.task, run.model, run.variant) for run in study.runs())
    assert found == Counter(cells)
    assert sum(variant != BASE for _, _, variant in cells) == 72


def test_every_value_that_the_paper_states_is_in_every_run(study):
    defaults = {"reward.deviation": "sample", "objective.zero_advantage": "stays", "objective.cw_from": "correct"}
    for run in study.runs():
        if run.variant == BASE:
            continue
        found = defaults | flat(study.resolve(run.task, run.model, run.variant, 0))
        found["benchmarks"] = list(study.benchmarks(run.task))
        for key, value in {**EVERYWHERE, **OF_TASK[run.task], **OF_VARIANT[run.variant]}.items():
            assert found[key] == value, (run, key)
        train = f"deepmath_filtered_level{LEVELS[run.model]}" if run.task == "math" else "kk_4to8"
        assert study.dataset(run.task, "train", run.model) == train
        assert study.machine(run.task, run.model, run.variant) == {"nodes": 1, "gpus": 8}
    evaluation = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "max_response_tokens": 38912}
    for task, draws in (("math", 12), ("logic", 1)):
        settings = study.evaluation(task)
        assert settings["draws"] == draws
        assert evaluation.items() <= settings["evaluation"].items()


def test_residuals_are_unclipped_and_selection_begins_where_the_paper_says(study):
    """|e| > tau atanh(delta / lam) = 0.052 nats; |r| is at most lam, the clip lies beyond."""
    loss = study.resolve("math", SMALL, "rlcsd-v2", 0)["objective"]
    assert -loss["residual_clip_low"] > loss["lam"] < loss["residual_clip_high"]
    assert loss["tau"] * math.atanh(loss["delta"] / loss["lam"]) == pytest.approx(0.052, abs=5e-4)


def test_runs_that_are_the_same_in_both_versions_are_trained_once(study):
    first = read("paper")
    for variant in ("opsd", "sdpo"):
        for task in TASKS:
            cell = (task, SMALL, variant, 0)
            assert config_hash(first.resolve(*cell)) == config_hash(study.resolve(*cell))
    shared = {run.variant for run in first.runs()} & {run.variant for run in study.runs()}
    assert shared == {BASE, "opsd", "sdpo"}


def test_the_whole_matrix_is_planned_without_data_models_or_network(furnished, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    jobs = furnished.planned("--configfile", "config/paper_v2.yaml")
    assert sum(times for job, times in jobs.items() if job.startswith("train ")) == 72
    assert jobs["train math/rlcsd-v2-tau0.65"] == 1
    assert jobs["train math/rlcsd-v2-one_wrong_hint"] == 2  # of the ablations, and of the sensitivity
    assert {job for job in jobs if job.startswith("contrast")} == {"contrast math", "contrast logic"}
