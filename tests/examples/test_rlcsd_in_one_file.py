"""examples/rlcsd_in_one_file.py does what the library does: the same rollouts, loss and gradient from the same seed."""

import copy
import importlib.util
import re

import pytest
import torch
from repository import ROOT

from selfdistill.models.loading import load_model
from selfdistill.randomness import generator
from selfdistill.study.training_settings import published_run
from selfdistill.tasks.arithmetic import generate
from selfdistill.tasks.contexts import Hint
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.prompts import student_prompt, teacher_prompt
from selfdistill.tasks.schema import Problem
from selfdistill.training.local.trainer import LocalTrainer

PROMPTS, GROUP, SEED = 3, 6, 4


@pytest.fixture(scope="module")
def example():
    path = ROOT / "examples/rlcsd_in_one_file.py"
    spec = importlib.util.spec_from_file_location("rlcsd_in_one_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.GROUP, module.PROMPTS = GROUP, PROMPTS
    return module


@pytest.fixture(scope="module")
def chains():
    """The problems of two steps: short ones, so that a group has right and wrong rollouts."""
    return [generate(generator("chains", i), 3) for i in range(2 * PROMPTS)]


@pytest.fixture(scope="module")
def trainer(example, chains):
    """The library's trainer with published values, one update a step, and no clip of the gradient."""
    settings = published_run(
        "rlcsd",
        seed=SEED,
        rollout={"prompts_per_step": PROMPTS, "group_size": GROUP, "max_response_tokens": example.MAX_TOKENS}
        | {"max_prompt_tokens": 256, "top_p": 1.0, "top_k": 0},
        optimizer={"warmup_steps": 1, "max_grad_norm": 1e9, "learning_rate": 1e-3},
        update={"prompts_per_update": PROMPTS},
        teacher={"kind": "initial"},
        hints={"max_tokens": 256},
        validation={"max_response_tokens": example.MAX_TOKENS},
    )
    model, tokenizer = load_model(example.BASE_MODEL, torch.device("cpu"))
    problems = [
        Problem(f"chain/{i}", "chain", c.text(), c.answer, c.worked(), "math", i, "train") for i, c in enumerate(chains)
    ]
    return LocalTrainer(settings, model, tokenizer, problems, {}, lambda text, of: grade_response(text, of, "maths"))


def test_loss_and_gradient_are_those_of_the_library(example, chains, trainer):
    """Of two steps: in the second one the student is no longer the teacher."""
    teacher = copy.deepcopy(trainer.model).requires_grad_(False)
    shifted = 0
    for step in (1, 2):
        student = copy.deepcopy(trainer.model)
        metrics = trainer.step(step)
        part = chains[(step - 1) * PROMPTS : step * PROMPTS]
        loss, accuracy = example.loss_of_step(student, teacher, trainer.tokenizer, part, SEED, step)
        loss.backward()
        assert accuracy == pytest.approx(metrics["reward/mean"])
        assert loss.item() == pytest.approx(metrics["actor/loss"], abs=1e-6)
        for mine, its in zip(student.parameters(), trainer.model.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, its.grad, rtol=1e-4, atol=1e-6)
        shifted += metrics["signal/selected_share"] > 0
    assert shifted == 2


def test_rollouts_are_those_of_the_library(example, chains, trainer):
    drawn = trainer.roll_out(1)
    tokenizer, model = trainer.tokenizer, trainer.model
    for row in (0, GROUP - 1, 2 * GROUP):
        key = (SEED, "rollout", 1, *divmod(row, GROUP))
        uniforms = generator(*key).random(example.MAX_TOKENS)
        assert example.sample(model, tokenizer, drawn.prompts[row], uniforms) == drawn.responses[row]


def test_words_and_values_are_those_of_the_library(example):
    problem = "Start with 3, then add 4. What is the result modulo 10?"
    assert example.STUDENT.format(problem=problem) == student_prompt(problem, training=True)
    of_teacher = example.TEACHER.format(problem=problem, solution="3+4=7. ", answer="7")
    assert of_teacher == teacher_prompt(problem, Hint("3+4=7. ", "7"))
    published = published_run("rlcsd").objective
    for name in ("tau", "beta", "lam", "delta", "eta", "epsilon"):
        assert getattr(example, name.upper()) == published[name]
    assert published_run("rlcsd").hints.k_max == example.K_MAX


def test_it_trains(example, capsys, monkeypatch):
    monkeypatch.setattr(example, "PROMPTS", 1)
    before = example.AutoModelForCausalLM.from_pretrained(example.BASE_MODEL).state_dict()
    after = example.train(2).state_dict()
    lines = capsys.readouterr().out.splitlines()
    assert [bool(re.match(r"step \d: accuracy \d\.\d\d, loss ", line)) for line in lines] == [True, True]
    assert any(not torch.equal(before[name], after[name]) for name in before)
