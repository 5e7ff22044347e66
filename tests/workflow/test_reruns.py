"""What a change makes stale: dry runs in a finished workshop."""

from collections import Counter
from functools import reduce
from operator import or_
from pathlib import Path

import pytest
import yaml

DEMO = yaml.safe_load((Path(__file__).parents[2] / "config/demo.yaml").read_text())["matrix"]
TRAINED = [variant for variant in DEMO["variants"] if variant != "base"]
ALL = Counter({"all": 1})
#: What follows from any draws: everything that compares.
TABLES = [
    f"tables {name}"
    for name in ("main", "gains", "pooled", "problems", "flips", "plugin", "hints", "ablations", "power")
]
BESIDE = ("audit", "drift", "windows", "costs", "claims", "signs", "certain")
FORMATS = [f"table_formats {name.split()[-1]}" for name in (*TABLES, "beside", *BESIDE)]
TABLES_ON = Counter(["scores", *TABLES, *FORMATS, "behaviour", "claims", "costs", "page", "overview", "site"])
TABLES_ON += Counter(["benchmarks arithmetic", "benchmarks knights", "benchmarks_of_model", "profiles arithmetic"])
#: What follows from the metrics of one task, and from the records of one.
CURVES = ("windows", "dynamics {}", "signals {}", "contrast {}", "dynamics_of_model")
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


def evaluated(task: str) -> Counter:
    return Counter(f"evaluate_{task} {task}/{variant}" for variant in DEMO["variants"])


def a_seed_more() -> Counter:
    added = Counter(f"train {task}/{variant}" for task in ("arithmetic", "knights") for variant in TRAINED)
    tokens = tokens_of("arithmetic", *TRAINED) | tokens_of("knights", *TRAINED)
    added += evaluated("arithmetic") + evaluated("knights")
    added += Counter(["profiles knights"])  # of two answers to each problem
    return added + (curves_of("arithmetic") | curves_of("knights")) + tokens + TABLES_ON + ALL


VAL = "knights-2+knights-3+knights-4+knights-5/val"
#: --config of a dry run in a finished workshop -> all that it plans.
STALE = {
    "matrix={seeds: [0]}": Counter(),
    "tasks={arithmetic: {run: {optimizer: {learning_rate: 5e-5}}}}": task_retrained("arithmetic"),
    "overrides={methods: {rlcsd: {objective: {tau: 0.03}}}}": retrained("arithmetic", "rlcsd")
    | retrained("knights", "rlcsd"),
    "methods={rlcsd: {objective: {beta: 1, tau: 2e-2}}}": Counter(),  # as it is
    "overrides={all: {verl: {nodes: 2, gpus_per_node: 4, dtype: float32}}}": Counter(),  # of the other trainer
    "tasks={knights: {data: {generator: {train: {problems: 1200}}}}}": task_retrained("knights")
    + Counter(["data knights_3/train", "data_report"]),
    "tasks={knights: {benchmarks: {knights-5: {problems: 201}}}}": task_retrained("knights")
    + Counter([f"data {VAL}", "data_report", "evaluate_knights knights/base"]),
    "models={tiny_qwen3: {sha256: {knights: " + "1" * 64 + "}}}": task_retrained("knights")
    + Counter(["base_model knights", "evaluate_knights knights/base"]),
    "tasks={knights: {evaluation: {temperature: 1.0}}}": evaluated("knights") + TABLES_ON + ALL,
    "tasks={knights: {benchmarks: {knights-5: {counted: false}}}}": TABLES_ON
    + ALL
    + Counter(["dynamics knights", "dynamics_of_model", "windows"])
    - Counter(["costs"]),
    "matrix={seeds: [0, 1]}": a_seed_more(),
}


@pytest.mark.parametrize("word", STALE)
def test_a_change_makes_stale_what_follows_from_it_and_nothing_else(finished, word):
    assert finished.planned("--config", word) == STALE[word]


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
    others = Counter(["benchmarks arithmetic", "profiles arithmetic", "token_figure arithmetic", "contrast knights"])
    following = curves_of("knights") + tokens_of("knights", "rlcsd-gt_cot") + TABLES_ON + ALL
    assert changed.planned("--config", matrix) == jobs + following - others


def test_benchmarks_of_another_task_reevaluate_their_task_and_train_nothing(finished):
    jobs = finished.planned("--config", "tasks={knights: {also: {arithmetic: {problems: 2}}}}")
    evaluated = Counter(f"evaluate_knights knights/{variant}" for variant in DEMO["variants"])
    shown = Counter(job for job in jobs if job.split()[0] not in ("train", "data", "base_model"))
    assert jobs == shown
    assert evaluated + TABLES_ON + ALL + Counter(["data_report"]) <= jobs
    assert not [job for job in jobs if job.startswith("evaluate_arithmetic")]


RETOLD, REEVALUATED = TABLES_ON + ALL, "evaluate_knights knights/grpo"


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "# a word")


@pytest.mark.parametrize(
    ("change", "files", "stale"),
    [
        (Path.unlink, DRAWS.format("knights", "grpo") + "/knights-3.parquet", RETOLD + Counter([REEVALUATED])),
        (Path.unlink, RUN.format("knights", "grpo") + "/metrics.jsonl", retrained("knights", "grpo")),
        (Path.unlink, "results/data/**/*.parquet", Counter()),  # nothing needs them any more
        (Path.touch, "resources/**/model.safetensors", Counter()),  # only looks newer
        (edit, "workflow/scripts/train.py", Counter()),
    ],
)
def test_a_changed_file_makes_stale_what_follows_from_it_and_nothing_else(changed, change, files, stale):
    for file in list(changed.folder.glob(files)):
        change(file)
    assert changed.planned() == stale


def test_forcing_the_tables_redoes_them_and_what_follows(finished):
    others = Counter(["scores", "costs", "claims", *(f"table_formats {name}" for name in BESIDE)])
    assert finished.planned("--forcerun", "tables") == TABLES_ON + ALL - others


def test_a_single_cell_can_be_asked_for(finished):
    assert finished.planned(DRAWS.format("knights", "rlcsd") + "/knights-3.parquet") == Counter()
    cell = DRAWS.format("knights", "rlcsd-gt_cot").replace("seed0", "seed3") + "/knights-3.parquet"
    assert finished.planned(cell) == Counter(["train knights/rlcsd-gt_cot", "evaluate_knights knights/rlcsd-gt_cot"])


def test_a_cell_that_no_registry_knows_is_no_target(finished):
    assert "No rule to produce" in finished.refused(DRAWS.format("knights", "rlcds") + "/knights-3.parquet")
