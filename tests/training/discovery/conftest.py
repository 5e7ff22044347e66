"""A task of eight programs, a model of the toy's kind that answers in their format, and settings of its searches."""

import copy

import pytest
from small_run import CONFIG

from selfdistill.models.base_model import training_exercises
from selfdistill.models.tiny_model import TinyModel, build_model, build_tokenizer
from selfdistill.models.warm_start import Recipe, warm_start
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks.datasets import write_generated
from selfdistill.tasks.exercises import exercise_kind
from selfdistill.tasks.program_demonstrations import ProgramDemonstrations, ProgramMix
from selfdistill.training.discovery.questions import read_questions

RECIPE = {"exercise": "programs", "seed": 0}
RUN = {
    **CONFIG,
    "task": "programs",
    "grader": "programs",
    "grading": {"feedback": "case"},
    "variant": "test_time",
    "method": "sdpo_official",
    "implementation": "sdpo_official",
    "rollout": {
        **CONFIG["rollout"],
        "prompts_per_step": 1,
        "group_size": 4,
        "max_prompt_tokens": 64,
        "max_response_tokens": 12,
    },
    "reward": {"shuffle": False, "first_role_counts": False, "deviation": "none"},
    "update": {"prompts_per_update": 1, "micro_batch_tokens": 2048, "aggregation": "all_rollouts", "kl_coef": 0.0},
    "objective": {"alpha": 1.0, "top_k": 20, "advantage_bound": 5.0},
    "teacher": {"kind": "ema", "ema_decay": 0.99, "clock": "training_steps"},
    "hints": {
        "source": "self_rollout",
        "mode": "solution",
        "template": "sections",
        "feedback": "only_without_solution",
        "max_tokens": 64,
    },
    "records": {"every": 0, "rollouts": 1},
}


@pytest.fixture(scope="session")
def program_files(tmp_path_factory):
    """Files of a search: both parquets and a base model."""
    folder = tmp_path_factory.mktemp("programs")
    write_generated({**RECIPE, "dataset": "programs_1", "problems": 8, "sizes": [2]}, "train", folder / "train.parquet")
    write_generated({**RECIPE, "benchmarks": {"p": {"size": 2, "problems": 8}}}, "val", folder / "val.parquet")
    tokenizer = build_tokenizer(exercise_kind("programs").phrases)
    model = build_model(TinyModel(hidden_size=32, layers=1, mlp_size=64), tokenizer, seed=0)
    shown = ProgramDemonstrations(training_exercises("programs", {2: 1}), ProgramMix(0.3, 0.3, 3))
    warm_start(model, tokenizer, shown, Recipe(steps=50, batch_size=16, warmup_steps=5), report=lambda line: None)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    return {"train_file": folder / "train.parquet", "val_file": folder / "val.parquet", "base_model": folder / "base"}


@pytest.fixture
def run():
    """The settings of a run, to be changed at will."""
    return copy.deepcopy(RUN)


@pytest.fixture(scope="session")
def training_settings():
    return TrainingSettings.from_config(RUN)


@pytest.fixture(scope="session")
def questions(program_files):
    return read_questions(program_files["train_file"], program_files["val_file"], RUN)
