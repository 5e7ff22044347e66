"""A local run on problems with pictures: sampling, teachers, resumes; what is drawn and evaluated."""

import copy
from types import SimpleNamespace

import pytest
import torch
from small_run import CONFIG
from tiny_vision import (
    picture,
    pictured_problem,
    pictured_prompt,
    vision_folder,
    vision_model,
    vision_reader,
    vision_tokenizer,
)

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import read_draws
from selfdistill.evaluation.evaluate import evaluate_run
from selfdistill.models.chat import encode_messages
from selfdistill.models.loading import load_model
from selfdistill.models.pictures import picture_reader
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.sampling.transformers_generate import TransformersGenerate
from selfdistill.sampling.trial import check_sampler
from selfdistill.scoring.pictures import banned_ids
from selfdistill.scoring.prompts import keyed, pictures_of
from selfdistill.scoring.scorer import score
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.hints import Assignment
from selfdistill.signals.teacher_contexts import ContextBuilder, plain_contexts
from selfdistill.signals.teacher_queries import Use, distinct_queries
from selfdistill.study.run_settings import ChatSettings
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.graders import Graded
from selfdistill.tasks.prompts import student_messages
from selfdistill.tasks.schema import read_problems, write_problems
from selfdistill.training.local.trainer import LocalTrainer


@pytest.fixture(scope="module")
def vision():
    tokenizer = vision_tokenizer()
    model = vision_model(tokenizer)
    return SimpleNamespace(model=model, tokenizer=tokenizer, reader=vision_reader(model))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return vision_folder(tmp_path_factory.mktemp("vision"))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.parquet"
    shown = [(picture(1),), (picture(2),), (picture(3, 32, 24), picture(1)), ()]
    write_problems(path, [pictured_problem(i, *each, question=f"{i} + 4?") for i, each in enumerate(shown)])
    return path


# ---------------------------------------------------------------------------------------------------------- sampling


@pytest.mark.parametrize("kind", [DecodeLoop, TransformersGenerate])
def test_log_probs_of_what_is_drawn_are_the_scorers(vision, kind):
    model, reader = vision.model, vision.reader
    shown = [(picture(1),), (picture(2),), (picture(1), picture(3, 32, 24))]
    prompts = [pictured_prompt(reader, *each) for each in shown for _ in range(6)] + [[1, 8, 9]] * 2
    sampler = kind(model, 0, [2])
    drawn = sampler.sample(prompts, SamplingSettings(16), [("k", i) for i in range(len(prompts))])
    assert not {i for each in drawn for i in each.response_ids} & set(banned_ids(model.config))
    scores = score(model, Sequences(prompts, [each.response_ids for each in drawn]), 16, 10000).logprobs
    for own, row in zip(drawn, scores, strict=True):
        torch.testing.assert_close(torch.tensor(own.logprobs), row[: len(own.response_ids)], rtol=0, atol=2e-5)
    check_sampler(sampler, model, "own")


def test_draws_are_of_their_own_picture_whoever_else_is_in_the_batch(vision):
    sampler = DecodeLoop(vision.model, 0, [2])
    one, other = (pictured_prompt(vision.reader, picture(n)) for n in (1, 2))
    keys = [("k", i) for i in range(4)]
    together = sampler.sample([one, other, one, other], SamplingSettings(16), keys)
    for prompt, key, drawn in zip([one, other, one, other], keys, together, strict=True):
        assert sampler.sample([prompt], SamplingSettings(16), [key])[0].response_ids == drawn.response_ids
    swapped = sampler.sample([other, one, other, one], SamplingSettings(16), keys)
    assert [each.response_ids for each in swapped] != [each.response_ids for each in together]


@pytest.mark.parametrize("kind", [DecodeLoop, TransformersGenerate])
def test_a_prompt_that_lost_its_pictures_is_refused(vision, kind):
    prompt = list(pictured_prompt(vision.reader, picture(1)))
    with pytest.raises(UserError, match="no pixels for it"):
        kind(vision.model, 0, [2]).sample([prompt], SamplingSettings(4), [("k",)])


# ---------------------------------------------------------------------------------------------------------- teachers


def contexts(vision, problems, hint, **options):
    settings = HintSettings(**{"source": "self_rollout", **options})
    builder = ContextBuilder(vision.tokenizer, settings, 10**6, ChatSettings(), vision.reader)
    return builder.build(problems, [Assignment(correct=hint)] * len(problems), [0] * len(problems)).correct


def test_a_teacher_sees_the_students_pictures_and_hints_write_none(vision):
    problem = pictured_problem(0, picture(1), picture(3, 32, 24))
    plain, sly = contexts(vision, [problem], Hint("17 + 4", "21"))[0], Hint("17 <image>+<|image_pad|> 4", "2<image>1")
    assert pictures_of(plain) == vision.reader.of(problem.images)
    assert contexts(vision, [problem], sly)[0] == plain
    short = contexts(vision, [problem], Hint("17 + 4 " * 50, "21"), max_tokens=3)[0]
    assert pictures_of(short) == pictures_of(plain)
    student = encode_messages(
        vision.tokenizer, student_messages(problem, training=True), ChatSettings(), vision.reader.of(problem.images)
    )
    assert plain_contexts([student]).correct[0] is student


def test_a_prompt_with_pictures_is_not_cut_as_a_whole(vision):
    with pytest.raises(UserError, match=r"hints\.truncation is 'left'"):
        contexts(vision, [pictured_problem(0, picture(1))], Hint("17", "21"), truncation="left")


def test_equal_contexts_with_unlike_pictures_are_asked_apart(vision):
    pair = [pictured_problem(n, picture(n)) for n in (1, 2)]
    one, other = contexts(vision, pair, Hint("17 + 4", "21"))
    assert tuple(one) == tuple(other)
    assert keyed(one) != keyed(other)
    asked = distinct_queries([Use(0, one), Use(1, other), Use(2, one)], [[5], [5], [5]])
    assert len(asked.pairs.prompts) == 2
    assert asked.place == [0, 1, 0]


# --------------------------------------------------------------------------------------------------------------- runs


def trainer(folder, file, **changes):
    config = copy.deepcopy(CONFIG)
    sections = {
        "rollout": {"prompts_per_step": 2, "group_size": 4, "max_prompt_tokens": 120, "max_response_tokens": 6},
        "update": {"micro_batch_tokens": 200},
        "hints": {"source": "self_rollout", "mode": "answer_only", "max_tokens": 16},
        "records": {"every": 1, "rollouts": 2},
        "objective": {},
    }
    for key, value in {**sections, **changes}.items():
        config[key] = {**config.get(key, {}), **value} if isinstance(value, dict) else value
    model, tokenizer = load_model(folder, torch.device("cpu"))
    problems = read_problems(file)

    def grade(response, problem):
        return Graded("21" if len(response) % 2 else "20", bool(len(response) % 2))

    reader = picture_reader(folder, model.config, ChatSettings())
    settings = TrainingSettings.from_config(config)
    return LocalTrainer(settings, model, tokenizer, problems, {"cells": problems[:2]}, grade, pictures=reader)


def weights(made):
    return {name: each.detach().clone() for name, each in made.model.named_parameters()}


@pytest.mark.parametrize("frozen", [False, True])
def test_a_run_that_goes_on_ends_with_the_same_bits(folder, file, tmp_path, frozen):
    changes = {"implementation": "rlsd", "method": "rlsd", "optimizer": {"freeze_vision_tower": frozen}}
    whole = trainer(folder, file, **changes)
    before = weights(whole)
    metrics = [whole.step(number) for number in (1, 2, 3)]
    assert any("guard/null_contrast_abs_max" in each for each in metrics)
    assert all(each.get("guard/null_contrast_abs_max", 0) < 1e-4 for each in metrics)
    halted = trainer(folder, file, **changes)
    for number in (1, 2):
        halted.step(number)
    resumed = trainer(folder, file, **changes)
    resumed.load_state_dict(halted.state_dict())
    resumed.step(3)
    for name, each in weights(whole).items():
        assert torch.equal(each, weights(resumed)[name]), name
        assert torch.equal(each, before[name]) == (frozen and "visual" in name), name
    whole.save(tmp_path / "model")
    assert whole.validate().keys() == {"val/cells/mean@2", "timing_s/validation"}


def test_a_model_of_text_alone_has_no_tower_to_freeze(make):
    with pytest.raises(UserError, match="reads no pictures"):
        make(optimizer={"freeze_vision_tower": True})


@pytest.mark.parametrize("engine", ["own", "transformers"])
def test_draws_of_an_evaluation_depend_on_the_picture(folder, file, tmp_path, engine):
    how = {"engine": engine, "temperature": 1.0, "top_p": 1.0, "top_k": 0, "max_response_tokens": 8}
    task = {"grader": "maths", "first_role_counts": False, "draws": 2, "evaluation": how}
    blank = tmp_path / "blank.parquet"
    white = picture(9)
    problems = read_problems(file)
    changed = [p for p in problems if len(p.images) == 1 and p.images[0].width == 24]
    write_problems(
        blank, [pictured_problem(p.index, white, question=p.problem.removeprefix("<image>")) for p in changed]
    )
    found = []
    for data in (file, blank):
        output = tmp_path / f"{data.stem}-{engine}.parquet"
        evaluate_run(folder, data, task, 0, {"cells": output}, lambda line: None)
        frame = read_draws(output)
        found.append(dict(zip(zip(frame["problem_id"], frame["draw"], strict=True), frame["response"], strict=True)))
    assert all(found[0][key] != found[1][key] for key in found[1] if key[0] == "cells/0")
