"""Whole training steps, hints and teachers included: verl's workers and the local trainer end at the same weights."""

import sys
from pathlib import Path

import pytest
import torch

verl = pytest.importorskip("verl")
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "fakes"))

from in_process import TINY, InProcess, InProcessEngine, Options, process_group
from small_run import another

from selfdistill.methods.catalogue import shipped_entries
from selfdistill.models.chat import encode_chat, end_ids
from selfdistill.models.loading import load_model
from selfdistill.objectives.methods import build_method
from selfdistill.randomness import generator
from selfdistill.sampling.decode import DecodeLoop
from selfdistill.sampling.interface import SamplingSettings
from selfdistill.study.config_files import merged
from selfdistill.study.run_settings import OptimizerSettings
from selfdistill.study.training_settings import published_run
from selfdistill.tasks import arithmetic
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.prompts import student_prompt
from selfdistill.tasks.schema import Problem
from selfdistill.training.local.engine import LocalEngine
from selfdistill.training.rollouts import StepRollouts
from selfdistill.training.run_critic import critic_without_model, critiqued_steps
from selfdistill.training.step import TrainingStep
from selfdistill.training.verl.loss import Loss

pytestmark = pytest.mark.verl

METHODS = shipped_entries()
PROMPTS, GROUP, STEPS = 4, 4, 3
RATE = 1e-5  # small: Adam makes whole steps of gradients that are rounding noise


@pytest.fixture(scope="module")
def group(tmp_path_factory):
    with process_group(tmp_path_factory.mktemp("store") / "file"):
        yield


@pytest.fixture(scope="module")
def drawn():
    """Rollouts of the base model for each step: mixed groups, as what it starts with."""
    model, tokenizer = load_model(TINY, torch.device("cpu"))
    sampler = DecodeLoop(model, tokenizer.pad_token_id, end_ids(model, tokenizer))
    return [rollouts(sampler, tokenizer, step) for step in range(STEPS)], tokenizer


def rollouts(sampler, tokenizer, step):
    problems = []
    for i in range(PROMPTS):
        chain = arithmetic.generate(generator("problem", step, i), 8)
        made = Problem(f"chain/{i}", "chain", chain.text(), chain.answer, chain.worked(), "math", i, "train")
        problems += [made] * GROUP
    prompts = [encode_chat(tokenizer, student_prompt(p.problem, training=True)) for p in problems]
    keys = [(0, "rollout", step, i) for i in range(len(problems))]
    found = sampler.sample(prompts, SamplingSettings(80, top_p=0.95, top_k=20), keys)
    texts = [tokenizer.decode(each.response_ids, skip_special_tokens=True) for each in found]
    graded = [grade_response(text, problem, "maths") for text, problem in zip(texts, problems, strict=True)]
    return StepRollouts(
        problems=problems,
        prompts=prompts,
        responses=[each.response_ids for each in found],
        texts=texts,
        answers=[each.answer for each in graded],
        correct=[each.correct for each in graded],
        logprobs=[each.logprobs for each in found],
        truncated=[each.finish_reason == "length" for each in found],
        feedback=["" if each.correct else f"{each.answer} is not 3. " for each in graded],
    )


def settings(method, **changes):
    entry = METHODS[method]
    objective = entry["objective"] | ({"top_k": 16} if "top_k" in entry["objective"] else {})
    sections = {
        "objective": objective,
        "rollout": {"prompts_per_step": PROMPTS, "group_size": GROUP, "old_logprobs": "recompute"},
        "optimizer": {"learning_rate": RATE, "warmup_steps": 1},
        "update": {"prompts_per_update": 2},
        "teacher": {"sync_interval": 2},
        "hints": {"max_tokens": 100},
        "guards": {"null_contrast_rollouts": 1},
        "records": {"every": 2, "rollouts": 3},
    }
    return published_run(entry["implementation"], **merged(sections, changes))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A teacher and what it is compared with: the toy, moved at random."""
    folder = tmp_path_factory.mktemp("others")
    for role, scale in (("teacher", 0.02), ("reference", 0.01)):
        model, tokenizer = load_model(TINY, torch.device("cpu"))
        another(model, scale).save_pretrained(folder / role)
        tokenizer.save_pretrained(folder / role)
    return {role: folder / role for role in ("teacher", "reference")}


EXTERNAL = {"teacher": {"model": "a teacher", "reference": "its base"}, "rollout": {"group_size": 1}}
#: Beside what is published: two methods with all that an external teacher may bring along, at one rollout a prompt.
CHANGES = {
    "opd": EXTERNAL | {"rollout": {}, "objective": {"extrapolation": 1.25, "task_weight": 0.3}},
    "sdpo_official": {"hints": {"feedback": "always"}},
    "opd_divergence": EXTERNAL | {"rollout": {"prompts_per_step": PROMPTS * GROUP, "group_size": 1}},
}


#: A critic beside the trainer, and an entropy bonus.
CRITIQUES = {
    "hints": {"source": "critique", "template": "critique"},
    "critic": {"kind": "rule", "mode": "noquote"},
    "update": {"entropy_coef": 0.001},
}
TRUST_REGION = {"hints": {"feedback": "always"}, "teacher": {"kind": "trust_region", "student_share": 0.3}}
CASES = [(method, CHANGES.get(method, {})) for method in METHODS] + [("sdpo_official", TRUST_REGION)]
CASES += [(method, CRITIQUES) for method in ("rlsd", "rlsd_add")]


@pytest.mark.parametrize(("method", "changes"), CASES, ids=lambda each: each if isinstance(each, str) else "")
def test_three_steps_of_both_trainers_are_the_same(group, drawn, others, tmp_path, method, changes):
    every, tokenizer = drawn
    chosen = settings(method, **changes)
    external = others if "model" in changes.get("teacher", {}) else {}
    optimizer = OptimizerSettings(RATE, 0.01, 1, METHODS[method]["optimizer"]["max_grad_norm"], "float32")
    model, _ = load_model(TINY, torch.device("cpu"))
    local = LocalEngine(
        model,
        build_method(chosen.implementation, chosen.objective),
        chosen.teacher,
        optimizer,
        micro_batch_tokens=2048,
        temperature=1.0,
        keep_initial=True,
        external={role: load_model(folder, torch.device("cpu"))[0] for role, folder in external.items()},
    )
    options = Options(learning_rate=RATE, weight_decay=0.01, max_grad_norm=optimizer.max_grad_norm, budget=900)
    models = InProcess(options, with_initial=not external, external=external)
    remote = InProcessEngine(models, Loss(chosen.implementation, chosen.objective), chosen.teacher)
    critics: list = [None, None]
    if chosen.critic.kind != "none":
        critics = [critiqued_steps(critic_without_model(chosen, "maths"), chosen, tmp_path / i, print) for i in "lr"]
    engines = zip((local, remote), critics, strict=True)
    steps = [TrainingStep(chosen, tokenizer, engine, critic=critic) for engine, critic in engines]
    initial = [p.detach().clone() for p in model.parameters()]
    for number, each in enumerate(every, start=1):
        one, other = (step.run(number, each, step.critiques(number, each)) for step in steps)
        assert one.keys() == other.keys()
        for name in one:
            if name == "tokens/teacher_forwarded":  # only the local trainer shares prompts
                assert 0 <= one[name] <= other[name] <= one["tokens/teacher_plain"]
            elif not name.startswith(("timing_s/", "critique/seconds")):
                assert other[name] == pytest.approx(one[name], rel=2e-3, abs=2e-5), (number, name)
        assert one["actor/skipped_updates"] < 2
        assert (one.get("hints/feedback_used_share", 0) > 0) == (method == "sdpo_official")
        for kept, remote_kept in zip(*(step.recorded or [] for step in steps), strict=True):
            assert kept.keys() == remote_kept.keys()
            for name in ("student_logprobs", "correct_logprobs", "weights"):
                assert remote_kept[name] == pytest.approx(kept[name], abs=2e-3), (number, name)
        assert (one.get("critique/coverage", 0) > 0) == ("critic" in changes)
        assert [bool(step.recorded) for step in steps] == [number < 3 and method != "grpo"] * 2
    trained = dict(models.student.engine.module.named_parameters())
    moved = []
    for before, (name, after) in zip(initial, model.named_parameters(), strict=True):
        found = trained[name].detach()
        found = found.full_tensor() if hasattr(found, "full_tensor") else found
        torch.testing.assert_close(found, after.detach(), rtol=0, atol=3e-6)
        moved.append(float((after.detach() - before).abs().max()))
    assert max(moved) > RATE
