"""The paper's matrix: which runs there are, every published value in every one of them, and the jobs that make them."""

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

from selfdistill.study.data import HUB
from selfdistill.study.matrix import BASE, Run
from selfdistill.study.study import load_study
from selfdistill.study.verl_words import hydra_overrides

ROOT = Path(__file__).parents[2]
PAPER = yaml.safe_load((ROOT / "tests/data/paper_settings.yaml").read_text())
MODELS = ["qwen3_1_7b", "qwen3_4b", "qwen3_8b", "olmo3_7b_think"]
PUBLISHED = ["grpo", "opsd", "sdpo", "srpo", "rlsd", "rlcsd"]
HINT_SETTINGS = [
    *("opsd", "rlsd", "rlcsd-one_sided_solution"),
    *("opsd-own_rollout", "rlsd-own_rollout", "rlcsd-one_sided_own_rollout"),
    *("opsd_ectr", "rlsd_ectr", "rlcsd"),
]
ABLATIONS = ["rlcsd-one_wrong_hint", "rlcsd-self_hint", "rlcsd-no_anchor", "rlcsd-single_path"]
CONTROLS = ["rlcsd-lr5e6", "grpo-lr5e6"]
WITHOUT_TEACHER = [BASE, "grpo", "grpo-lr5e6"]


@pytest.fixture(scope="module")
def study():
    config: dict = {}
    for name in ("defaults", "models", "methods", "tasks", "paper"):
        update_config(config, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    return load_study(config)


def expected_cells() -> set[tuple[str, str, str]]:
    """The release's 52, and beside them what the tables, the studies and the controls ask for."""
    both, small = ("math", "logic"), "qwen3_4b"
    release = {(task, model, variant) for task in both for model in MODELS for variant in PUBLISHED}
    release |= {(task, small, variant) for task in both for variant in ("opsd_ectr", "rlsd_ectr")}
    assert len(release) == 52
    rows = {(task, model, variant) for task in both for model in MODELS for variant in (BASE, "rlcsd-gt_cot")}
    studies = {(task, small, variant) for task in both for variant in (*HINT_SETTINGS, *ABLATIONS)}
    controls = {("logic", model, variant) for model in MODELS for variant in CONTROLS}
    return release | rows | studies | controls


def test_the_matrix_holds_the_runs_that_it_should_and_each_once(study):
    found = [(run.task, run.model, run.variant, run.seed) for run in study.runs()]
    assert len(found) == len(set(found))
    assert set(found) == {(*cell, 0) for cell in expected_cells()}


def test_more_seeds_take_one_word(study):
    config = dict(study.config)
    update_config(config, {"matrix": {"seeds": "[0, 1, 2]"}})  # as --config hands it over
    assert len(load_study(config).runs()) == 3 * len(study.runs())


# ------------------------------------------------------------------------------------- published values, one by one


@dataclass
class Resolved:
    """A run as it will be: its settings, the words that verl gets, and the machine."""

    run: Run
    settings: dict[str, Any]
    words: dict[str, str]
    machine: dict[str, int]
    entry: dict[str, Any]
    hub: dict[str, str]
    train: str
    val: str
    metric: str

    def __getitem__(self, key: str) -> Any:
        """A setting by its dotted key."""
        node: Any = self.settings
        for part in key.split("."):
            node = node[part]
        return node

    def word(self, key: str) -> str:
        return self.words[key].strip("'")


@pytest.fixture(scope="module")
def resolved(study) -> list[Resolved]:
    paths = dict.fromkeys(("train_file", "val_file", "model", "state"), "x")
    found = []
    for run in study.runs():
        if run.variant == BASE:
            continue
        settings = study.resolve(run.task, run.model, run.variant, run.seed)
        machine = study.machine(run.task, run.model, run.variant)
        words = hydra_overrides(settings, **paths, **machine, attention="flash_attention_2")
        found.append(
            Resolved(
                run=run,
                settings=settings,
                words=dict(word.lstrip("+").split("=", 1) for word in words),
                machine=machine,
                entry=study.config["models"][run.model],
                hub=study.config["tasks"][run.task]["data"][HUB],
                train=study.dataset(run.task, "train", run.model),
                val=study.dataset(run.task, "val"),
                metric=study.config["tasks"][run.task]["metric"],
            )
        )
    return found


Read = Callable[[Resolved], Any]
ACTOR, REF, ROLLOUT = (f"actor_rollout_ref.{part}" for part in ("actor", "ref", "rollout"))


def setting(key: str) -> Read:
    return lambda run: run[key]


def boolean(word: str) -> Read:
    return lambda run: {"true": True, "false": False}[run.word(word)]


def teacher(run: Resolved) -> str:
    return {"initial": "fixed"}.get(run["teacher.kind"], run["teacher.kind"])


def hint(run: Resolved) -> str:
    if run["hints.source"] == "gt_cot":
        assert run["hints.mode"] == "solution_answer"
    return run["hints.source"]


def worker(run: Resolved, at: str, offloaded: tuple[str, ...]) -> str:
    """How a worker is run, in the words of the published figure."""
    said = [run.word(f"{at}.fsdp_config.model_dtype"), run.word(f"{at}.strategy").upper()]
    return ", ".join(said) + "".join(
        f", {name} offload" for name in offloaded if run.words[f"{at}.fsdp_config.{name}_offload"] == "true"
    )


def actor(run: Resolved) -> str:
    model = "actor_rollout_ref.model"
    assert run.words[f"{model}.enable_gradient_checkpointing"] == run.words[f"{model}.use_remove_padding"] == "true"
    assert run.words[f"{ACTOR}.use_dynamic_bsz"] == "true"
    assert f"{ACTOR}.entropy_coeff" not in run.words  # verl's own default is 0
    return worker(run, ACTOR, ("param", "optimizer"))


#: Published figure of all runs -> where ours is.
COMMON: dict[str, Read] = {
    "optimizer.learning_rate": setting("optimizer.learning_rate"),
    "optimizer.weight_decay": setting("optimizer.weight_decay"),
    "optimizer.warmup_steps": setting("optimizer.warmup_steps"),
    "num_epochs": setting("steps"),
    "group_size": setting("rollout.group_size"),
    "prompts_per_step": setting("rollout.prompts_per_step"),
    "ppo_mini_batch_size": setting("update.prompts_per_update"),
    "max_train_samples": lambda run: run.words.get("data.train_max_samples"),
    "shuffle": boolean("data.shuffle"),
    "save_every": setting("checkpoint.every"),
    "eval_every": setting("validation.every"),
    "eval_before_train": boolean("trainer.val_before_train"),
    "max_prompt_length": setting("rollout.max_prompt_tokens"),
    "max_response_length": setting("rollout.max_response_tokens"),
    "val_max_response_length": setting("validation.max_response_tokens"),
    "sampling.temperature": setting("rollout.temperature"),
    "sampling.top_p": setting("rollout.top_p"),
    "sampling.top_k": setting("rollout.top_k"),
    "val_sampling.temperature": setting("validation.temperature"),
    "val_sampling.top_p": setting("validation.top_p"),
    "val_sampling.top_k": setting("validation.top_k"),
    "val_sampling.do_sample": boolean(f"{ROLLOUT}.val_kwargs.do_sample"),
    "thinking": boolean("data.apply_chat_template_kwargs.enable_thinking"),
    "rollout_importance_sampling.level": lambda run: "token" if run["rollout.old_logprobs"] == "recompute" else "off",
    "rollout_importance_sampling.threshold": setting("rollout.importance_threshold"),
    "reference_policy": lambda run: f"{worker(run, REF, ())}, param offload",  # verl always does: it has no gradient
    "actor": actor,
    "vllm.gpu_memory_utilization": setting("verl.rollout_memory"),
    "vllm.tensor_parallel_size": setting("verl.rollout_tensor_parallel"),
    "gpus_per_node": lambda run: run.machine["gpus"],
    "nodes": lambda run: run.machine["nodes"],
    "kl.loss_type": lambda run: "low_var_kl",  # k3 is the only estimator that there is
    "kl.use_kl_loss": boolean(f"{ACTOR}.use_kl_loss"),
}
BY_MODEL: dict[str, Read] = {"hub_id": lambda run: run.entry[HUB]["id"], "math_train": lambda run: run.train}
BY_TASK: dict[str, Read] = {
    "train": lambda run: run.train,
    "val": lambda run: run.val,
    "val_n": setting("validation.draws"),
    "metric": lambda run: run.metric,
}
BY_METHOD: dict[str, Read] = {
    "kl_loss_coef": setting("update.kl_coef"),
    "max_grad_norm": setting("optimizer.max_grad_norm"),
    "epsilon": lambda run: run.settings["objective"].get("epsilon", run.settings["objective"].get("epsilon_high")),
    "add_tail": setting("objective.tail"),
    "srpo_beta": setting("objective.entropy_beta"),
    "residual_clip": lambda run: [run["objective.residual_clip_low"], run["objective.residual_clip_high"]],
    "k_max": setting("hints.k_max"),
    "teacher": teacher,
    "teacher_sync_interval": setting("teacher.sync_interval"),
    "ema_decay": setting("teacher.ema_decay"),
    "hint": hint,
    **{
        name: setting(f"objective.{name}")
        for name in (
            *("beta", "token_clip", "top_k", "alpha", "is_clip", "epsilon_w", "lam", "lam_decay_steps"),
            *("tau", "delta", "eta", "ectr_alpha", "log_w_floor", "cw_tau"),
        )
    },
}
#: How the published figures call what we call otherwise.
HINTS = {
    "dataset solution + answer": ("gt_cot",),
    "sibling rollouts": ("self_rollout",),
    "sibling rollouts (self_rollout) or dataset solution (gt_cot)": ("self_rollout", "gt_cot"),
}


def flat(node: dict, prefix: str = "") -> dict[str, Any]:
    found = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def published(run: Resolved) -> dict[str, tuple[Any, Any]]:
    """Figure -> (published, ours), for one run: those of its method, which a variant changes by name."""
    found = {key: (value, COMMON[key](run)) for key, value in flat(PAPER["common"]).items()}
    model, task = PAPER["models"][run.run.model], PAPER["tasks"][run.run.task]
    found["hub_id"] = model["hub_id"], BY_MODEL["hub_id"](run)
    found |= {key: (value, BY_TASK[key](run)) for key, value in task.items()}
    if run.run.task == "math":
        found["train"] = model["math_train"], BY_MODEL["math_train"](run)
    found |= {key: (value, BY_METHOD[key](run)) for key, value in PAPER["methods"][run.run.method].items()}
    found["hub_dataset"] = PAPER["data"]["hub_dataset"], run.hub["id"]
    tokens = PAPER["actor_max_token_len_per_gpu"]
    place = f"{run.run.task}/{run.run.model}/{run.run.method}"
    tokens_here = tokens.get(run.run.method, tokens.get(place, 40960))
    found["actor_max_token_len_per_gpu"] = tokens_here, run["update.micro_batch_tokens"]
    if "hint" in found:
        said, ours = found["hint"]
        found["hint"] = (ours, ours) if ours in HINTS[said] else (said, ours)
    return found


def everywhere(run: Run) -> bool:
    return True


#: Figure -> (what we have, for which runs, beginning of the row of docs/departures.md that says why).
DEPARTURES: list[tuple[str, Any, Callable[[Run], bool], str]] = [
    ("num_epochs", 480, lambda run: run.task == "math", "**D35**"),
    ("num_epochs", 250, lambda run: run.task == "logic", "**D35**"),
    ("max_train_samples", None, everywhere, "Rows of the training set"),
    ("reference_policy", "fp32, FSDP2, param offload", everywhere, "**D5**"),
    ("actor", "fp32, FSDP2", everywhere, "**D5**"),
    (
        "kl.use_kl_loss",
        False,
        lambda run: run.method in ("sdpo", "srpo", "rlsd", "rlcsd"),
        "Forward pass of the initial model",
    ),
    ("actor_max_token_len_per_gpu", 40960, lambda run: run.method in ("grpo", "sdpo", "srpo"), "**D21**"),
    # Named variants.
    ("optimizer.learning_rate", 5e-6, lambda run: run.variant in CONTROLS, "**D11**"),
    (
        "hint",
        "self_rollout",
        lambda run: run.variant in ("opsd-own_rollout", "rlsd-own_rollout"),
        "**D35**",
    ),
    ("k_max", 1, lambda run: run.variant == "rlcsd-one_wrong_hint", "**D35**"),
]


def test_every_published_value_is_in_every_run_or_a_departure_of_the_list(resolved):
    assert len(resolved) == 84
    used = set()
    for run in resolved:
        for key, (theirs, ours) in published(run).items():
            if ours == theirs:
                continue
            matching = [i for i, row in enumerate(DEPARTURES) if row[0] == key and row[1] == ours and row[2](run.run)]
            assert matching, f"{run.run}: {key} is {ours!r}, published {theirs!r}"
            used.update(matching)
    assert used == set(range(len(DEPARTURES))), "a departure that no run makes"


def test_every_departure_has_its_row():
    rows = re.findall(r"^\| (.+?) \|", (ROOT / "docs/departures.md").read_text(), re.MULTILINE)
    for _, _, _, beginning in DEPARTURES:
        assert any(row.startswith(beginning) for row in rows), beginning


def test_the_named_variants_are_what_the_paper_says(resolved):
    for name, said in PAPER["variants"].items():
        runs = [run for run in resolved if run.run.variant == name]
        for run in runs:
            for key, value in flat(said).items():
                task, _, inner = key.rpartition(".")
                assert task in ("", run.run.task)
                assert run[{"learning_rate": "optimizer.learning_rate", "hint_source": "hints.source"}[inner]] == value
        assert len(runs) == {"rlcsd-gt_cot": 8}.get(name, 4)


def test_no_figure_is_left_out():
    """Every published figure of a run is read by one of the tables above."""
    assert set(flat(PAPER["common"])) == set(COMMON)
    assert {key for entry in PAPER["models"].values() for key in entry} == set(BY_MODEL)
    assert {key for entry in PAPER["tasks"].values() for key in entry} == set(BY_TASK)
    assert {key for entry in PAPER["methods"].values() for key in entry} == set(BY_METHOD)


def test_all_runs_but_the_controls_share_one_learning_rate(resolved):
    """What the published tables did not (docs/departures.md D11)."""
    rates = {run["optimizer.learning_rate"] for run in resolved if run.run.variant not in CONTROLS}
    assert rates == {1e-6}


# ------------------------------------------------------------------------------------------------------------- the plan


#: Rules that report, by what they have a job for.
OF_TASKS = ("dynamics", "signals", "benchmarks", "contrast", "token_figure", "token_view")
OF_MODELS = ("dynamics_of_model", "benchmarks_of_model")
OF_ALL = ("scores", "behaviour", "audit", "drift", "windows", "claims", "costs", "profiles", "tokens", "data_report")
OF_ALL += ("page", "overview", "site", "all")


def test_the_whole_matrix_is_planned_without_data_models_or_network(furnished, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    jobs = furnished.planned("--configfile", "config/paper.yaml")
    cells = expected_cells()
    evaluated = Counter(task for task, _, _ in cells)
    trained = sum(variant != BASE for _, _, variant in cells)
    taught = sum(variant not in WITHOUT_TEACHER for _, _, variant in cells)
    counts = Counter()
    for job, times in jobs.items():
        counts[job.split()[0]] += times
    assert counts == {
        "pretrained_model": len(MODELS),
        "data": 3 + 1 + 2,  # training sets of math by model, of logic; and the benchmarks of both
        "train": trained,
        "evaluate_math": evaluated["math"],
        "evaluate_logic": evaluated["logic"],
        "token_summary": taught,
        **dict.fromkeys(OF_TASKS, 2),
        **dict.fromkeys(OF_MODELS, len(MODELS)),
        **dict.fromkeys(OF_ALL, 1),
        "tables": 9,
        "table_formats": 17,
    }
    assert trained == 84
    assert jobs["data deepmath_filtered_level7_10/train"] == 1  # two models share it


def test_the_matrix_of_the_cpu_is_planned_on_its_own(furnished):
    jobs = furnished.planned("--configfile", "config/verl_cpu.yaml")
    trained = ("grpo-verl", "rlcsd-verl")
    assert {job for job in jobs if job.startswith("train")} == {f"train arithmetic/{variant}" for variant in trained}
    assert {job for job in jobs if job.startswith("evaluate")} == {
        f"evaluate_arithmetic arithmetic/{variant}" for variant in ("base", *trained)
    }
    assert "gpus=8" not in furnished.dry_run("--configfile", "config/verl_cpu.yaml").stdout


def test_gpus_and_nodes_are_asked_for(furnished):
    shown = furnished.dry_run("--configfile", "config/paper.yaml").stdout
    training = re.findall(r"^rule train:.*?^    resources: ([^\n]*)", shown, re.MULTILINE | re.DOTALL)
    assert len(training) == 84
    assert all("gpus=8" in each and "nodes=1" in each for each in training)
    evaluating = re.findall(r"^rule evaluate_\w+:.*?^    resources: ([^\n]*)", shown, re.MULTILINE | re.DOTALL)
    assert all("gpus=1" in each for each in evaluating)
    shown = furnished.dry_run().stdout
    assert "gpus=0" in shown
    assert not re.search(r"gpus=[1-9]", shown)


NO_CONDA = """#!/bin/sh
case "$*" in
  "info --json") echo '{"conda_version": "25.1.0", "conda_prefix": "/nowhere", "platform": "linux-64"}' ;;
  *channel_priority*) echo '{"get": {"channel_priority": "strict"}}' ;;
  *) echo "conda 25.1.0" ;;
esac
"""


@pytest.mark.parametrize(
    ("name", "environments"),
    [("demo", {"local"}), ("paper", {"local", "verl_gpu"}), ("verl_cpu", {"local", "verl_cpu"})],
)
def test_each_trainer_runs_in_its_own_environment(furnished, tmp_path, monkeypatch, name, environments):
    """As Snakemake plans it, by a conda that only says that it is there."""
    (tmp_path / "conda").write_text(NO_CONDA)
    (tmp_path / "conda").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = furnished.dry_run("--sdm", "conda", "--configfile", f"config/{name}.yaml")
    assert done.returncode == 0, done.stdout
    assert set(re.findall(r"envs/(\w+)\.yaml will be created", done.stdout)) == environments
    assert all((ROOT / f"envs/{environment}.yaml").exists() for environment in environments)
