"""The workflow through profiles/slurm on a real Slurm of one node: what it asks for, and what can end a job or it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from repository import copy_repository
from slurm_cluster import Cluster, install
from waiting import SECONDS, wait_for

from selfdistill.files import sha256_file

pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.timeout(3000)]

#: Two runs that take some fifteen seconds each, of which a third is training.
SMALL = """
matrix: {tasks: [arithmetic], models: [tiny_qwen3], variants: [base, grpo, rlcsd], seeds: [0]}
tasks:
  arithmetic:
    metric: mean@2
    draws: 2
    benchmarks:
      chain-3: {problems: 6}
      chain-5: {problems: 6}
      chain-8: {problems: 6}
      chain-10: {problems: 6}
overrides:
  all:
    steps: 16
    rollout: {prompts_per_step: 4}
    update: {prompts_per_update: 2}
    validation: {every: 6, problems: 4, draws: 1}
    checkpoint: {every: 1}
"""
#: What a site would put into a profile of its own: here, shorter waits.
SITE = [
    *("--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "1"),
    *("--seconds-between-status-checks", "1", "--max-status-checks-per-second", "10"),
]

#: slurmctld writes its state a few seconds late; what is younger goes with it when it is killed, on any Slurm.
_SAVED_SECONDS = 7


#: What cannot be made without all runs, and of the reporting no more than that.
TABLE = "results/tables/main.csv"


class Checkout:
    """A copy of the repository's files from which the workflow is submitted."""

    def __init__(self, folder: Path, cluster: Cluster, config: str = SMALL):
        self.folder, self.cluster = folder, cluster
        copy_repository(folder)
        (folder / "small.yaml").write_text(config)
        self.command = [sys.executable, "-m", "snakemake", "--configfile", "small.yaml", "--profile", "profiles/slurm"]
        self.command += SITE
        # Jobs find this Python; one thread each, for there are two cores behind the node's 64.
        self.environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def start(self, *words: str) -> subprocess.Popen:
        log = open(self.folder / "snakemake.out", "a")  # noqa: SIM115  (the child's)
        return subprocess.Popen(
            [*self.command, *words],
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )

    def finish(self, *words: str, status: int = 0) -> str:
        """Run to the end, and return what was said."""
        before = len(self.said())
        process = self.start(*words)
        try:
            assert process.wait(timeout=SECONDS) == status, self.said()[before:] + self.logs()
        finally:
            if process.poll() is None:
                process.kill()
        return self.said()[before:]

    def said(self) -> str:
        file = self.folder / "snakemake.out"
        return file.read_text() if file.exists() else ""

    def logs(self) -> str:
        files = sorted((self.folder / "results" / "logs").rglob("*.log"))
        return "\n".join(f"--- {file.relative_to(self.folder)}\n{file.read_text()}" for file in files)

    def log(self, variant: str = "grpo") -> str:
        file = self.folder / f"results/logs/train/arithmetic/tiny_qwen3/{variant}/seed0.log"
        return file.read_text() if file.exists() else ""

    def job_of(self, variant: str, rule: str = "rule_train") -> str:
        """The number of the Slurm job that trains a variant now; "" without one."""
        found = [
            n for n, job in self.cluster.jobs().items() if rule in job["comment"] and f"_{variant}_" in job["comment"]
        ]
        return found[0] if found else ""

    def wait_for(self, condition):
        return wait_for(condition, lambda: f"{self.said()}\n{self.logs()}\n{self.cluster.jobs('all')}")

    def results(self) -> dict:
        """Everything that must not depend on what happened to jobs."""
        facts = {"main.csv": (self.folder / TABLE).read_bytes()}
        for variant in ("grpo", "rlcsd"):
            run = self.folder / f"results/runs/arithmetic/tiny_qwen3/{variant}/seed0"
            facts[f"{variant} weights"] = sha256_file(run / "model" / "model.safetensors")
            lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
            facts[f"{variant} metrics"] = [{k: v for k, v in s.items() if not k.startswith("timing_s/")} for s in lines]
        return facts

    def step(self, variant: str) -> int:
        """How far a variant's training has come."""
        return max(map(int, re.findall(r"step (\d+)/16", self.log(variant))), default=0)

    def settle(self) -> None:
        """What `make resume` does first."""
        quiet = {"cwd": self.folder, "check": True, "timeout": SECONDS}
        subprocess.run([sys.executable, "-m", "selfdistill.cluster.leftovers"], **quiet)
        subprocess.run([*self.command, "--unlock"], **quiet)


@pytest.fixture(scope="module")
def cluster():
    if reason := install():
        pytest.skip(reason)
    cluster = Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def undisturbed(cluster, tmp_path_factory):
    """The whole matrix, with a GPU for each training run."""
    checkout = Checkout(tmp_path_factory.mktemp("undisturbed"), cluster)
    checkout.finish("--set-resources", "train:gres='gpu:3'")
    return checkout


def test_the_matrix_goes_through_with_the_resources_that_its_jobs_asked_for(undisturbed, cluster):
    results = undisturbed.folder / "results"
    for name in ("tables/main.csv", "figures/arithmetic/dynamics.svg", "pages/results.html"):
        assert (results / name).stat().st_size > 0
    jobs = cluster.jobs("all").values()
    assert {job["state"] for job in jobs} == {"COMPLETED"}
    training = [job for job in jobs if "rule_train" in job["comment"]]
    others = [job for job in jobs if "rule_train" not in job["comment"]]
    assert {(job["gres"], job["partition"]) for job in training} == {("gres:gpu:3", "gpu")}
    assert {(job["gres"], job["partition"]) for job in others} == {("N/A", "cpu")}
    assert all(job["memory"] != "0" and job["limit"] != "UNLIMITED" for job in jobs)
    assert list((results / "logs" / "slurm").glob("rule_train/*/*.log"))
    account = json.loads((results / "draws/arithmetic/tiny_qwen3/grpo/seed0/evaluation.json").read_text())
    assert account["tokens"] > 0
    assert account["wall_seconds"] > 0


def test_whatever_ends_jobs_and_controllers_the_results_are_those_of_an_undisturbed_workflow(
    cluster, undisturbed, tmp_path
):
    """scancel, requeue, a preempting job, and a controller that is killed, all in the middle of training."""
    checkout = Checkout(tmp_path, cluster)
    process = checkout.start(TABLE, "--set-resources", "train:slurm_partition='preempt'")
    try:
        checkout.wait_for(lambda: checkout.step("grpo") >= 2)
        cancelled = checkout.job_of("grpo")
        cluster.ask("scancel", cancelled)
        checkout.wait_for(lambda: checkout.step("rlcsd") >= 2)
        requeued = checkout.job_of("rlcsd")
        cluster.ask("scontrol", "requeue", requeued)
        checkout.wait_for(lambda: cluster.jobs().get(requeued, {}).get("state") == "PENDING")
        # A job that starts within those seconds is started again by the next controller, and the node is drained.
        checkout.wait_for(lambda: checkout.job_of("grpo") not in ("", cancelled))
        checkout.wait_for(lambda: cluster.jobs().get(checkout.job_of("grpo"), {}).get("state") == "RUNNING")
        time.sleep(_SAVED_SECONDS)
        cluster.end("slurmctld", kill=True)
        time.sleep(2)
        cluster.start_controller()
        cluster.ask("scontrol", "update", f"jobid={requeued}", "StartTime=now")  # not only after two minutes
        again = checkout.wait_for(lambda: checkout.step("grpo") >= 5 and checkout.job_of("grpo"))
        assert again != cancelled
        whole_node = ["--partition=gpu", "--exclusive", "--output=/dev/null", "--wrap=sleep 3"]
        cluster.ask("sbatch", *whole_node)
        checkout.wait_for(lambda: cluster.jobs().get(again, {}).get("state") == "PENDING")
        cluster.ask("scontrol", "update", f"jobid={again}", "StartTime=now")
        assert process.wait(timeout=SECONDS) == 0, checkout.said() + checkout.logs()
    finally:
        process.kill()
    restarts = {number: job["restarts"] for number, job in cluster.jobs("all").items()}
    assert restarts[again] == "1"
    assert int(restarts[requeued]) >= 1
    assert checkout.results() == undisturbed.results()


def test_a_workflow_that_is_killed_twice_ends_with_the_same_results_and_trains_nothing_twice(
    cluster, undisturbed, tmp_path
):
    checkout = Checkout(tmp_path, cluster)
    moments = [
        lambda: checkout.step("grpo") >= 3 or checkout.step("rlcsd") >= 3,
        lambda: "engine own" in checkout.logs() and checkout.step("grpo") == checkout.step("rlcsd") == 16,
    ]
    for moment in moments:
        process = checkout.start(TABLE)
        checkout.wait_for(moment)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        checkout.settle()
        assert not cluster.jobs()
    checkout.finish(TABLE)
    assert checkout.results() == undisturbed.results()
    for variant in ("grpo", "rlcsd"):
        assert checkout.log(variant).count("step 1/16") == 1
    for log in (checkout.folder / "results/logs/evaluate").rglob("*.log"):
        assert log.read_text().count("chain-3: 6 problems") == 1, log.read_text()


def test_a_job_over_its_memory_is_killed_and_submitted_again_with_more(cluster, undisturbed):
    run = "results/runs/arithmetic/tiny_qwen3/rlsd/seed0/metrics.jsonl"  # data and base model are there
    before = cluster.jobs("all").keys()
    said = undisturbed.finish(run, "--set-resources", "train:mem_mb=120 if attempt == 1 else 4000")
    jobs = [
        job for number, job in cluster.jobs("all").items() if number not in before and "rule_train" in job["comment"]
    ]
    assert sorted(job["memory"] for job in jobs) == ["120M", "4000M"]
    assert {job["memory"]: job["state"] == "COMPLETED" for job in jobs} == {"120M": False, "4000M": True}
    assert "Trying to restart job" in said
    assert sha256_file(undisturbed.folder / run)


def test_more_gpus_than_a_node_has_are_refused_at_submission(undisturbed):
    words = ["--set-resources", "train:gres='gpu:9'", "train:slurm_partition='gpu'", "--retries", "0"]
    said = undisturbed.finish("results/runs/arithmetic/tiny_qwen3/sdpo/seed0/metrics.jsonl", *words, status=1)
    assert "Requested node configuration is not available" in said


def test_a_job_that_fails_by_the_users_error_fails_alone_with_its_line_where_one_looks(cluster, tmp_path):
    broken = SMALL + "  tasks: {arithmetic: {rollout: {max_prompt_tokens: 3}}}\n"
    checkout = Checkout(tmp_path, cluster, broken)
    draws = "results/draws/arithmetic/tiny_qwen3/base/seed0/chain-3.parquet"
    run = "results/runs/arithmetic/tiny_qwen3/grpo/seed0/metrics.jsonl"
    checkout.finish(draws, run, "--retries", "0", status=1)
    assert (checkout.folder / draws).exists()  # keep-going
    assert not (checkout.folder / run).exists()
    line = checkout.log("grpo").strip().splitlines()[-1].removeprefix("failed: ")
    [slurm_log] = (checkout.folder / "results/logs/slurm/rule_train").rglob("*.log")
    assert line in slurm_log.read_text()
    assert "Traceback" not in checkout.log("grpo")
