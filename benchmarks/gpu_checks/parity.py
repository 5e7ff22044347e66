"""The local trainer on a CPU beside the same on a GPU, in float32: log-probs, losses, gradients, two steps a method."""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from gpu_checks.lines import Line
from selfdistill.methods.catalogue import shipped_entries
from selfdistill.models.chat import encode_chat, end_ids
from selfdistill.models.loading import load_model
from selfdistill.objectives.methods import build_method
from selfdistill.randomness import generator
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.study.config_files import merged
from selfdistill.study.training_settings import published_run
from selfdistill.tasks import arithmetic
from selfdistill.tasks.prompts import student_prompt
from selfdistill.tasks.schema import Problem
from selfdistill.training.local.engine import LocalEngine
from selfdistill.training.rollouts import StepRollouts
from selfdistill.training.step import TrainingStep

MODEL = Path(__file__).parents[2] / "resources/base_models/tiny_qwen3/arithmetic"
PROMPTS, GROUP, STEPS = 4, 4, 2
#: Small: AdamW makes whole steps of gradients that are rounding noise.
RATE = 1e-5
CPU = torch.device("cpu")
#: Methods of a tiny run.
FEW = ("grpo", "rlcsd")


def lines(device: torch.device, tiny: bool) -> Iterator[Line]:
    """Log-probs of the demo's model, and two steps of every method from the same rollouts."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    model, tokenizer = load_model(MODEL, CPU)
    every = [drawn(model, tokenizer, step) for step in range(STEPS)]
    width = max(every[0].lengths)
    query = Query(top_k=20, entropy=True)
    one, other = (ModelScorer(on(model, each), 8192)(every[0].sequences, width, query) for each in (CPU, device))
    for name in ("logprobs", "support", "entropy"):
        apart = largest(getattr(one, name), getattr(other, name))
        yield Line(f"demo's model, {name}: largest difference", apart, "nats", 2e-4)
    for method in FEW if tiny else shipped_entries():
        yield from steps(method, model, tokenizer, every, device)


def drawn(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, step: int) -> StepRollouts:
    """Rollouts of the model on a CPU; every other one of a group counts as right: every method has its hints."""
    problems = []
    for i in range(PROMPTS):
        chain = arithmetic.generate(generator("gpu checks", step, i), 3)
        made = Problem(f"chain/{i}", "chain", chain.text(), chain.answer, chain.worked(), "math", i, "train")
        problems += [made] * GROUP
    prompts = [encode_chat(tokenizer, student_prompt(p.problem, training=True)) for p in problems]
    keys = [(0, "rollout", step, i) for i in range(len(problems))]
    sampler = DecodeLoop(model, tokenizer.pad_token_id, end_ids(model, tokenizer))
    found = sampler.sample(prompts, SamplingSettings(40, top_p=0.95, top_k=20), keys)
    right = [i % 2 == 0 for i in range(len(found))]
    return StepRollouts(
        problems=problems,
        prompts=prompts,
        responses=[each.response_ids for each in found],
        texts=[tokenizer.decode(each.response_ids, skip_special_tokens=True) for each in found],
        answers=[problem.answer if good else "none" for problem, good in zip(problems, right, strict=True)],
        correct=right,
        logprobs=[each.logprobs for each in found],
        truncated=[each.finish_reason == "length" for each in found],
        feedback=["" if good else "That is not right." for good in right],
    )


def steps(
    name: str,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    every: list[StepRollouts],
    device: torch.device,
) -> Iterator[Line]:
    """Two steps of a method on both devices: metrics, the first step's last gradient, and weights."""
    entry = shipped_entries()[name]
    external = (entry.get("teacher") or {}).get("kind") == "external"
    changes = {
        "objective": entry["objective"] | ({"top_k": 16} if "top_k" in entry["objective"] else {}),
        "rollout": {"prompts_per_step": PROMPTS, "group_size": GROUP, "old_logprobs": "recompute"},
        "optimizer": {"learning_rate": RATE, "warmup_steps": 1},
        "update": {"prompts_per_update": PROMPTS},
        "hints": {"max_tokens": 100},
        "teacher": {"model": "another"} if external else {},
    }
    if name == "opd_divergence":  # of one rollout a prompt
        changes["rollout"] |= {"prompts_per_step": PROMPTS * GROUP, "group_size": 1}
        changes["update"] = {"prompts_per_update": PROMPTS * GROUP}
    if name == "sdpo_official":
        changes["hints"] |= {"feedback": "always"}
    published = {key: entry[key] for key in ("teacher", "hints", "update") if key in entry}
    settings = published_run(entry["implementation"], **merged(published, changes))
    metrics, gradients, weights = [], [], []
    for each in (CPU, device):
        model = copy.deepcopy(base).to(each)
        engine = LocalEngine(
            model,
            build_method(settings.implementation, settings.objective),
            settings.teacher,
            settings.optimizer,
            micro_batch_tokens=2048,
            temperature=1.0,
            keep_initial=True,
            external={"teacher": moved(base).to(each)} if external else {},
        )
        step = TrainingStep(settings, tokenizer, engine)
        metrics.append([step.run(number, rollouts) for number, rollouts in enumerate(every, start=1)])
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]))
        weights.append(torch.cat([p.detach().flatten().cpu() for p in model.parameters()]))
    worst, worst_name = 0.0, "none"
    for one, other in zip(*metrics, strict=True):
        for key in one:
            if not key.startswith("timing_s/") and not key.startswith("guard/null"):
                apart = abs(one[key] - other[key]) / max(abs(one[key]), 1e-2)
                worst, worst_name = max((worst, worst_name), (apart, key))
    off = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
    note = f"the worst is {worst_name}"
    yield Line(f"{name}, two steps: metrics (losses, norms, ...), largest relative difference", worst, "", 1e-2, note)
    yield Line(f"{name}, two steps: the last gradient, relative difference", off, "", 1e-3)
    yield Line(f"{name}, two steps: weights, largest difference", largest(*weights), "", 2.5 * STEPS * RATE)


def moved(model: PreTrainedModel) -> PreTrainedModel:
    """Another model: a copy with small changes."""
    other, made = copy.deepcopy(model), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weights in other.parameters():
            weights += 0.02 * torch.randn(weights.shape, generator=made) * weights.std()
    return other


def on(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """A copy of the model on a device."""
    return copy.deepcopy(model).to(device)


def largest(one: Tensor, other: Tensor) -> float:
    """The largest difference of two tensors, wherever they are."""
    return float((one.cpu() - other.cpu()).abs().max())
