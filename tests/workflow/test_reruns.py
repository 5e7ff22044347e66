"""What a change makes stale: dry runs in a finished workshop."""

from collections import Counter
from functools import reduce
from operator import or_
from pathlib import Path

import yaml

DEMO = yaml.safe_load((Path(__file__).parents[2] / "config/demo.yaml").read_text())["matrix"]
TRAINED = [variant for variant in DEMO["variants"] if variant != "base"]
ALL = Counter({"all": 1})
#: What follows from any draws: everything that compares.
TABLES = [f"tables {name}" for name in ("main", "gains", "plugin", "hints", "ablations", "power")]
FORMATS = [f"table_formats {name.split()[-1]}" for name in (*TABLES, "beside", "audit", "drift", "costs", "claims")]
TABLES_ON = Counter(["scores", *TABLES, *FORMATS, "behaviour", "claims", "costs", "page", "overview", "site"])
TABLES_ON += Counter(["benchmarks arithmetic", "benchmarks knights", "benchmarks_of_model"])
#: What follows from the metrics of one task, and from the records of one.
CURVES = ("dynamics {}", "signals {}", "contrast {}", "dynamics_of_model")
TOKENS = ("token_view {}", "tokens", "token_figure arithmetic", "token_figure knights")
RUN = "results/runs/{}/tiny_qwen3/{}/seed0"
DRAWS = "results/draws/{}/tiny_qwen3/{}/seed0"


def curves_of(task: str) -> Counter:
    return Counter(job.format(task) for job in CURVES)


def tokens_of(task: str, *variants: str) -> Counter:
    """What follows from new records of these variants; grpo has no teacher, and so none."""
    summaries = [f"token_summary {task}/{variant}" for variant in variants if variant != "grpo"]
    return Counter([*summaries, *(job.format(task) for job in TOKENS)] if summaries else [])


def retrained(task: str, variant: str) -> Counter:
    """A run, its evaluation, its task's curves, its own records, and all that aggregates it."""
    jobs = (f"train {task}/{variant}", f"evaluate_{task} {task}/{variant}")
    return Counter(jobs) + curves_of(task) + tokens_of(task, variant) + TABLES_ON + ALL


def task_retrained(task: str) -> Counter:
    """All runs of a task."""
    return reduce(or_, (retrained(task, variant) for variant in TRAINED))


def test_a_fresh_clone_plans_every_job_once(furnished):
    jobs = furnished.planned()
    runs = 2 * len(TRAINED)
    assert runs == 16
    # Base models, data and their report, trained, evaluated, and what follows; the audit needs no run.
    following = curves_of("arithmetic") | curves_of("knights") | TABLES_ON | ALL | Counter(["audit", "drift"])
    following |= tokens_of("arithmetic", *TRAINED) | tokens_of("knights", *TRAINED)
    assert sum(jobs.values()) == 2 + 4 + 1 + runs + (runs + 2) + sum(following.values())
    assert following <= jobs
    assert set(jobs.values()) == {1}


def test_a_finished_workflow_has_nothing_to_do(finished):
    assert finished.planned() == Counter()


def test_a_value_of_one_task_retrains_that_task_only(finished):
    word = "tasks={arithmetic: {run: {optimizer: {learning_rate: 5e-5}}}}"
    assert finished.planned("--config", word) == task_retrained("arithmetic")


def test_a_value_of_one_method_retrains_that_method_only(finished):
    word = "overrides={methods: {rlcsd: {objective: {tau: 0.03}}}}"
    assert finished.planned("--config", word) == retrained("arithmetic", "rlcsd") | retrained("knights", "rlcsd")


def test_editing_one_variant_retrains_that_variant_only(changed):
    """In the file, as a user does."""
    matrix = "matrix={tasks: [knights], variants: [base, grpo, rlcsd, rlcsd-gt_cot]}"
    assert changed.snakemake("--config", matrix).returncode == 0
    assert changed.planned("--config", matrix) == Counter()
    methods = changed.folder / "config" / "methods.yaml"
    text = methods.read_text()
    before, name, after = text.partition("  rlcsd-gt_cot:")
    assert name
    after = after.replace("hints: {source: gt_cot}", "hints: {source: gt_cot, k_max: 2}", 1)
    methods.write_text(before + name + after)
    jobs = Counter(["train knights/rlcsd-gt_cot", "evaluate_knights knights/rlcsd-gt_cot"])
    # No task of this matrix, and no pair of methods that the figure of the contrast shows.
    others = Counter(["benchmarks arithmetic", "token_figure arithmetic", "contrast knights"])
    following = curves_of("knights") + tokens_of("knights", "rlcsd-gt_cot") + TABLES_ON + ALL
    assert changed.planned("--config", matrix) == jobs + following - others


def test_rewriting_a_value_as_it_is_changes_nothing(finished):
    assert finished.planned("--config", "methods={rlcsd: {objective: {beta: 1, tau: 2e-2}}}") == Counter()


def test_new_data_retrain_their_task_only(finished):
    word = "tasks={knights: {data: {generator: {train: {problems: 1200}}}}}"
    jobs = finished.planned("--config", word)
    assert jobs == Counter(["data knights_3/train", "data_report"]) + task_retrained("knights")


def test_new_evaluation_problems_reevaluate_the_base_too(finished):
    word = "tasks={knights: {benchmarks: {knights-5: {problems: 201}}}}"
    jobs = finished.planned("--config", word)
    others = ["data knights-2+knights-3+knights-4+knights-5/val", "data_report", "evaluate_knights knights/base"]
    assert jobs == Counter(others) + task_retrained("knights")


def test_other_sampling_reevaluates_and_trains_nothing(finished):
    jobs = finished.planned("--config", "tasks={knights: {evaluation: {temperature: 1.0}}}")
    evaluated = Counter(f"evaluate_knights knights/{variant}" for variant in DEMO["variants"])
    assert jobs == evaluated + TABLES_ON + ALL


def test_benchmarks_of_another_task_reevaluate_their_task_and_train_nothing(finished):
    jobs = finished.planned("--config", "tasks={knights: {also: {arithmetic: {problems: 2}}}}")
    evaluated = Counter(f"evaluate_knights knights/{variant}" for variant in DEMO["variants"])
    shown = Counter(job for job in jobs if job.split()[0] not in ("train", "data", "base_model"))
    assert jobs == shown
    assert evaluated + TABLES_ON + ALL + Counter(["data_report"]) <= jobs
    assert not [job for job in jobs if job.startswith("evaluate_arithmetic")]


def test_a_presentation_choice_redoes_tables_and_figures_only(finished):
    jobs = finished.planned("--config", "tasks={knights: {benchmarks: {knights-5: {counted: false}}}}")
    assert jobs == Counter(["dynamics knights", "dynamics_of_model"]) + TABLES_ON + ALL - Counter(["costs"])


def test_settings_of_the_other_trainer_and_of_the_machine_make_nothing_stale(finished):
    word = "overrides={all: {verl: {nodes: 2, gpus_per_node: 4, dtype: float32}}}"
    assert finished.planned("--config", word) == Counter()


def test_a_deleted_draws_file_reevaluates_its_run(changed):
    (changed.folder / DRAWS.format("knights", "grpo") / "knights-3.parquet").unlink()
    assert changed.planned() == Counter(["evaluate_knights knights/grpo"]) + TABLES_ON + ALL


def test_deleted_metrics_publish_their_run_again(changed):
    (changed.folder / RUN.format("knights", "grpo") / "metrics.jsonl").unlink()
    assert changed.planned() == retrained("knights", "grpo")


def test_shipped_weights_that_only_look_newer_make_nothing_stale(changed):
    for weights in (changed.folder / "resources").rglob("model.safetensors"):
        weights.touch()
    assert changed.planned() == Counter()


def test_other_shipped_weights_retrain_their_task_only(finished):
    word = "models={tiny_qwen3: {sha256: {knights: " + "1" * 64 + "}}}"
    jobs = Counter(["base_model knights", "evaluate_knights knights/base"])
    assert finished.planned("--config", word) == jobs + task_retrained("knights")


def test_data_that_nothing_needs_any_more_stay_deleted(changed):
    for data in (changed.folder / "results/data").rglob("*.parquet"):
        data.unlink()
    assert changed.planned() == Counter()


def test_forcing_the_tables_redoes_them_and_what_follows(finished):
    others = Counter(
        ["scores", "costs", "claims", *(f"table_formats {name}" for name in ("audit", "drift", "costs", "claims"))]
    )
    assert finished.planned("--forcerun", "tables") == TABLES_ON + ALL - others


def test_an_edited_script_retrains_nothing(changed):
    script = changed.folder / "workflow" / "scripts" / "train.py"
    script.write_text(script.read_text() + "# a word\n")
    assert changed.planned() == Counter()


def test_a_new_seed_adds_its_runs_only(finished):
    jobs = finished.planned("--config", "matrix={seeds: [0, 1]}")
    added = Counter(f"train {task}/{v}" for task in ("arithmetic", "knights") for v in TRAINED)
    added += Counter(f"evaluate_{t} {t}/{v}" for t in ("arithmetic", "knights") for v in DEMO["variants"])
    tokens = tokens_of("arithmetic", *TRAINED) | tokens_of("knights", *TRAINED)
    assert jobs == added + (curves_of("arithmetic") | curves_of("knights")) + tokens + TABLES_ON + ALL


def test_a_single_cell_can_be_asked_for(finished):
    assert finished.planned(DRAWS.format("knights", "rlcsd") + "/knights-3.parquet") == Counter()
    cell = DRAWS.format("knights", "rlcsd-gt_cot").replace("seed0", "seed3") + "/knights-3.parquet"
    assert finished.planned(cell) == Counter(["train knights/rlcsd-gt_cot", "evaluate_knights knights/rlcsd-gt_cot"])


def test_a_cell_that_no_registry_knows_is_no_target(finished):
    assert "No rule to produce" in finished.refused(DRAWS.format("knights", "rlcds") + "/knights-3.parquet")
