"""A search through verl, without verl: its command line, the rounds that its trainer writes, what becomes of them."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from configurations import shipped, study_of
from waiting import SECONDS

from selfdistill.errors import UserError
from selfdistill.evaluation.attempts import read_attempts
from selfdistill.study.verl_words import hydra_overrides
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import read_problems
from selfdistill.training.discovery import job
from selfdistill.training.discovery.self_distillation import question_seed
from selfdistill.training.rollouts import StepRollouts
from selfdistill.training.verl import run as verl_run
from selfdistill.training.verl.search_rounds import RoundsFile, read_rounds

GROUP, BUDGET = 4, 14  # three whole groups
METRICS = {"tokens/teacher_forwarded": 100, "tokens/updated": 60, "actor/skipped_updates": 1, "reward/mean": 0.0}


def rollouts(texts, correct):
    count = len(texts)
    return StepRollouts(
        problems=[None] * count,
        prompts=[[1] * 7] * count,
        responses=[[1] * (i + 1) for i in range(count)],
        texts=texts,
        answers=texts,
        correct=correct,
        logprobs=[np.zeros(i + 1) for i in range(count)],
        truncated=[i == 0 for i in range(count)],
        feedback=None if all(correct) else ["" if right else "7 -> 3 (not 5)" for right in correct],
    )


def test_rounds_after_the_last_checkpoint_are_made_again(tmp_path):
    file = RoundsFile(tmp_path, 0, updates_of_step=2)
    for turn in (1, 2, 3):
        file.add(turn, rollouts(["a", "b"], [False, False]), METRICS)
    with open(tmp_path / "rounds.jsonl", "a") as torn:
        torn.write('{"turn": 4, "resp')
    assert [each.turn for each in read_rounds(tmp_path)] == [1, 2, 3]
    again = RoundsFile(tmp_path, 2, updates_of_step=2)
    again.add(3, rollouts(["c", "d"], [False, True]))
    found = read_rounds(tmp_path)
    assert [(each.turn, each.responses) for each in found] == [(1, ["a", "b"]), (2, ["a", "b"]), (3, ["c", "d"])]
    assert [(each.updates, each.trained, each.passes) for each in found] == [(1, 160, False)] * 2 + [(0, 0, True)]
    assert (found[2].feedback, found[2].truncated) == (["7 -> 3 (not 5)", ""], [True, False])
    assert (found[2].read, found[2].written) == ([7, 7], [1, 2])


@pytest.fixture
def of_verl():
    """The demo's run, through verl on a CPU."""
    through = "overrides: {all: {trainer: verl, rollout: {engine: vllm, old_logprobs: recompute}, verl: {device: cpu}}}"
    run = study_of(through, files=shipped("discover_demo")).resolve("programs", "tiny_qwen3", "test_time", 0)
    run = copy.deepcopy(run)
    run["rollout"]["group_size"] = GROUP
    return run


@pytest.fixture
def searched(of_verl, program_files, questions, tmp_path, monkeypatch):
    """Runs a job whose processes of verl make scripted rounds; returns its attempts, and what each process was told."""
    chosen = tmp_path / "questions.csv"
    chosen.write_text("index\n0\n1\n")
    right = {q.asked.index: q.whole.solution for q in questions[:2]}

    def go(passes, dies_after=None, **more):
        told = []

        def process(command, environment, reason, clock, check=None):
            words = dict(word.split("=", 1) for word in command if "=" in word)
            (asked,) = read_problems(words["data.train_files"].strip("'"))
            told.append((asked.index, words))
            state = Path(words["+selfdistill.state"].strip("'"))
            (state / "checkpoints").mkdir(exist_ok=True)
            saved = state / "checkpoints" / "step"
            done = int(saved.read_text()) if saved.exists() else 0
            file = RoundsFile(state, done, updates_of_step=1)
            for turn in range(done + 1, int(words["trainer.total_training_steps"]) + 1):
                if dies_after is not None and len(read_rounds(state)) == dies_after:
                    raise UserError("vLLM is gone")
                won = passes.get(asked.index) == turn
                texts = ["nonsense"] * (GROUP - 1) + [right[asked.index] if won else "nothing"]
                made = rollouts(texts, [grade_response(t, asked, "programs").correct for t in texts])
                file.add(turn, made, None if won else METRICS | {"actor/skipped_updates": 0})
                if won:
                    return
                saved.write_text(str(turn - 1))

        monkeypatch.setattr(verl_run, "_run", process)
        settings = {"run": of_verl, "search": "self_distillation", "engine": "own", "parts": 1, "budget": BUDGET}
        job.discover(
            settings | {"checkpoint_every": 5, **more},
            **program_files,
            questions_file=chosen,
            state_dir=tmp_path / "state",
            output=tmp_path / "out.parquet",
            part=0,
            report=lambda line: None,
            gpus=1,
        )
        return read_attempts(tmp_path / "out.parquet"), told

    return go


def test_a_question_has_a_process_of_its_own_and_ends_with_its_first_pass(searched, questions, of_verl, tmp_path):
    attempts, told = searched({0: 2})
    assert [index for index, _ in told] == [0, 1]
    by_question = dict(list(attempts.groupby("question")))
    first, second = by_question[questions[0].id], by_question[questions[1].id]
    assert first["attempt"].tolist() == list(range(1, 9))
    assert first["turn"].tolist() == [1] * 4 + [2] * 4
    assert first["updates"].tolist() == [0] * 4 + [1] * 4
    assert first["correct"].tolist() == [False] * 7 + [True]
    assert first["held_back"].tolist() == [None] * 7 + [True]
    assert first["tokens_trained"].tolist() == [40.0] * 4 + [0.0] * 4
    assert len(second) == BUDGET // GROUP * GROUP
    assert not second["correct"].any()
    seeds = [int(words["+selfdistill.seed"]) for _, words in told]
    assert seeds == [question_seed(of_verl["seed"], q) for q in questions[:2]]
    assert not list((tmp_path / "state").glob("questions/*/checkpoints"))


def test_the_words_of_a_search_neither_validate_nor_differ_otherwise(searched, of_verl, tmp_path):
    _, told = searched({0: 1, 1: 1})
    words = told[0][1]
    assert words["trainer.total_training_steps"] == str(BUDGET // GROUP)
    assert (words["trainer.test_freq"], words["trainer.save_freq"]) == ("0", "5")
    assert (words["trainer.val_before_train"], words["+selfdistill.search"]) == ("false", "true")
    places = {"train_file": "a", "val_file": "b", "model": "c", "state": "d"}
    machine = {"gpus": 1, "nodes": 1, "attention": "sdpa"}
    plain = dict(word.split("=", 1) for word in hydra_overrides(of_verl, **places, **machine))
    search = dict(word.split("=", 1) for word in hydra_overrides(of_verl, **places, **machine, search=True))
    assert {key for key in search if plain.get(key) != search[key]} == {
        "trainer.val_before_train",
        "+selfdistill.search",
    }
    assert plain["trainer.val_before_train"] == "true"


def test_a_killed_process_goes_on_from_its_checkpoint_and_a_finished_question_is_not_asked_again(searched):
    with pytest.raises(UserError, match="vLLM is gone"):
        searched({}, dies_after=2)
    attempts, told = searched({})
    assert [index for index, _ in told] == [0, 1]
    assert attempts.groupby("question").size().tolist() == [12, 12]
    assert searched({0: 1})[1] == []  # all is there


def test_a_process_that_ends_too_early_is_no_result(searched, monkeypatch):
    with pytest.raises(UserError, match="vLLM is gone"):
        searched({}, dies_after=1)
    monkeypatch.setattr(job, "run_verl", lambda *args, **kwargs: None)
    with pytest.raises(UserError, match=r"verl ended after 1 of 3 rounds, and nothing passes in them"):
        searched({})


def test_the_job_of_a_search_needs_no_verl():
    code = "import selfdistill.training.discovery.job, sys; sys.exit('verl' in sys.modules or 'ray' in sys.modules)"
    path = str(Path(job.__file__).parents[3])
    subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": path, "PATH": "/usr/bin"}, check=True, timeout=SECONDS
    )
