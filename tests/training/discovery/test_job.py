"""Searches with a real model: killed anywhere they make the same attempts, and they do what slow references do."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_vision import picture, pictured_problem

from selfdistill.errors import UserError
from selfdistill.evaluation.attempts import read_attempts
from selfdistill.evaluation.evaluate import sampler_of
from selfdistill.models.chat import ChatSettings, end_ids
from selfdistill.models.loading import load_model
from selfdistill.runs.watched import States
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.study.discovery import SEARCHES
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import Problem, write_problems
from selfdistill.training.discovery.job import discover, draw_base
from selfdistill.training.discovery.questions import choose_questions, picked, read_questions
from selfdistill.training.discovery.self_distillation import question_seed
from selfdistill.training.discovery.speaker import Speaker

QUESTIONS = [0, 1]


class KilledError(Exception):
    """In place of a signal."""


@pytest.fixture
def chosen(tmp_path):
    file = tmp_path / "questions.csv"
    pd.DataFrame({"question": [f"programs_1/{i}" for i in QUESTIONS], "index": QUESTIONS}).to_csv(file, index=False)
    return file


def settings(run, search, **more):
    every = {"run": run, "search": search, "engine": "own", "parts": 1, "budget": 16, "checkpoint_every": 2, "batch": 4}
    return {**every, "multi_turn": {"shape": "feedback_only", "window": 48}, **more}


def made(run, search, files, chosen, folder, part=0, kill_after=None, monkeypatch=None, **more):
    """Attempts of a job; with `kill_after` it dies once it has written so many rounds."""
    output, count = folder / "out.parquet", [0]
    if kill_after is not None:
        from selfdistill.training.discovery import journal

        add = journal.Journal.add

        def dying(self, batch):
            add(self, batch)
            count[0] += 1
            if count[0] == kill_after:
                raise KilledError

        monkeypatch.setattr(journal.Journal, "add", dying)
    discover(
        settings(run, search, **more),
        **files,
        questions_file=chosen,
        state_dir=folder / "state",
        output=output,
        part=part,
        report=lambda line: None,
    )
    return read_attempts(output)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_that_is_killed_makes_the_same_attempts(run, search, program_files, chosen, tmp_path, monkeypatch):
    whole = made(run, search, program_files, chosen, tmp_path / "whole")
    assert set(whole["question"]) == {f"programs_1/{i}" for i in QUESTIONS}
    for rounds in (1, 3, 4):  # before and after a checkpoint of self-distillation; at the end of a budget
        folder = tmp_path / f"killed{rounds}"
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            made(run, search, program_files, chosen, folder, kill_after=rounds, monkeypatch=patch)
        pd.testing.assert_frame_equal(made(run, search, program_files, chosen, folder), whole)


def test_seeds_and_questions_have_streams_of_their_own(run, questions, program_files, chosen, tmp_path):
    assert len({question_seed(seed, q) for seed in (0, 1) for q in questions}) == 2 * len(questions)
    for search in SEARCHES[1:]:
        first = made(run, search, program_files, chosen, tmp_path / f"{search}0")
        other = made({**run, "seed": 1}, search, program_files, chosen, tmp_path / f"{search}1")
        responses = [frame["response"].tolist()[:4] for frame in (first, other)]
        assert responses[0] != responses[1]


def test_self_distillation_moves_the_weights_and_counts_what_that_costs(run, program_files, chosen, tmp_path):
    found = made(run, "self_distillation", program_files, chosen, tmp_path)
    for _, of_question in found.groupby("question"):
        assert of_question["attempt"].tolist() == list(range(1, len(of_question) + 1))
        assert len(of_question) % 4 == 0
        assert of_question["updates"].tolist() == [i // 4 for i in range(len(of_question))]
        last = of_question[of_question["turn"] == of_question["turn"].max()]
        before = of_question[of_question["turn"] < of_question["turn"].max()]
        assert (before["tokens_trained"] > before["tokens_written"]).all()
        assert (last["tokens_trained"] == 0).all()  # no attempt would use an update
        assert not before["correct"].any()


def test_four_copies_are_groups_of_their_own(run, program_files, chosen, tmp_path):
    run["rollout"] |= {"prompts_per_step": 2, "group_size": 2}
    run["update"] |= {"prompts_per_update": 2}
    copies = made(run, "self_distillation", program_files, chosen, tmp_path / "copies")
    assert copies.groupby(["question", "turn"]).size().eq(4).all()


def test_a_part_of_a_group_is_not_drawn(run, program_files, chosen, tmp_path):
    found = made(run, "self_distillation", program_files, chosen, tmp_path, budget=10)
    assert found.groupby("question").size().max() <= 8


def test_best_of_draws_what_one_draw_after_the_other_gives(run, questions, program_files, chosen, tmp_path):
    found = made(run, "best_of", program_files, chosen, tmp_path)
    model, tokenizer = load_model(program_files["base_model"], torch.device("cpu"))
    sampler = DecodeLoop(model, tokenizer.pad_token_id, end_ids(model, tokenizer, ChatSettings()))
    prompt = Speaker(tokenizer, ChatSettings())
    for question in questions[:2]:
        ids = prompt.ids(prompt.asked(question))
        for row in found[found["question"] == question.id].head(10).itertuples():
            key = (0, "best of k", question.id, row.attempt)
            (rollout,) = sampler.sample([ids], SamplingSettings(12), [key])
            assert tokenizer.decode(rollout.response_ids, skip_special_tokens=True) == row.response
            assert row.correct == grade_response(row.response, question.asked, "programs").correct
            assert row.tokens_read == len(ids)
            assert row.tokens_written == len(rollout.response_ids)


def test_a_chain_shows_the_feedback_of_all_earlier_turns_that_fit(run, program_files, chosen, tmp_path):
    found = made(run, "multi_turn", program_files, chosen, tmp_path)
    for _, chain in found.groupby("question"):
        assert chain["turn"].tolist() == chain["attempt"].tolist()
        shown = chain["shown"].tolist()
        assert shown[:3] == [0, 1, 2][: len(shown)]
        assert chain["tokens_read"].max() <= 48
        if len(shown) > 10:
            assert max(shown) < len(shown) - 1


def test_an_engine_has_room_for_a_question_that_is_longer_than_the_window(
    run, program_files, chosen, tmp_path, monkeypatch
):
    asked = []

    def noted(engine, folder, tokenizer, longest, chat):
        asked.append(longest)
        return sampler_of(engine, folder, tokenizer, longest, chat)

    monkeypatch.setattr("selfdistill.training.discovery.job.sampler_of", noted)
    window = {"shape": "feedback_only", "window": 5}
    found = made(run, "multi_turn", program_files, chosen, tmp_path, budget=2, multi_turn=window)
    assert asked == [found["tokens_read"].max() + run["rollout"]["max_response_tokens"]]
    assert found["tokens_read"].min() > 5


def test_parts_share_the_questions_and_one_without_any_publishes_none(run, program_files, chosen, tmp_path):
    parts = [made(run, "best_of", program_files, chosen, tmp_path / str(part), part=part, parts=3) for part in range(3)]
    assert [sorted(set(part["question"])) for part in parts] == [[f"programs_1/{i}"] for i in QUESTIONS] + [[]]


def test_draws_choose_the_questions(run, program_files, questions, tmp_path):
    base = {"run": run, "engine": "own", "parts": 1, "draws": 64, "listed": None}
    draw_base(
        base,
        **program_files,
        state_dir=tmp_path / "state",
        output=tmp_path / "b.parquet",
        part=0,
        report=lambda line: None,
    )
    draws = read_attempts(tmp_path / "b.parquet")
    assert draws.groupby("question").size().eq(64).all()
    sets = {
        "rare": {"below": 0.9, "of": None, "questions": None},
        "two": {"below": None, "of": None, "questions": [5, 2]},
        "rare_of_two": {"below": 0.9, "of": "two", "questions": None},
    }
    found = choose_questions(questions, [tmp_path / "b.parquet"], sets, 8, 48).set_index("index")
    first = draws[draws["attempt"] <= 48].groupby("question")["correct"].sum()
    for index, question in enumerate(questions):
        fails = 48 - first[question.id]
        rate = 1 - np.prod([(fails - i) / (48 - i) for i in range(8)])
        rare = rate < 0.9
        assert (index in found.index and bool(found.loc[index, "set:rare"])) == rare
        if index in found.index:
            assert found.loc[index, "pass_at_k"] == pytest.approx(rate)
            assert found.loc[index, "set:two"] == int(index in (2, 5))
            assert found.loc[index, "set:rare_of_two"] == int(rare and index in (2, 5))
    with pytest.raises(UserError, match=r"pass@65 needs 65 or more"):
        choose_questions(questions, [tmp_path / "b.parquet"], sets, 65, 64)


def test_what_cannot_be_searched_is_refused(run, program_files, questions, chosen, tmp_path):
    with pytest.raises(UserError, match=r"set x: no question 8; the training set has 8 of them, from 0 to 7"):
        picked(questions, [8], "set x")
    train = program_files["train_file"]
    with pytest.raises(UserError, match=r"has the same tests as in .*none is held back"):
        read_questions(train, train, run)
    write_problems(tmp_path / "pictures.parquet", [pictured_problem(0, picture(1))])
    with pytest.raises(UserError, match=r"cells/0 has pictures, which a search does not show"):
        read_questions(tmp_path / "pictures.parquet", tmp_path / "pictures.parquet", run)
    with pytest.raises(UserError, match=r"positions"):
        made(run, "multi_turn", program_files, chosen, tmp_path, multi_turn={"shape": "feedback_only", "window": 4000})


@pytest.mark.parametrize("kind", ["programs", "code"])
def test_a_question_is_paired_with_the_one_that_holds_its_tests(run, tmp_path, kind):
    """Two questions may have one text: of a toy's program that of the shown pairs, of real ones a copy."""

    def problem(index, tests, split, text="Find a program of 2 operations: 1 -> 2; 3 -> 4."):
        inputs, outputs = zip(*tests, strict=True)
        asked = {"inputs": list(map(str, inputs)), "outputs": list(map(str, outputs)), "testtype": "stdin"}
        answer = json.dumps(tests if kind == "programs" else asked)
        return Problem(f"d/{index}", "d", text, answer, "", kind, index, split)

    shown, train, val = [[1, 2], [3, 4]], tmp_path / "train.parquet", tmp_path / "val.parquet"

    def paired(asked, whole, searched=None):
        write_problems(train, [problem(*each, "train") for each in asked])
        write_problems(val, [problem(*each, "val") for each in whole])
        found = read_questions(train, val, {**run, "grader": kind}, searched)
        return {each.asked.index: each.whole.index for each in found}

    first, second = [[5, 6], [7, 8]], [[5, 5], [7, 7]]
    whole = [(0, shown + first), (1, shown + second)]
    assert paired([(0, shown + first[:1]), (1, shown + second[:1])], whole) == {0: 0, 1: 1}
    assert paired([(0, shown + second[:1]), (1, shown + first[:1])], whole) == {0: 1, 1: 0}
    assert paired([(1, shown)], whole) == {1: 1}  # both hold them
    assert paired([(1, shown)], [whole[0], (4, whole[0][1])]) == {1: 0}  # copies
    with pytest.raises(UserError, match=r"d/9 is in .*val\.parquet 2 times with unlike tests \(d/0, d/1\)"):
        paired([(9, shown)], whole)
    with pytest.raises(UserError, match="none is held back"):
        paired([(0, shown)], [(0, shown)])
    assert paired([(0, shown)], [(0, shown)], searched=[]) == {0: 0}


def test_an_index_of_two_questions_names_none(questions):
    other = replace(questions[0], asked=replace(questions[0].asked, id="other/0"))
    assert picked([*questions, other], [1], "set x") == [questions[1]]
    for indices in ([0], None):
        with pytest.raises(UserError, match=r"set x: programs_1/0 and other/0 both have the index 0"):
            picked([*questions, other], indices, "set x")


def test_whoever_looks_on_sees_a_search_that_is_published(run, program_files, chosen, tmp_path):
    place = tmp_path / "discovery/programs" / run["model"] / "best_of/seed0/part0.parquet"
    discover(
        settings(run, "best_of"),
        **program_files,
        questions_file=chosen,
        state_dir=tmp_path / "state" / "4a",
        output=place,
        part=0,
        report=lambda line: None,
    )
    (seen,) = States(tmp_path).look()
    found = read_attempts(place)
    assert (seen.name, seen.state) == (f"programs/{run['model']}/best_of/0", "published")
    assert (seen.done, seen.total, seen.attempts) == (2, 2, len(found))
    assert seen.passed == found[found["correct"]]["question"].nunique()
    assert seen.speed > 0


def test_a_state_holds_its_attempts_as_lines(run, program_files, chosen, tmp_path):
    made(run, "best_of", program_files, chosen, tmp_path)
    lines = (tmp_path / "state" / "attempts.jsonl").read_text().splitlines()
    assert all(isinstance(json.loads(line), list) for line in lines)
