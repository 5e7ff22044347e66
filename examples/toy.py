"""Builds what the examples share: the toy's settings, its problems and a trainer of it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from selfdistill.models.loading import load_model
from selfdistill.randomness import generator
from selfdistill.study.training_settings import TrainingSettings, published_run
from selfdistill.tasks.arithmetic import generate
from selfdistill.tasks.graded import Graded
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import Problem
from selfdistill.training.local.trainer import LocalTrainer

BASE_MODEL = Path(__file__).parents[1] / "resources/base_models/tiny_qwen3/arithmetic"


def toy_settings(implementation: str, **changes: object) -> TrainingSettings:
    """Returns the published settings of a method, shrunk to the toy's sizes.

    Args:
        implementation: name of a shipped method.
        changes: more settings of a run, by section, or `seed`.
    """
    sizes = {
        "rollout": {"prompts_per_step": 4, "group_size": 6, "max_prompt_tokens": 256, "max_response_tokens": 80},
        "optimizer": {"learning_rate": 4e-5, "warmup_steps": 1},
        "update": {"prompts_per_update": 4},
        "validation": {"max_response_tokens": 80},
        "hints": {"max_tokens": 100},
    }
    sections = {name: {**values, **changes.pop(name, {})} for name, values in sizes.items()}
    return published_run(implementation, **sections, **changes)


def chain_problems(count: int, operations: int = 3, name: str = "chains") -> list[Problem]:
    """Returns chains of operations modulo 10, with worked solutions."""
    chains = [generate(generator(name, i), operations) for i in range(count)]
    return [
        Problem(f"{name}/{i}", name, chain.text(), chain.answer, chain.worked(), "math", i, "train")
        for i, chain in enumerate(chains)
    ]


def grade_maths(response: str, problem: Problem) -> Graded:
    r"""Returns the verdict of the library's grader on the last \boxed{} of a response."""
    return grade_response(response, problem, "maths")


def toy_trainer(
    settings: TrainingSettings,
    problems: Sequence[Problem],
    grade: Callable[[str, Problem], Graded] = grade_maths,
) -> LocalTrainer:
    """Returns a trainer of the toy's base model on these problems; `trainer.step(number)` is a training step."""
    model, tokenizer = load_model(BASE_MODEL, torch.device("cpu"))
    return LocalTrainer(settings, model, tokenizer, problems, {}, grade)
