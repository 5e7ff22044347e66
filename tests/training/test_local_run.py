"""A whole local run: what it publishes, what a kill costs it, what it refuses."""

import datetime
import inspect
import json
import platform
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_run import go, metrics_of, outputs_in, weights_hash
from transformers.utils import chat_template_utils
from waiting import SECONDS

from selfdistill.errors import UserError
from selfdistill.files import sha256_file
from selfdistill.models.loading import load_model
from selfdistill.runs.records import read_records
from selfdistill.runs.state_folder import StateFolder
from selfdistill.runs.watched import States
from selfdistill.tasks.schema import Problem, read_problems, write_problems
from selfdistill.training.local import run
from selfdistill.training.local.engine import LocalEngine
from selfdistill.training.local.trainer import LocalTrainer
from selfdistill.training.step import TrainingStep


class StoppedError(Exception):
    """Stands for a kill: raised out of the progress report of a step."""


@pytest.fixture(scope="module")
def watched():
    """What somebody who looks on sees of `uninterrupted` after step 2."""
    return []


@pytest.fixture(scope="module")
def uninterrupted(small_run, template, tmp_path_factory, watched):
    folder = tmp_path_factory.mktemp("whole")

    def report(line):
        if line.startswith("step 2/"):
            watched.extend(States(folder).look())

    return go(template, small_run, folder / "state", report)  # its state: folder/state/state


def test_publishes_config_metrics_provenance_and_a_loadable_model(uninterrupted, small_run):
    records = metrics_of(uninterrupted["metrics"])
    assert [record["step"] for record in records] == [0, 1, 2, 3, 4]
    for name in (
        "reward/mean",
        "response/length_mean",
        "response/truncated",
        "actor/entropy",
        "actor/grad_norm",
        "actor/loss",
    ):
        assert all(name in record for record in records[1:]), name
    assert [("val/chain-1/mean@2" in record) for record in records] == [True, False, True, False, True]
    assert yaml.safe_load(uninterrupted["config"].read_text())["method"] == "rlcsd"
    provenance = json.loads(uninterrupted["provenance"].read_text())
    assert provenance["weights_sha256"] == weights_hash(uninterrupted)
    assert provenance["base_model_sha256"] == sha256_file(small_run["base_model"] / "model.safetensors")
    trained, _ = load_model(uninterrupted["model"], torch.device("cpu"))
    before = load_file(small_run["base_model"] / "model.safetensors")
    moved = [name for name, value in trained.state_dict().items() if name in before and not value.equal(before[name])]
    assert moved


def test_who_looks_on_sees_it_under_its_name(uninterrupted, watched):
    [seen] = watched
    assert (seen.name, seen.word, seen.done, seen.total) == ("arithmetic/tiny/rlcsd/0", "training", 2, 4)
    assert seen.host.startswith(platform.node())
    assert seen.left > 0


def test_publishes_the_rollouts_that_were_to_be_recorded(uninterrupted):
    steps = read_records(uninterrupted["records"], ["step"])["step"].to_pylist()
    assert steps == [1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert not list((uninterrupted["records"].parents[1] / "state").glob("records/*"))  # the result has them


@pytest.mark.parametrize(("stop_at", "every"), [(1, 2), (2, 1), (3, 2)])
def test_a_run_stopped_at_any_step_ends_the_same(small_run, config, uninterrupted, tmp_path, stop_at, every):
    config["checkpoint"]["every"] = every

    def stop(line):
        if line.startswith(f"step {stop_at}/"):
            raise StoppedError

    with pytest.raises(StoppedError):
        go(config, small_run, tmp_path, stop)
    assert not (tmp_path / "out").exists()
    outputs = go(config, small_run, tmp_path)
    assert weights_hash(outputs) == weights_hash(uninterrupted)
    assert metrics_of(outputs["metrics"]) == metrics_of(uninterrupted["metrics"])
    assert sha256_file(outputs["records"]) == sha256_file(uninterrupted["records"])


def test_a_spoilt_checkpoint_costs_a_step_and_a_spoilt_result_is_not_published(
    small_run, config, uninterrupted, tmp_path
):
    def stop(line):
        if line.startswith("step 4/"):
            raise StoppedError

    with pytest.raises(StoppedError):
        go(config, small_run, tmp_path, stop)
    newest = tmp_path / "state" / "checkpoints" / "step_000003" / "weights.safetensors"
    newest.write_bytes(bytes(newest.stat().st_size))
    said = []
    outputs = go(config, small_run, tmp_path, said.append)
    assert [line for line in said if "step_000003" in line and "spoilt" in line]
    assert any(line.startswith("resumed from step 2") for line in said)
    assert weights_hash(outputs) == weights_hash(uninterrupted)
    assert metrics_of(outputs["metrics"]) == metrics_of(uninterrupted["metrics"])
    with open(outputs["model"] / "model.safetensors", "r+b") as file:  # the user's, to be edited
        file.write(b"changed")
    assert weights_hash(go(config, small_run, tmp_path)) == weights_hash(uninterrupted)
    (tmp_path / "state" / "final" / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(UserError, match=rf"metrics\.jsonl has 0 bytes .*; delete {tmp_path}/state and run"):
        go(config, small_run, tmp_path)


class Midnight(datetime.datetime):
    """A clock on which another day has come."""

    @classmethod
    def now(cls, tz=None):
        return datetime.datetime(2031, 12, 31)


def test_a_run_resumed_on_another_day_ends_the_same(small_run, config, tmp_path, monkeypatch):
    """A template that tells the day tells that of the run's settings."""
    base = shutil.copytree(small_run["base_model"], tmp_path / "base")
    template = base / "chat_template.jinja"
    template.write_text("{{ strftime_now('%d') }}" + template.read_text())
    small_run, config["steps"] = {**small_run, "base_model": base}, 2

    def stop(line):
        if line.startswith("step 1/"):
            raise StoppedError

    whole = go(config, small_run, tmp_path / "whole")
    with pytest.raises(StoppedError):
        go(config, small_run, tmp_path / "cut", stop)
    monkeypatch.setattr(chat_template_utils, "datetime", Midnight)
    resumed = go(config, small_run, tmp_path / "cut")
    assert weights_hash(resumed) == weights_hash(whole)
    assert metrics_of(resumed["metrics"]) == metrics_of(whole["metrics"])
    later = go({**config, "chat": {"thinking": True, "date": "2031-12-31"}}, small_run, tmp_path / "later")
    assert weights_hash(later) != weights_hash(whole)


#: Teacher kinds, each with a method whose signal needs something else of it.
TEACHERS = {
    "live": ("opsd", {}),
    "snapshot": ("rlsd", {"sync_interval": 3, "clock": "optimizer_steps"}),
    "ema": ("srpo", {"ema_decay": 0.7}),
    "trust_region": ("sdpo", {"student_share": 0.5}),
}


@pytest.mark.parametrize("kind", TEACHERS)
def test_a_resumed_run_has_the_teacher_of_an_uninterrupted_one(small_run, config, tmp_path, kind):
    """Stopped in the third step, resumed after the second: the snapshot of the third optimizer step is in the state."""
    method, options = TEACHERS[kind]
    config |= {"method": method, "variant": method, "implementation": method}
    config["objective"] = {} if method == "rlsd" else {"top_k": 8}
    config["teacher"] = {"kind": kind, **options}
    config["hints"]["source"] = "gt_cot"
    config["validation"] |= {"every": 4, "problems": 1, "draws": 1}
    whole = go(config, small_run, tmp_path / "whole")

    def stop(line):
        if line.startswith("step 3/"):
            raise StoppedError

    with pytest.raises(StoppedError):
        go(config, small_run, tmp_path / "stopped", stop)
    said = []
    resumed = go(config, small_run, tmp_path / "stopped", said.append)
    assert any(line.startswith("resumed from step 2") for line in said)
    assert weights_hash(resumed) == weights_hash(whole)
    assert sha256_file(resumed["records"]) == sha256_file(whole["records"])
    records = metrics_of(resumed["metrics"])
    assert records == metrics_of(whole["metrics"])
    # A step in which nothing can be learned asks no teacher.
    gains = [record["guard/alignment_gain"] for record in records if "guard/alignment_gain" in record]
    assert len(gains) >= 2
    assert min(gains) > 1


#: Reads the library once, and starts two processes that kill themselves in the middle of a step: the first in its
#: second step, the other, which resumes, in its first.
KILLED = """
import json, os, pathlib, signal, sys
from selfdistill.training.local import run
from selfdistill.training.step import TrainingStep

job = json.loads(pathlib.Path(sys.argv[1]).read_text())
folders = {name: {key: pathlib.Path(path) for key, path in job[name].items()} for name in ("files", "outputs")}
update, left = TrainingStep._update, 0


def killed(self, *arguments):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(self, *arguments)


TrainingStep._update = killed
for left in (2, 1):
    child = os.fork()
    if not child:
        outputs, state = folders["outputs"], pathlib.Path(job["state"])
        run.train(job["config"], **folders["files"], state_dir=state, outputs=outputs, threads=1, report=print)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == -signal.SIGKILL, status
"""


def test_sigkill_in_the_middle_of_a_step(small_run, config, uninterrupted, tmp_path):
    (tmp_path / "job.py").write_text(KILLED)
    job = {
        "config": config,
        "files": {key: str(path) for key, path in small_run.items()},
        "outputs": {key: str(path) for key, path in outputs_in(tmp_path).items()},
        "state": str(tmp_path / "state"),
    }
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, str(tmp_path / "job.py"), str(tmp_path / "job.json")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout
    assert not outputs_in(tmp_path)["metrics"].exists()
    outputs = go(config, small_run, tmp_path)
    assert weights_hash(outputs) == weights_hash(uninterrupted)
    assert metrics_of(outputs["metrics"]) == metrics_of(uninterrupted["metrics"])
    assert sha256_file(outputs["records"]) == sha256_file(uninterrupted["records"])


def test_a_complete_run_is_published_again_without_training(small_run, config, tmp_path, monkeypatch):
    config["steps"] = 1
    outputs = go(config, small_run, tmp_path)
    first = weights_hash(outputs)
    outputs["metrics"].unlink()
    monkeypatch.setattr(run, "LocalTrainer", None)  # any use would fail
    outputs = go(config, small_run, tmp_path)
    assert outputs["metrics"].exists()
    assert weights_hash(outputs) == first


HOLDER = """
import pathlib, sys
from selfdistill.runs.folder_lock import folder_lock
with folder_lock(pathlib.Path(sys.argv[1]), print, "training"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_trainer_waits_for_the_first(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        said = []

        def report(line):
            said.append(line)
            holder.stdin.close()

        with StateFolder(tmp_path).locked(report):
            pass
    assert holder.returncode == 0
    [line] = said
    assert "another process" in line


REFUSALS = {
    "an unknown key in a section": ({"rollout": {"prompt_per_step": 4}}, "prompt_per_step"),
    "an unknown objective key": ({"objective": {"taw": 1}}, "taw"),
    "an unknown method": ({"implementation": "rlsdc"}, "rlsdc"),
    "a teacher that the method lacks": ({"teacher": {"kind": "none"}}, "teacher.kind"),
    "an unknown teacher": ({"teacher": {"kind": "frozen"}}, "trust_region"),
    "an unknown truncation": ({"hints": {"truncation": "right"}}, "hint_body"),
    "an unknown dtype": ({"optimizer": {"master_dtype": "float16"}}, "bfloat16"),
    "a support larger than the vocabulary": ({"implementation": "opsd", "objective": {"top_k": 5000}}, "top_k is 5000"),
    "a prompt over the limit": ({"rollout": {"max_prompt_tokens": 5}}, "max_prompt_tokens = 5"),
    "contexts longer than the model's positions": ({"hints": {"max_tokens": 100_000}}, "positions"),
    "a share of prompts that does not divide": ({"update": {"prompts_per_update": 3}}, "prompts_per_update"),
    "a benchmark that the file lacks": ({"benchmarks": ["chain-9"]}, "chain-9"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refuses_with_one_message_and_writes_nothing(small_run, config, tmp_path, case):
    change, said = REFUSALS[case]
    for key, value in change.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    with pytest.raises(UserError, match=said):
        go(config, small_run, tmp_path)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "state" / "metrics.jsonl").exists()


def test_a_run_without_a_method_is_refused(small_run, config, tmp_path):
    del config["implementation"]
    with pytest.raises(UserError, match="run config: top level: key 'implementation' is missing"):
        go(config, small_run, tmp_path)


def handed_over(config, files, folder, monkeypatch, report=lambda line: None):
    """What the trainer is built from."""
    caught = []

    def catch(*arguments):
        caught.append(arguments)
        raise StoppedError

    monkeypatch.setattr(run, "LocalTrainer", catch)
    with pytest.raises(StoppedError):
        go(config, files, folder, report)
    given = inspect.signature(LocalTrainer).bind(*caught[0]).arguments
    return SimpleNamespace(**given)


@pytest.mark.parametrize("lenient", [True, False])
def test_whether_the_first_role_counts_is_the_configs_choice(small_run, config, tmp_path, monkeypatch, lenient):
    config["grader"], config["reward"]["first_role_counts"] = "knights", lenient
    grade = handed_over(config, small_run, tmp_path, monkeypatch).grade
    puzzle = Problem("p", "kk", "?", "Zoey is a knight, Oliver is a knave", "", "logic", 0, "train")
    twice = r"\boxed{Zoey is a knight, Oliver is a knave, Zoey is a knave}"
    assert grade(twice, puzzle).correct is lenient
    assert grade(r"\boxed{Oliver is a knave, Zoey is a knight}", puzzle).correct
    assert not grade(r"\boxed{Zoey is a knave, Oliver is a knave, Zoey is a knight}", puzzle).correct


def test_feedback_speaks_of_a_response_that_was_cut(small_run, config, tmp_path, monkeypatch):
    config["grader"], config["prompt"] = "code", "boxed"
    trained = handed_over(config, small_run, tmp_path, monkeypatch)
    tests = json.dumps({"inputs": ["1"], "outputs": ["1"], "testtype": "stdin"})
    question = Problem("p", "q", "?", tests, "", "code", 0, "train")
    cut, whole = trained.grade_all(["Well,"] * 2, [question] * 2, [True, False])
    assert "too long" in cut.feedback
    assert whole == trained.grade("Well,", question)
    assert whole.feedback not in ("", cut.feedback)


@pytest.mark.parametrize(
    ("device", "asked", "held"),
    [("cpu", "bfloat16", "float32"), ("cpu", "float32", "float32"), ("meta", "bfloat16", "bfloat16")],
)
def test_bfloat16_weights_are_for_a_gpu(small_run, config, tmp_path, monkeypatch, device, asked, held):
    """ "meta" stands for a GPU: any device that is not a CPU."""
    monkeypatch.setattr(run, "pick_device", lambda: torch.device(device))
    if device == "meta":  # which computes nothing
        monkeypatch.setattr(run, "try_model", lambda *_: None)
    config["optimizer"]["master_dtype"] = asked
    said = []
    model = handed_over(config, small_run, tmp_path, monkeypatch, said.append).model
    assert {parameter.dtype for parameter in model.parameters()} == {getattr(torch, held)}
    assert [line for line in said if "master_dtype" in line and "float32" in line] == said[:1] * (asked != held)


def test_gt_cot_names_the_rows_without_a_solution(small_run, config, tmp_path):
    problems = read_problems(small_run["train_file"])
    problems[3] = replace(problems[3], solution="")
    write_problems(tmp_path / "train.parquet", problems)
    config["hints"]["source"] = "gt_cot"
    with pytest.raises(UserError, match=r"solution.*3|3.*solution"):
        go(config, {**small_run, "train_file": tmp_path / "train.parquet"}, tmp_path)


def test_a_run_whose_updates_are_not_finite_for_good_is_not_published(small_run, config, tmp_path, monkeypatch):
    """From step 3 of 4 on; started again it ends alike. With one such update alone it is published."""
    step, update, now = TrainingStep.run, LocalEngine.update, {}
    config["checkpoint"]["every"] = 1
    config["validation"] |= {"problems": 1, "draws": 1}

    def run_step(self, number, rollouts, *more):
        now["step"], now["updates"] = number, 0
        return step(self, number, rollouts, *more)

    def overflow(self, *arguments):
        now["updates"] += 1
        bad = now["step"] >= 3 and now["bad"](now)
        return ({}, float("inf")) if bad else update(self, *arguments)

    monkeypatch.setattr(TrainingStep, "run", run_step)
    monkeypatch.setattr(LocalEngine, "update", overflow)
    now["bad"] = lambda now: True
    lines, errors = [], []
    for _ in range(2):
        with pytest.raises(UserError, match="step 3: from here on no update was finite") as error:
            go(config, small_run, tmp_path / "bad", lines.append)
        errors.append(str(error.value))
        assert not (tmp_path / "bad" / "out").exists()
        assert not (tmp_path / "bad" / "state" / "final").exists()
    assert errors[0] == errors[1]
    assert any(line.startswith("resumed from step 3") for line in lines)
    said = [line.partition("  skipped ")[2] for line in lines if line.startswith("step 4/")]
    assert [each.partition("  ")[0] for each in said] == ["2 updates (1 not finite)"] * 2  # the other had no loss
    logged = metrics_of(tmp_path / "bad" / "state" / "metrics.jsonl")
    assert [record.get("actor/nonfinite_updates") for record in logged] == [None, 0, 0, 2, 1]
    now["bad"] = lambda now: now["step"] == 4
    outputs = go(config, small_run, tmp_path / "good")
    assert metrics_of(outputs["metrics"])[-1]["actor/nonfinite_updates"] == 1


def test_weights_that_become_infinite_are_told_at_the_next_rollout(small_run, config, tmp_path, monkeypatch):
    update = LocalEngine.update

    def diverge(self, *arguments):
        found = update(self, *arguments)
        next(self.model.parameters()).data.fill_(float("inf"))
        return found

    monkeypatch.setattr(LocalEngine, "update", diverge)
    with pytest.raises(UserError, match=r"base: the log-probs that the model gives are not finite"):
        go(config, small_run, tmp_path)
    assert not (tmp_path / "out").exists()
