"""Fixtures of a run small enough to train in a second or two: tiny random model, a dozen chains, four steps."""

import copy
import json

import pytest
import torch

from selfdistill.files import sha256_file
from selfdistill.models.loading import load_model
from selfdistill.models.tiny_model import TinyModel, build_model
from selfdistill.models.warm_start import Recipe, warm_start
from selfdistill.randomness import generator
from selfdistill.study.training_settings import TrainingSettings
from selfdistill.tasks import arithmetic
from selfdistill.tasks.demonstrations import Mix, demonstrate
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import Problem, read_problems, write_problems
from selfdistill.training.local import run
from selfdistill.training.local.trainer import LocalTrainer

CONFIG = {
    "task": "arithmetic",
    "model": "tiny",
    "variant": "rlcsd",
    "method": "rlcsd",
    "implementation": "rlcsd",
    "grader": "maths",
    "benchmarks": ["chain-1", "chain-2"],
    "seed": 0,
    "preset": "corrected",
    "trainer": "local",
    "steps": 4,
    "rollout": {
        "prompts_per_step": 4,
        "group_size": 4,
        "max_prompt_tokens": 40,
        "max_response_tokens": 20,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "engine": "own",
        "old_logprobs": "sampler",
        "importance_threshold": 2.0,
    },
    "reward": {"shuffle": False, "first_role_counts": False},
    "optimizer": {
        "learning_rate": 1e-3,
        "weight_decay": 0.01,
        "warmup_steps": 2,
        "max_grad_norm": 1.0,
        "master_dtype": "float32",
    },
    "update": {"prompts_per_update": 2, "micro_batch_tokens": 1024, "aggregation": "tokens", "kl_coef": 0.0},
    "validation": {
        "every": 2,
        "problems": 3,
        "draws": 2,
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 0,
        "max_response_tokens": 20,
    },
    "checkpoint": {"every": 1},
    "guards": {"null_contrast_rollouts": 2},
    "records": {"every": 2, "rollouts": 3},
    "objective": {},
    "teacher": {"kind": "snapshot", "sync_interval": 2},
    "hints": {"source": "self_rollout", "k_max": 2, "max_tokens": 64},
}


def problems(name: str, operations: int, count: int) -> list[Problem]:
    made = []
    for i in range(count):
        rng = generator(5, name, i)
        chain = arithmetic.generate(rng, operations)
        made.append(Problem(f"{name}/{i}", name, chain.text(), chain.answer, chain.worked(), "math", i, "train"))
    return made


@pytest.fixture(scope="session")
def small_run(tmp_path_factory, tokenizer):
    """Files of a run: train and val parquets and a base model that answers in the format, and is right at times."""
    folder = tmp_path_factory.mktemp("run")
    write_problems(folder / "train.parquet", problems("train", 1, 10))
    write_problems(folder / "val.parquet", [*problems("chain-1", 1, 4), *problems("chain-2", 2, 4)])
    model = build_model(TinyModel(layers=2), tokenizer, seed=0)
    warm_start(
        model,
        tokenizer,
        lambda rng: demonstrate(lambda r: arithmetic.generate(r, 1), Mix(), rng),
        Recipe(steps=60, batch_size=32, warmup_steps=10),
        report=lambda line: None,
    )
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    return {"train_file": folder / "train.parquet", "val_file": folder / "val.parquet", "base_model": folder / "base"}


@pytest.fixture(scope="session")
def template():
    """The config that `config` is a fresh copy of; not to be changed."""
    return CONFIG


@pytest.fixture
def config(template):
    return copy.deepcopy(template)


@pytest.fixture
def make(small_run, config):
    """A trainer for the config with some sections changed, and another grader or dtype if wanted."""

    def build(grade=None, dtype=torch.float32, make_critic=None, **changes):
        changed = copy.deepcopy(config)
        for key, value in changes.items():
            changed[key] = {**changed.get(key, {}), **value} if isinstance(value, dict) else value
        model, tokenizer = load_model(small_run["base_model"], torch.device("cpu"))
        kind = changed["teacher"].get("kind")
        external = {"teacher": another(model)} if kind == "external" else None
        validation = {"chain-1": [p for p in read_problems(small_run["val_file"]) if p.data_source == "chain-1"]}
        return LocalTrainer(
            TrainingSettings.from_config(changed),
            model.to(dtype),
            tokenizer,
            read_problems(small_run["train_file"]),
            validation,
            grade or (lambda response, problem: grade_response(response, problem, "maths")),
            external,
            critic=make_critic,
        )

    return build


@torch.no_grad()
def another(model, scale=0.02):
    """A model that says nearly the same: the weights of this one, and noise."""
    other, made = copy.deepcopy(model), torch.Generator().manual_seed(7)
    for weights in other.parameters():
        weights.add_(torch.randn(weights.shape, generator=made), alpha=scale)
    return other


def outputs_in(folder):
    """Where a run below a folder is published."""
    return {
        "config": folder / "out" / "config.yaml",
        "metrics": folder / "out" / "metrics.jsonl",
        "provenance": folder / "out" / "provenance.json",
        "records": folder / "out" / "records.parquet",
        "model": folder / "out" / "model",
    }


def go(config, files, folder, report=lambda line: None):
    """Train into folder/out, with the state in folder/state. Returns the outputs."""
    outputs = outputs_in(folder)
    run.train(config, **files, state_dir=folder / "state", outputs=outputs, threads=1, report=report)
    return outputs


def metrics_of(path):
    """Records without the timings, which are the only thing that may differ."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("timing_s/")} for line in lines]


def trained_weights(trainer):
    """All weights of a trainer's model, one after another."""
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def weights_hash(outputs):
    return sha256_file(outputs["model"] / "model.safetensors")
