"""A whole training step of grpo, rlsd and rlcsd in float32, by part, after the rollouts; and what these take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from gpu_checks.lines import Line
from gpu_checks.models import random_qwen3, seconds_of, tokens
from selfdistill.methods.catalogue import shipped_entries
from selfdistill.models.tiny_model import build_tokenizer
from selfdistill.objectives.methods import build_method
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.study.config_files import merged
from selfdistill.study.training_settings import TrainingSettings, published_run
from selfdistill.tasks.schema import Problem
from selfdistill.training.local.engine import LocalEngine
from selfdistill.training.rollouts import StepRollouts
from selfdistill.training.step import TrainingStep

METHODS = ("grpo", "rlsd", "rlcsd")
#: Of a step of grpo.
GOALS = {"rlcsd": 1.1}
NO_END = -1


@dataclass(frozen=True)
class Size:
    """Prompts of a step, rollouts of each, tokens of a response, and of a micro-batch."""

    prompts: int
    group: int
    response: int
    budget: int


REAL, TINY = Size(4, 8, 1024, 16_384), Size(2, 4, 10, 200)


def lines(device: torch.device, tiny: bool) -> Iterator[Line]:
    """Second steps, in turns: the first of each warms up."""
    size, tokenizer = TINY if tiny else REAL, build_tokenizer()
    made = rollouts(size, tokenizer)
    seconds: dict[str, dict[str, float]] = {}
    drawing = None
    for method in METHODS:
        model = random_qwen3("tiny" if tiny else "0.6B", torch.float32, device)
        if drawing is None:
            drawing = drawing_seconds(model, made, size)
        settings = settings_of(method, size)
        engine = LocalEngine(
            model,
            build_method(settings.implementation, settings.objective),
            settings.teacher,
            settings.optimizer,
            micro_batch_tokens=size.budget,
            temperature=1.0,
            keep_initial=settings.update.kl_coef > 0,
        )
        step = TrainingStep(settings, tokenizer, engine)
        step.run(1, made)
        spent, metrics = seconds_of(lambda step=step: step.run(2, made))
        parts = {name.removeprefix("timing_s/"): value for name, value in metrics.items() if "timing_s/" in name}
        seconds[method] = {"rollout": drawing, **parts, "step": drawing + spent}
        del model, engine, step
        if device.type == "cuda":
            torch.cuda.empty_cache()
        yield Line(f"{method}: a step", drawing + spent, "s", note=shown(seconds[method]), details=seconds[method])
    for method in METHODS[1:]:
        ratio = seconds[method]["step"] / seconds["grpo"]["step"]
        yield Line(f"{method}: a step, of one of grpo", ratio, "", GOALS.get(method))


def settings_of(method: str, size: Size) -> TrainingSettings:
    """A published run at these sizes; one update a step."""
    entry = shipped_entries()[method]
    changes = {
        "rollout": {
            "prompts_per_step": size.prompts,
            "group_size": size.group,
            "max_response_tokens": size.response,
            "max_prompt_tokens": 256,
            "old_logprobs": "sampler",
        },
        "optimizer": {"learning_rate": 1e-6, "warmup_steps": 0},
        "update": {"prompts_per_update": size.prompts, "micro_batch_tokens": size.budget},
        "hints": {"max_tokens": 2 * size.response},
    }
    return published_run(entry["implementation"], **merged({"objective": entry["objective"]}, changes))


def rollouts(size: Size, tokenizer: PreTrainedTokenizerBase) -> StepRollouts:
    """Made-up rollouts of the toy's words: half of each group right, lengths from a half to the whole."""
    words = list(range(4, len(tokenizer)))
    rows = size.prompts * size.group
    lengths = [size.response - (i * size.response // 2) // rows for i in range(rows)]
    responses = [[words[i % len(words)] for i in tokens(n, 10**6, "words", row)] for row, n in enumerate(lengths)]
    problems, prompts = [], []
    for number in range(size.prompts):
        text = f"What is {number} + 3?"
        problem = Problem(f"sum/{number}", "sum", text, f"{number + 3}", "", "math", number, "train")
        prompt = tokenizer(text).input_ids
        problems += [problem] * size.group
        prompts += [prompt] * size.group
    right = [i % 2 == 0 for i in range(rows)]
    return StepRollouts(
        problems=problems,
        prompts=prompts,
        responses=responses,
        texts=[tokenizer.decode(each) for each in responses],
        answers=[problem.answer if good else "none" for problem, good in zip(problems, right, strict=True)],
        correct=right,
        logprobs=[np.full(len(each), -5.0, dtype=np.float32) for each in responses],
        truncated=[False] * rows,
        entropy=3.0,
    )


def drawing_seconds(model: torch.nn.Module, made: StepRollouts, size: Size) -> float:
    """Seconds of drawing as many responses to the same prompts, each at the limit."""
    loop = DecodeLoop(model, 0, [NO_END])
    keys = [("gpu checks", i) for i in range(len(made.prompts))]
    loop.sample(made.prompts, SamplingSettings(4), keys)
    return seconds_of(lambda: loop.sample(made.prompts, SamplingSettings(size.response), keys))[0]


def shown(parts: Mapping[str, float]) -> str:
    """Seconds of each part, in words."""
    return ", ".join(f"{name} {value:.2f}" for name, value in parts.items() if name != "step")
