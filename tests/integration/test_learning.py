"""The demo's model learns from its rewards, and only from them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from configurations import study_of

from selfdistill.evaluation.estimators import paired_difference
from selfdistill.models.chat import encode_chat, end_ids
from selfdistill.models.loading import load_model
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.prompts import student_prompt
from selfdistill.training.local.trainer import LocalTrainer

ROOT = Path(__file__).parents[2]
STEPS, PROBLEMS, DRAWS = 10, 40, 3
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study():
    return study_of()


@pytest.fixture(scope="module")
def problems(study):
    recipes = study.data("arithmetic")
    return {split: generate_problems(recipes[split], split) for split in ("train", "val")}


def score(model, tokenizer, problems):
    """Accuracy of each of the first problems of chain-3, chain-5 and chain-8, with the same draws for every model."""
    sampler = DecodeLoop(model, tokenizer.pad_token_id, end_ids(model, tokenizer))
    scores = []
    for name in ("chain-3", "chain-5", "chain-8"):
        rows = [(p, draw) for p in problems if p.data_source == name and p.index < PROBLEMS for draw in range(DRAWS)]
        prompts = [encode_chat(tokenizer, student_prompt(p.problem, training=False)) for p, _ in rows]
        settings = SamplingSettings(80, temperature=0.6, top_p=0.95, top_k=20)
        rollouts = sampler.sample(prompts, settings, [("test", p.id, draw) for p, draw in rows])
        texts = [tokenizer.decode(r.response_ids, skip_special_tokens=True) for r in rollouts]
        right = [grade_response(t, p, "maths").correct for t, (p, _) in zip(texts, rows, strict=True)]
        scores.append(np.array(right, dtype=float).reshape(PROBLEMS, DRAWS).mean(axis=1))
    return scores


def base_model(study):
    folder = ROOT / study.base_model("tiny_qwen3", "arithmetic")["folder"] / "arithmetic"
    return load_model(folder, torch.device("cpu"))


@pytest.fixture(scope="module")
def before(study, problems):
    """What the base model scores."""
    return score(*base_model(study), problems["val"])


def gain(study, problems, before, variant, seed=0, shuffle=False):
    """Paired difference to the base model after a few steps, in points."""
    run = study.resolve("arithmetic", "tiny_qwen3", variant, seed) | {"steps": STEPS}
    run["reward"] = run["reward"] | {"shuffle": shuffle}
    model, tokenizer = base_model(study)
    trainer = LocalTrainer(
        TrainingSettings.from_config(run),
        model,
        tokenizer,
        problems["train"],
        {},
        lambda response, problem: grade_response(response, problem, run["grader"]),
    )
    for step in range(1, STEPS + 1):
        trainer.step(step)
    return 100 * paired_difference(score(model, tokenizer, problems["val"]), before).value


@pytest.mark.parametrize("variant", ["grpo", "rlcsd"])
def test_a_few_steps_help(study, problems, before, variant):
    assert gain(study, problems, before, variant) > 10


def test_shuffled_rewards_teach_nothing(study, problems, before):
    """Adam takes full steps along noise too, so a single run wanders by some ten points either way: take several."""
    assert np.mean([gain(study, problems, before, "grpo", seed, shuffle=True) for seed in range(4)]) < 3
