"""The whole workflow with real scripts on a small config: what a kill of Snakemake or of a trainer costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from selfdistill.files import sha256_file

ROOT = Path(__file__).parents[2]
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


class Clone:
    """A copy of the repository's files in which the workflow runs."""

    def __init__(self, folder: Path):
        self.folder = folder
        for name in ("config", "profiles", "envs", "resources", "workflow"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".snakemake"))
        (folder / "small.yaml").write_text(SMALL)
        self.command = [sys.executable, "-m", "snakemake", "--configfile", "small.yaml", "--profile", "profiles/local"]

    def finish(self, *words: str) -> str:
        command = [*self.command, *words]
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run(command, cwd=self.folder, timeout=400, check=False, **output)
        assert done.returncode == 0, done.stdout + self.logs()
        return done.stdout

    def start(self) -> subprocess.Popen:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(self.command, cwd=self.folder, start_new_session=True, **quiet)

    def logs(self) -> str:
        return "\n".join(file.read_text() for file in (self.folder / "results" / "logs").rglob("*.log"))

    def log(self, variant: str) -> str:
        file = self.folder / f"results/logs/train/arithmetic/tiny_qwen3/{variant}/seed0.log"
        return file.read_text() if file.exists() else ""

    def trainers(self) -> list[int]:
        """Processes of this clone that run the train script."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes().decode().split("\0")
                here = (process / "cwd").resolve() == self.folder.resolve()
            except OSError:
                continue
            if here and any(word.endswith("train.py") for word in words):
                found.append(int(process.name))
        return found

    def results(self) -> dict:
        """Everything that must not depend on kills."""
        facts = {"main.csv": (self.folder / "results/tables/main.csv").read_bytes()}
        for variant in ("grpo", "rlcsd"):
            run = self.folder / f"results/runs/arithmetic/tiny_qwen3/{variant}/seed0"
            facts[f"{variant} weights"] = sha256_file(run / "model" / "model.safetensors")
            lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            facts[f"{variant} metrics"] = [
                {k: v for k, v in line.items() if not k.startswith("timing_s/")} for line in lines
            ]
        return facts

    def wait_for(self, condition, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"timed out\n{self.logs()}"
            time.sleep(0.05)


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


@pytest.mark.parametrize("victim", ["trainer", "snakemake"])
def test_after_a_sigkill_the_same_command_gives_the_same_results(whole, tmp_path, victim):
    clone = Clone(tmp_path)
    process = clone.start()
    clone.wait_for(lambda: "step 3/6" in clone.log("grpo") or "step 3/6" in clone.log("rlcsd"))
    if victim == "trainer":
        os.kill(clone.trainers()[0], signal.SIGKILL)
        assert process.wait(timeout=200) != 0
    else:
        os.kill(process.pid, signal.SIGKILL)  # the trainers go on: the new workflow has to wait for them
        process.wait()
        subprocess.run([*clone.command, "--unlock"], cwd=clone.folder, check=True, capture_output=True, timeout=100)
    clone.finish()
    assert clone.results() == whole.results()


def test_a_finished_run_is_not_trained_again(whole, tmp_path):
    clone = Clone(tmp_path / "clone")
    shutil.copytree(whole.folder / "results", clone.folder / "results")
    shutil.rmtree(clone.folder / "results" / "runs")  # what a killed Snakemake may think incomplete
    clone.finish("results/runs/arithmetic/tiny_qwen3/grpo/seed0/metrics.jsonl")
    log = clone.log("grpo")
    assert "publishing it again" in log
    assert "step 1/6" not in log.split("publishing it again")[-1]
    run = "results/runs/arithmetic/tiny_qwen3/grpo/seed0/metrics.jsonl"
    assert (clone.folder / run).read_bytes() == (whole.folder / run).read_bytes()
