"""The whole workflow with real scripts on a small config: every method, one's own, and what a kill costs."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from configurations import study_of
from repository import copy_repository
from small_run import go, metrics_of, weights_hash
from waiting import SECONDS, wait_for

from selfdistill.files import sha256_file
from selfdistill.reporting.figures.panels import write_figure
from selfdistill.reporting.figures.training import signals_figure
from selfdistill.reporting.read.runs import RunFiles
from selfdistill.tasks.schema import Problem, write_problems

pytestmark = pytest.mark.slow

SMALL = """
matrix: {tasks: [arithmetic], models: [tiny_qwen3], variants: [base, grpo, rlcsd], seeds: [0]}
tasks:
  arithmetic:
    metric: mean@2
    draws: 2
    benchmarks:
      chain-3: {problems: 10}
      chain-5: {problems: 10}
      chain-8: {problems: 10}
      chain-10: {problems: 10}
overrides:
  all:
    steps: 6
    rollout: {prompts_per_step: 4}
    update: {prompts_per_update: 2}
    validation: {every: 3, problems: 4, draws: 1}
    checkpoint: {every: 2}
"""

#: What cannot be made without all runs. `whole` makes everything; the other clones make little more than this, and have
#: from `whole` what they would make alike.
TABLE = "results/tables/main.csv"
PAGE, OVERVIEW = "results/pages/results.html", "results/pages/overview.html"
BASE = ("data", "models", "draws/arithmetic/tiny_qwen3/base")

#: The demo's other methods, on top of SMALL.
OTHERS = """
overrides:
  all: {steps: 2}
  methods:
    opsd: {objective: {top_k: 8}}
    sdpo: {objective: {top_k: 8}}
    srpo: {objective: {top_k: 8}}
    opsd_ectr: {objective: {top_k: 8}}
"""

#: Competition problems out of a folder, on top of SMALL.
ALSO = """
matrix: {variants: [base, grpo]}
tasks:
  arithmetic: {also: {math: {problems: 2}}}
  math: {data: {source: problems}}
"""

#: What somebody writes who has a method of their own: one file, and one entry.
OWN_FILE = '''
"""GRPO that learns from its successes only, and from early tokens more than from late ones."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from selfdistill.objectives.aggregation import token_weights
from selfdistill.objectives.batch import Batch, Needs, Student, Targets, TokenLoss
from selfdistill.objectives.policy_gradient import clipped_surrogate


@dataclass(frozen=True)
class EarlySuccess:
    epsilon: float = 0.2
    half_life: int = 10

    needs: ClassVar[Needs] = Needs(correct_hint=True)

    def targets(self, batch: Batch, aggregation: str) -> Targets:
        early = 0.5 ** (torch.arange(batch.response_mask.shape[1]) / self.half_life)
        advantages = batch.advantages.clamp(min=0)[:, None] * early
        return Targets(advantages, token_weights(batch.token_mask, aggregation, batch.rollouts), {"signal/own": 42.0})

    def token_loss(self, student: Student, batch: Batch, targets: Targets) -> TokenLoss:
        old = batch.old_logprobs
        loss = clipped_surrogate(student.logprobs, old, targets.advantages, self.epsilon, self.epsilon)
        surer = (student.logprobs.detach() > batch.correct_logprobs).float()
        return TokenLoss(loss, {"signal/surer_share": (surer, batch.hinted_mask)})
'''
OWN_ENTRY = """
matrix: {variants: [base, early_success, early_success-slow]}
overrides: {all: {steps: 3}}
methods:
  early_success:
    implementation: my_methods.early:EarlySuccess
    objective: {epsilon: 0.2, half_life: 10}
    teacher: {kind: live}
    hints: {source: gt_cot}
variants:
  early_success-slow: {method: early_success, set: {objective: {half_life: 40}}}
"""


def rules_run(said: str) -> set[str]:
    """The rules whose jobs Snakemake ran, by the line that counts them: "3 jobs: evaluate_arithmetic 1, tables 2"."""
    counts = re.search(r"^\d+ jobs: (.+)$", said, re.MULTILINE).group(1)
    return {each.rpartition(" ")[0] for each in counts.split(", ")}


class Clone:
    """A copy of the repository's files in which the workflow runs, with SMALL and more config on top of it."""

    def __init__(self, folder: Path, more: str = ""):
        self.folder = folder
        copy_repository(folder)
        (folder / "small.yaml").write_text(SMALL)
        (folder / "more.yaml").write_text(more or "{}")
        self.command = [sys.executable, "-m", "snakemake", "--configfile", "small.yaml", "more.yaml"]
        self.command += ["--profile", "profiles/local"]

    def finish(self, *words: str, **environment: str) -> str:
        command, environment = [*self.command, *words], {**os.environ, **environment}
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, cwd=self.folder, env=environment, timeout=SECONDS, check=False, **output)
        assert done.returncode == 0, done.stdout + self.logs()
        return done.stdout

    def take(self, other: "Clone", *parts: str) -> "Clone":
        """Parts of another's results, as if they had been made here."""
        for part in parts:
            shutil.copytree(other.folder / "results" / part, self.folder / "results" / part)
        shutil.copytree(other.folder / ".snakemake", self.folder / ".snakemake")
        return self

    def start(self) -> subprocess.Popen:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([*self.command, TABLE], cwd=self.folder, start_new_session=True, **quiet)

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in (self.folder / "results" / "logs").rglob("*.log"))

    def run(self, variant: str) -> Path:
        return self.folder / f"results/runs/arithmetic/tiny_qwen3/{variant}/seed0"

    def metrics(self, variant: str) -> list[dict]:
        return [json.loads(line) for line in (self.run(variant) / "metrics.jsonl").read_text().splitlines()]

    def log(self, variant: str) -> str:
        file = self.folder / f"results/logs/train/arithmetic/tiny_qwen3/{variant}/seed0.log"
        try:
            return file.read_text()
        except (
            FileNotFoundError
        ):  # Snakemake removes the log of a job before the job begins, again or for the first time
            return ""

    def trainers(self) -> dict[str, int]:
        """Variant -> process that trains it: one that runs the train script here, by the log that it writes."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                log = Path(os.readlink(process / "fd" / "1"))
            except OSError:  # it has ended
                continue
            if any(word.endswith("train.py") for word in words) and log.is_relative_to(self.folder.resolve()):
                found[log.parent.name] = int(process.name)
        return found

    def main_table(self) -> list[dict[str, str]]:
        with (self.folder / TABLE).open(newline="") as file:
            return list(csv.DictReader(file))

    def results(self) -> dict:
        """Everything that must not depend on kills."""
        facts = {"main.csv": (self.folder / TABLE).read_bytes()}
        for variant in ("grpo", "rlcsd"):
            facts[f"{variant} weights"] = sha256_file(self.run(variant) / "model" / "model.safetensors")
            facts[f"{variant} metrics"] = [
                {k: v for k, v in line.items() if not k.startswith("timing_s/")} for line in self.metrics(variant)
            ]
        return facts


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    clone = Clone(tmp_path_factory.mktemp("whole"))
    clone.finish()
    return clone


def test_tables_figures_and_pages_are_made(whole):
    results = whole.folder / "results"
    for name in ("tables/main.md", "tables/gains.csv", "figures/arithmetic/dynamics.png", "pages/results.html"):
        assert (results / name).stat().st_size > 0, name
    assert [line["step"] for line in whole.results()["grpo metrics"]] == list(range(7))


def test_nothing_is_left_to_do(whole):
    assert "Nothing to be done" in whole.finish("--dry-run")


def test_after_sigkills_the_same_command_gives_the_same_results(whole, tmp_path):
    """Of a trainer, and then of Snakemake, whose trainer goes on: the next workflow waits for it, trains nothing."""
    clone = Clone(tmp_path).take(whole, *BASE)
    process = clone.start()
    victim = wait_for(lambda: next((v for v in ("grpo", "rlcsd") if "step 3/6" in clone.log(v)), None), clone.logs)
    os.kill(clone.trainers()[victim], signal.SIGKILL)
    assert process.wait(timeout=SECONDS) != 0
    process = clone.start()
    orphan = wait_for(lambda: clone.trainers().get(victim), clone.logs)
    wait_for(lambda: "resumed from step" in clone.log(victim), clone.logs)
    os.kill(orphan, signal.SIGSTOP)  # with steps left to do, so that it has its run when the next workflow comes to it
    try:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        subprocess.run([*clone.command, "--unlock"], cwd=clone.folder, check=True, capture_output=True, timeout=SECONDS)
        process = clone.start()
        wait_for(lambda: "another process is training this run" in clone.log(victim), clone.logs)
    finally:
        os.kill(orphan, signal.SIGCONT)
    assert process.wait(timeout=SECONDS) == 0, clone.logs()
    assert clone.results() == whole.results()
    first, last = clone.log(victim).split("another process is training this run")
    assert "step 1/6" in first  # of the attempt that was killed
    assert "publishing it again" in last
    assert "step 1/6" not in last


def test_what_is_complete_is_reported_and_nothing_is_trained_for_it(whole, tmp_path):
    """One run of the matrix failed, and one seed of each was never begun."""
    clone = Clone(tmp_path / "clone").take(whole, "")
    shutil.rmtree(clone.run("rlcsd"))
    with (clone.folder / "results/logs/train/arithmetic/tiny_qwen3/rlcsd/seed0.log").open("a") as log:
        log.write("failed: the disk is full\n")
    config, targets = ("--config", "aggregate=available", "matrix={seeds: [0, 1]}", "--"), (TABLE, PAGE, OVERVIEW)
    trained = {"train", "evaluate_arithmetic"}
    planned = clone.finish("--dry-run", *config)
    assert "table_formats" in planned
    assert not any(re.search(rf"^{rule} ", planned, re.MULTILINE) for rule in trained)
    said = clone.finish(*config, *targets)
    assert "tables" in rules_run(said)
    assert not trained & rules_run(said)
    table = (clone.folder / TABLE).read_text()
    assert "tiny_qwen3,grpo,chain-3" in table
    assert "rlcsd" not in table
    assert "the disk is full" in (clone.folder / OVERVIEW).read_text()
    assert "Nothing to be done" in clone.finish("--dry-run", *config, *targets)


def test_the_benchmarks_of_another_task_are_evaluated_too_and_nothing_is_trained_for_them(whole, tmp_path):
    clone = Clone(tmp_path / "clone", ALSO).take(whole, "")
    names = ("amc23", "aime24", "aime25")
    rows = [
        Problem(f"{b}/{i}", b, f"What is {i} + 1?", str(i + 1), "", "math", i, "val") for b in names for i in range(3)
    ]
    (clone.folder / "problems/amc23+aime24+aime25").mkdir(parents=True)
    write_problems(clone.folder / "problems/amc23+aime24+aime25/val.parquet", rows)
    said = clone.finish(TABLE, "results/data/report.csv")
    assert "evaluate_arithmetic" in rules_run(said)
    assert "train" not in rules_run(said)
    table = clone.main_table()
    added = {(row["variant"], row["benchmark"]): row for row in table if row["benchmark"] in names}
    assert len(added) == 2 * 3
    assert {(row["counted"], row["n_problems"], row["n_draws"]) for row in added.values()} == {("False", "2", "2")}
    averages = [row for row in table if row["benchmark"] == "average"]
    assert averages == [r for r in whole.main_table() if r["benchmark"] == "average" and r["variant"] != "rlcsd"]
    assert "amc23+aime24+aime25,val,aime25,rows,3" in (clone.folder / "results/data/report.csv").read_text()


def test_every_other_method_of_the_demo_goes_through(whole, tmp_path):
    """Trained in this process: that the rules train what is configured, `whole` says of grpo and rlcsd."""
    study, folder, hashes, runs = study_of(SMALL, OTHERS), whole.folder / "results", set(), []
    [train], [val] = (list((folder / "data").glob(f"*/{split}.parquet")) for split in ("train", "val"))
    for variant in ("opsd", "sdpo", "srpo", "rlsd", "opsd_ectr", "rlsd_ectr"):
        files = {"train_file": train, "val_file": val, "base_model": folder / "models/tiny_qwen3/arithmetic"}
        outputs = go(study.resolve("arithmetic", "tiny_qwen3", variant, 0), files, tmp_path / variant)
        last = metrics_of(outputs["metrics"])[-1]
        assert last["step"] == 2
        assert last["guard/alignment_gain"] > 0.5
        assert last["guard/null_contrast_abs_max"] < 1e-4
        hashes.add(weights_hash(outputs))
        runs.append(RunFiles("arithmetic", "tiny_qwen3", variant, 0, variant, {}, outputs["metrics"]))
    assert len(hashes) == 6
    write_figure(signals_figure(runs), tmp_path / "signals.svg", tmp_path / "signals.png")
    assert (tmp_path / "signals.png").stat().st_size > 0


def test_a_method_of_ones_own_needs_one_file_and_one_entry(whole, tmp_path):
    clone = Clone(tmp_path / "clone", OWN_ENTRY).take(whole, *BASE)
    package = tmp_path / "elsewhere" / "my_methods"
    package.mkdir(parents=True)
    (package / "early.py").write_text(OWN_FILE)
    made = (PAGE, "results/figures/arithmetic/dynamics.png")
    clone.finish(TABLE, *made, PYTHONPATH=str(package.parent))
    own, slow = clone.metrics("early_success"), clone.metrics("early_success-slow")
    assert [line["step"] for line in own] == list(range(4))
    assert own[-1]["signal/own"] == 42
    assert 0 < own[-1]["signal/surer_share"] < 1
    assert own[-1]["actor/loss"] != slow[-1]["actor/loss"]
    resolved = yaml.safe_load((clone.run("early_success-slow") / "config.yaml").read_text())
    assert resolved["implementation"] == "my_methods.early:EarlySuccess"
    assert resolved["objective"] == {"epsilon": 0.2, "half_life": 40}
    results = clone.folder / "results"
    assert "tiny_qwen3,early_success-slow,chain-3" in (results / "tables/main.csv").read_text()
    assert "early_success" in (clone.folder / PAGE).read_text()
    assert (results / "figures/arithmetic/dynamics.png").stat().st_size > 0
