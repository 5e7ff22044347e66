"""verl, Ray and vLLM for real, on two CPU cores: the workflow through them, every method, kills, and dead workers.

Every run here costs a minute or more of start-up; tests share what was run where they can.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from waiting import SECONDS, wait_for

pytest.importorskip("verl")
psutil = pytest.importorskip("psutil")

from selfdistill.evaluation.attempts import read_attempts
from selfdistill.evaluation.draws import read_draws
from selfdistill.models.loading import load_model
from selfdistill.runs.records import read_records
from selfdistill.study.config_files import merged
from selfdistill.study.study import load_study
from selfdistill.tasks.datasets import write_generated
from selfdistill.training.discovery.job import discover

ROOT = Path(__file__).parents[2]
RUNS = "results/runs/arithmetic/tiny_qwen3"
PARTS = {
    "config": "config.yaml",
    "metrics": "metrics.jsonl",
    "provenance": "provenance.json",
    "records": "records.parquet",
    "model": "model",
}
pytestmark = [pytest.mark.verl, pytest.mark.timeout(3000)]

JOB = textwrap.dedent(
    """
    import json, pathlib, sys
    from selfdistill.errors import UserError
    from selfdistill.training.verl.run import train
    job = json.load(open(sys.argv[1]))
    files = {name: pathlib.Path(path) for name, path in job["files"].items()}
    outputs = {name: pathlib.Path(path) for name, path in job["outputs"].items()}
    others = {role: pathlib.Path(path) for role, path in job["external"].items()}
    how = {"threads": 1, "gpus": job["ranks"], "nodes": 1, "report": print, "external": others}
    try:
        train(job["config"], **files, outputs=outputs, **how)
    except UserError as error:
        sys.exit(f"UserError: {error}")
    """
)


class Job:
    """One training run in a folder, as its rule would start it; may be started again."""

    def __init__(
        self,
        folder: Path,
        config: dict,
        results: Path,
        ranks: int = 1,
        base_model: Path | None = None,
        external: dict[str, Path] | None = None,
    ):
        self.folder, self.state = folder, folder / "state"
        data = {name: next(results.glob(f"data/*/{name}.parquet")) for name in ("train", "val")}
        files = {
            "train_file": data["train"],
            "val_file": data["val"],
            "base_model": base_model or results / "models/tiny_qwen3/arithmetic",
            "state_dir": self.state,
        }
        outputs = {part: folder / "out" / name for part, name in PARTS.items()}
        folder.mkdir(parents=True)
        (folder / "job.json").write_text(
            json.dumps(
                {"config": config, "files": files, "outputs": outputs, "ranks": ranks, "external": external or {}},
                default=str,
            ),
            encoding="utf-8",
        )
        (folder / "job.py").write_text(JOB)

    def start(self) -> subprocess.Popen:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
        command = [sys.executable, str(self.folder / "job.py"), str(self.folder / "job.json")]
        with open(self.folder / "log.txt", "a") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)

    def finish(self) -> int:
        """Run to the end; the exit status."""
        process = self.start()
        try:
            return process.wait(timeout=SECONDS)
        finally:
            process.kill()

    def wait_for(self, arrived, process: subprocess.Popen) -> None:
        def look():
            assert process.poll() is None, self.log[-3000:]
            return arrived()

        wait_for(look, lambda: self.log[-3000:])

    @property
    def log(self) -> str:
        return (self.folder / "log.txt").read_text(errors="replace")

    @property
    def records(self) -> list[dict]:
        file = self.state / "metrics.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    @property
    def checkpoint(self) -> int:
        """Step of the last whole checkpoint."""
        file = self.state / "checkpoints" / "latest_checkpointed_iteration.txt"
        return int(file.read_text() or 0) if file.exists() else 0


@pytest.fixture(scope="module")
def workflow(tmp_path_factory):
    """config/verl_cpu.yaml from parquet to report."""
    folder = tmp_path_factory.mktemp("workflow")
    for name in ("config", "profiles", "envs", "resources"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copytree(ROOT / "workflow", folder / "workflow", ignore=shutil.ignore_patterns(".snakemake", "__pycache__"))
    snakemake = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--cores", "1", "--configfile"]
    for words in (["config/verl_cpu.yaml"], ["config/verl_cpu.yaml", "--report", "results/report.html"]):
        done = subprocess.run(
            [*snakemake, *words], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=2400
        )
        assert done.returncode == 0, done.stdout[-3000:] + _logs(folder)
    return folder


def _logs(folder: Path) -> str:
    return "".join(file.read_text(errors="replace")[-3000:] for file in folder.glob("results/logs/train/**/*.log"))


def records_of(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def assert_sound(records: list[dict], steps: int) -> None:
    """Every step once, with finite numbers; sampler and trainer agree on the weights and on the log-probs."""
    assert [record["step"] for record in records] == list(range(steps + 1))
    for record in records[1:]:
        assert None not in record.values()
        assert record["rollout/logprob_gap_abs_mean"] < 1e-4
        if "guard/null_contrast_abs_max" in record:
            assert record["guard/null_contrast_abs_max"] < 1e-4
            assert record["guard/alignment_gain"] > 1
    assert any(record.get("actor/grad_norm", 0) > 0 for record in records[1:])


def assert_trained(model: Path, base: Path) -> None:
    """Loadable by transformers, of the same shape, and not the base model."""
    (trained, _), (initial, _) = (load_model(folder, torch.device("cpu")) for folder in (model, base))
    moved = [float((a - b).abs().max()) for a, b in zip(trained.parameters(), initial.parameters(), strict=True)]
    assert 0 < max(moved) < 0.1


@pytest.mark.parametrize("variant", ["grpo-verl", "rlcsd-verl"])
def test_a_config_runs_from_parquet_to_report(workflow, variant):
    folder = workflow / RUNS / variant / "seed0"
    records = records_of(folder / "metrics.jsonl")
    assert_sound(records, steps=4)
    assert [record["step"] for record in records if "val/chain-3/mean@1" in record] == [0, 2, 4]
    assert_trained(folder / "model", workflow / "results/models/tiny_qwen3/arithmetic")
    provenance = json.loads((folder / "provenance.json").read_text())
    assert {"verl", "ray", "torch"} <= set(provenance["packages"])
    assert provenance["attention"] == "sdpa"
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"] == "verl"
    report = (workflow / "results/report.html").read_text(errors="replace")
    assert variant in report
    assert variant in (workflow / "results/tables/main.csv").read_text()


def test_both_methods_drew_the_same_from_the_same_weights(workflow):
    """Draws are keyed: before the first update nothing can differ."""
    first = [
        records_of(workflow / RUNS / variant / "seed0/metrics.jsonl")[1] for variant in ("grpo-verl", "rlcsd-verl")
    ]
    for name in ("reward/mean", "response/length_mean", "tokens/generated"):
        assert first[0][name] == first[1][name]


def test_validation_draws_are_files_like_those_of_evaluation(workflow):
    files = sorted(workflow.glob("results/state/*/validation/step_*/chain-3.parquet"))
    assert len(files) == 2 * 3
    draws = read_draws(files[0])
    assert len(draws) == 4
    assert set(draws["draw"]) == {0}


def test_a_sigkill_costs_no_step_and_repeats_none(workflow, tmp_path):
    """Killed after the third step's checkpoint; the teacher is then a snapshot of the second step's weights."""
    whole = workflow / RUNS / "rlcsd-verl/seed0"
    job = Job(tmp_path / "job", yaml.safe_load((whole / "config.yaml").read_text()), workflow / "results")
    process = job.start()
    job.wait_for(lambda: job.checkpoint == 3, process)
    mine = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(mine, timeout=120)
    # Ray's agents, which hold nothing, take minutes to notice; whoever trains or samples must be gone.
    assert {each.name() for each in alive} <= {"ray::RuntimeEnvAgent", "ray::DashboardAgent"}
    before = (job.state / "metrics.jsonl").read_text()
    assert [json.loads(line)["step"] for line in before.splitlines()] == [0, 1, 2, 3]

    assert job.finish() == 0, job.log[-3000:]
    after = (tmp_path / "job/out/metrics.jsonl").read_text()
    assert after.startswith(before)
    resumed, uninterrupted = (records_of(f) for f in (tmp_path / "job/out/metrics.jsonl", whole / "metrics.jsonl"))
    assert_sound(resumed, steps=4)
    assert_alike(resumed, uninterrupted)
    assert not (job.state / "checkpoints").exists()
    assert job.finish() == 0  # published again, not trained again
    assert "complete in" in job.log


def test_a_dead_rollout_engine_ends_the_run_and_says_so(workflow, tmp_path):
    config = yaml.safe_load((workflow / RUNS / "grpo-verl/seed0/config.yaml").read_text())
    job = Job(tmp_path / "job", config | {"steps": 500}, workflow / "results")
    process = job.start()
    job.wait_for(lambda: len(job.records) > 1, process)
    engines = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # some of Ray's live for a moment
            if "VLLM::" in " ".join(child.cmdline()) or "VLLM::" in child.name():
                engines.append(child)
    assert engines
    for engine in engines:
        engine.kill()
    assert process.wait(timeout=SECONDS) == 1
    said = job.log.strip().splitlines()[-1]
    assert said.startswith("UserError: ")
    assert "resumes from its last checkpoint" in said
    # By what noticed first: the watchdog, the sampling of responses, or a call to the dead engine itself.
    assert any(
        words in said for words in ("a rollout engine died", "could not be drawn", "could be drawn", "EngineCore")
    )


@pytest.mark.parametrize(
    "variant",
    [
        "opsd",
        *[
            pytest.param(name, marks=pytest.mark.verl_full)
            for name in ("sdpo", "srpo", "rlsd", "opsd_ectr", "rlsd_ectr", "rlsd_add", "rlsd_hybrid")
        ],
    ],
)
def test_other_methods_end_to_end(workflow, tmp_path, variant):
    """Those with distributions at the top ids, with a moving average, with the initial weights as teacher."""
    config = resolved(workflow, variant)
    job = Job(tmp_path / "job", config, workflow / "results")
    assert job.finish() == 0, job.log[-3000:]
    assert_sound(job.records, steps=config["steps"])
    assert any("signal/evidence_abs_mean" in r or "signal/divergence_mean" in r for r in job.records)
    assert_trained(tmp_path / "job/out/model", workflow / "results/models/tiny_qwen3/arithmetic")


@pytest.mark.verl_full
@pytest.mark.parametrize("teacher", [{}, {"kind": "trust_region", "student_share": 0.3}], ids=["ema", "trust_region"])
def test_feedback_of_the_grader_reaches_a_teacher_end_to_end(tmp_path, teacher):
    """Official SDPO on chains with wrong facts: what the reward function says of a response, its teacher reads."""
    changes = {"objective": {"top_k": 16}, "teacher": teacher, "hints": {"feedback": "always"}}
    study = load_study(configuration("sdpo_official", changes))
    for split in ("train", "val"):
        recipe = study.split("wrong_facts", split, "tiny_qwen3")
        write_generated(recipe, split, tmp_path / f"data/facts/{split}.parquet")
    config = study.resolve("wrong_facts", "tiny_qwen3", "sdpo_official", 0)
    base = ROOT / "resources/base_models/tiny_qwen3/wrong_facts"
    job = Job(tmp_path / "job", config, tmp_path, base_model=base)
    assert job.finish() == 0, job.log[-3000:]
    assert_sound(job.records, steps=2)
    for record in job.records[1:]:
        assert record["hints/feedback_used_share"] == record["hints/feedback_available_share"] > 0.5
        assert record["signal/divergence_mean"] > 0
    rows = read_records(tmp_path / "job/out/records.parquet").to_pylist()
    said = [row for row in rows if row["feedback"]]
    assert said
    for row in said:
        assert row["correct_feedback"] == row["feedback"]
        assert not row["correct"]
    assert_trained(tmp_path / "job/out/model", base)


@pytest.mark.verl_full
@pytest.mark.parametrize("kind", ["server", "self"])
def test_a_critic_reads_wrong_rollouts_end_to_end(tmp_path, kind):
    """A server that the job starts beside verl, and the student at its own samplers; both are vLLM."""
    started = {"kind": "server", "start": True, "gpus": 0, "model": "tiny_qwen3_critique"}
    changes = {
        "rollout": {"max_prompt_tokens": 300},  # the student's own server takes no longer prompt of the critic
        "hints": {"source": "critique", "template": "critique", "max_tokens": 100},
        "critic": {**(started if kind == "server" else {"kind": kind}), "max_tokens": 48, "max_failed_share": 0.0},
    }
    study = load_study(configuration("rlsd_add", changes, "arithmetic", "tiny_qwen3_critique"))
    for split in ("train", "val"):
        recipe = study.split("arithmetic", split, "tiny_qwen3_critique")
        write_generated(recipe, split, tmp_path / f"data/chains/{split}.parquet")
    config = study.resolve("arithmetic", "tiny_qwen3_critique", "rlsd_add", 0)
    base = ROOT / "resources/base_models/tiny_qwen3_critique/arithmetic"
    external = {"critic": base} if kind == "server" else {}
    job = Job(tmp_path / "job", config, tmp_path, base_model=base, external=external)
    assert job.finish() == 0, job.log[-3000:]
    assert_sound(job.records, steps=2)
    for record in job.records[1:]:
        assert record["critique/coverage"] == pytest.approx(1 - record["reward/mean"])
        assert record["critique/failed"] == 0
        assert record["critique/tokens_mean"] > 1
        assert "teacher/delta_wrong" in record
    assert (job.state / "critic_server.log").exists() == (kind == "server")
    said = (job.state / "critiques.jsonl").read_text().splitlines()
    assert len(said) > 2
    servers = [each for each in psutil.process_iter(["cmdline"]) if "critic" in (each.info["cmdline"] or [])]
    assert not servers
    assert_trained(tmp_path / "job/out/model", base)


@pytest.mark.verl_full
def test_a_search_at_test_time_goes_through_verl_end_to_end(tmp_path):
    """Self-distillation on a question of the toy of programs: two rounds of attempts, and an update between them."""
    through = {
        "trainer": "verl",
        "rollout": {"engine": "vllm", "old_logprobs": "recompute"},
        "verl": {"device": "cpu", "dtype": "float32", "attention": "sdpa", "score_tokens": 2048},
    }
    config: dict = {}
    for name in ("defaults", "models", "methods", "tasks", "discover_demo"):
        config = merged(config, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text(encoding="utf-8")))
    study = load_study(merged(config, {"overrides": {"all": through}}))
    files = {split: tmp_path / f"{split}.parquet" for split in ("train", "val")}
    for split, file in files.items():
        write_generated(study.split("programs", split, "tiny_qwen3"), split, file)
    (tmp_path / "questions.csv").write_text("index\n15\n")  # of 4,288 draws of the untrained model none passes
    discover(
        study.discoveries.of("programs", "tiny_qwen3", "self_distillation", 0) | {"budget": 32},
        train_file=files["train"],
        val_file=files["val"],
        base_model=ROOT / "resources/base_models/tiny_qwen3/programs",
        questions_file=tmp_path / "questions.csv",
        state_dir=tmp_path / "state",
        output=tmp_path / "out.parquet",
        part=0,
        report=print,
    )
    found = read_attempts(tmp_path / "out.parquet")
    assert found["attempt"].tolist() == list(range(1, 33))
    assert found["turn"].tolist() == [1] * 16 + [2] * 16
    assert found["updates"].tolist() == [0] * 16 + [1] * 16
    trained = found["tokens_trained"].to_numpy()
    assert (trained[:16] > found["tokens_written"][:16]).all()
    assert (trained[16:] == 0).all()  # no attempt would use an update
    assert found["response"].nunique() > 2
    assert found["feedback"].str.len().min() > 0
    assert not (tmp_path / "state/questions/15/export").exists()


def configuration(variant: str, changes: dict, task: str = "wrong_facts", model: str = "tiny_qwen3") -> dict:
    """The registries with config/verl_cpu.yaml, for one variant of two steps."""
    config: dict = {}
    for name in ("defaults", "models", "methods", "tasks", "verl_cpu"):
        config = merged(config, yaml.safe_load((ROOT / f"config/{name}.yaml").read_text(encoding="utf-8")))
    config["matrix"] = {"tasks": [task], "models": [model], "variants": [variant], "seeds": [0]}
    more = {"steps": 2} | changes
    return merged(config, {"overrides": {"all": {"steps": 2}, "methods": {variant: more}}})


@pytest.mark.verl_full
def test_two_ranks_with_a_sampler_each_do_what_one_does(workflow, tmp_path):
    """Rows shared out, gradients averaged, teachers in shards: the same numbers."""
    whole = workflow / RUNS / "rlcsd-verl/seed0"
    config = yaml.safe_load((whole / "config.yaml").read_text())
    job = Job(tmp_path / "job", config, workflow / "results", ranks=2)
    assert job.finish() == 0, job.log[-3000:]
    assert_alike(job.records, records_of(whole / "metrics.jsonl"))


def assert_alike(records: list[dict], others: list[dict]) -> None:
    """All but times and memory, up to rounding."""
    compared = 0
    for one, other in zip(records, others, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            if not name.startswith(("timing_s/", "memory/")):
                assert one[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), (one["step"], name)
                compared += name.startswith(("teacher/", "hints/", "signal/"))
    assert compared > 20


def resolved(workflow: Path, variant: str) -> dict:
    """A run's settings under config/verl_cpu.yaml, two steps of it."""
    code = textwrap.dedent(
        f"""
        import json, yaml
        from snakemake.utils import update_config
        from selfdistill.study.study import load_study
        config, names = {{}}, ["defaults", "models", "methods", "tasks", "verl_cpu"]
        for name in names:
            update_config(config, yaml.safe_load(open(f"config/{{name}}.yaml")))
        config["overrides"]["all"] |= {{"steps": 2}}
        study = load_study(config, [f"config/{{name}}.yaml" for name in reversed(names)])
        print(json.dumps(study.resolve("arithmetic", "tiny_qwen3", {variant!r}, 0)))
        """
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    done = subprocess.run([sys.executable, "-c", code], cwd=workflow, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


BAD = {
    "/no/such/model: no such model folder": ["actor_rollout_ref.model.path=/no/such/model"],
    "n_gpus_per_node is 8": ["trainer.n_gpus_per_node=8", "actor_rollout_ref.model.path={base}"],
    "n_gpu_per_node": ["trainer.n_gpu_per_node=8", "actor_rollout_ref.model.path={base}"],
    "unknown key 'tau'": ["+selfdistill.tau=1", "actor_rollout_ref.model.path={base}"],
}
#: The command of plain verl, several times in one process: importing it takes most of its seconds.
COMMANDS = """
import contextlib, io, json, sys
from selfdistill.training.verl.__main__ import main
found = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = main(words)
    found.append((status, said.getvalue()))
print("found", json.dumps(found))
"""


def test_bad_input_is_one_message_in_seconds(tmp_path):
    """On the command line of plain verl, on which a GPU is the default."""
    base = ROOT / "resources/base_models/tiny_qwen3/arithmetic"
    always = [
        "+selfdistill.implementation=grpo",
        "algorithm.adv_estimator=grpo",
        "data.shuffle=False",
        "actor_rollout_ref.actor.strategy=fsdp2",
        "actor_rollout_ref.rollout.name=vllm",
        "actor_rollout_ref.rollout.logprobs_mode=raw_logprobs",
        "actor_rollout_ref.rollout.n=4",
        "data.max_prompt_length=64",
        "data.max_response_length=64",
    ]
    asked = [[*always, *[word.format(base=base) for word in words]] for words in BAD.values()]
    command = [sys.executable, "-c", COMMANDS, json.dumps(asked)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    [answers] = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("found ")]
    for said, (status, message) in zip(BAD, answers, strict=True):
        assert status == 1
        assert "Traceback" not in message
        assert said in message.strip().splitlines()[-1]
