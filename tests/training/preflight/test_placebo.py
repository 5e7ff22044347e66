"""What critiques do to wrong responses and to right ones that read them too: slow forwards, and the shipped toy."""

from pathlib import Path

import pytest
import torch
from configurations import merged, refusal
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM

from selfdistill.sampling.interface import Rollout
from selfdistill.study.study import load_study
from selfdistill.tasks.datasets import write_generated
from selfdistill.tasks.graders import Graded
from selfdistill.training.preflight.contexts import Named, named_hints
from selfdistill.training.preflight.measure import _how, draw_attempts, run_preflight
from selfdistill.training.preflight.placebo import answer_tokens, placebo_measures
from selfdistill.training.preflight.reader import Attempt, Reader
from selfdistill.training.preflight.verdict import judge

BASE = Path(__file__).parents[3] / "resources/base_models/tiny_qwen3_critique/arithmetic"
SETTINGS = """
matrix: {tasks: [arithmetic], models: [tiny_qwen3_critique], variants: [base]}
tasks:
  arithmetic:
    grader: chain
    preflight:
      problems: 40
      responses: 4
      contexts:
        verdict: {critique: verdict}
        noquote: {critique: noquote}
        plain: {critique: plain}
        gold: {critique: gold}
overrides: {all: {rollout: {top_p: 1.0, top_k: 0}, hints: {template: critique, max_tokens: 100}}}
"""


@pytest.fixture(scope="module")
def settings():
    return load_study(merged(SETTINGS)).preflights.of("arithmetic", "tiny_qwen3_critique", "base")


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.parquet"
    recipe = {"exercise": "arithmetic", "seed": 0, "dataset": "chains", "problems": 40, "sizes": [3, 5, 8]}
    return path, write_generated(recipe, "train", path)


@pytest.fixture(scope="module")
def rows(settings, train):
    return {row["context"]: row for row in run_preflight(settings, train[0], BASE, lambda line: None)}


@torch.no_grad()
def slow(model, prompt, response):
    """Log-probs of a response's tokens, one forward a token."""
    found = []
    for place, token in enumerate(response):
        logits = model(torch.tensor([[*prompt, *response[:place]]])).logits[0, -1].double()
        found.append(float(log_softmax(logits, dim=-1)[token]))
    return torch.tensor(found)


def test_deltas_are_what_slow_forwards_say(settings, train):
    reader = Reader.of(BASE, _how(settings), lambda line: None)
    attempts = draw_attempts(reader, train[1][:6], 4)
    wrong = [each for each in attempts if not each.graded.correct][:5]
    right = {}
    for each in attempts:
        if each.graded.correct:
            right.setdefault(each.problem.id, []).append(each)
    contexts = reader.contexts(wrong, named_hints(reader, Named(critique="plain"), wrong))
    found = placebo_measures(reader, wrong, contexts, right)
    model = AutoModelForCausalLM.from_pretrained(BASE)
    pairs = [(c, other) for each, c in zip(wrong, contexts, strict=True) for other in right.get(each.problem.id, ())]
    assert len(wrong) > 2 < len(pairs)
    own = [slow(model, c, a.response) - slow(model, a.prompt, a.response) for a, c in zip(wrong, contexts, strict=True)]
    theirs = [slow(model, c, a.response) - slow(model, a.prompt, a.response) for c, a in pairs]
    delta_wrong, delta_right = float(torch.cat(own).mean()), float(torch.cat(theirs).mean())
    expected = {
        "delta_wrong": delta_wrong,
        "delta_right": delta_right,
        "delta_gap": delta_wrong - delta_right,
        "delta_first": float(torch.stack([each[0] for each in own]).mean()),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    boxes = [each[answer_tokens(reader, a)] for each, a in zip(own, wrong, strict=True)]
    assert found["delta_answer"] == pytest.approx(float(torch.cat(boxes).mean()), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (r"3*4=2. \boxed{2}", [7]),
        (r"\boxed{7}", [1]),
        (r"\boxed{7}\boxed{}", [1]),
        ("3*4=2. ", []),
    ],
)
def test_the_answer_is_the_last_box_that_holds_one(settings, text, place):
    reader = Reader.of(BASE, _how(settings), lambda line: None)
    ids = reader.tokenizer(text, add_special_tokens=False).input_ids
    attempt = Attempt(None, [], Rollout(ids, None, None, "stop"), text, Graded(None, False))
    assert answer_tokens(reader, attempt) == place


def test_what_critiques_do_to_the_shipped_toy(rows):
    """docs/critiques.md has three seeds of 150 problems each; here the signs that were the same in all of them."""
    assert rows["noquote"]["delta_gap"] < rows["verdict"]["delta_gap"] < 0
    assert rows["gold"]["delta_gap"] < rows["noquote"]["delta_gap"]
    # Quoted, the wrong digit grows likelier and the right one less; told, the other way round.
    assert rows["plain"]["delta_answer"] > 0 > rows["plain"]["delta_answer_right"]
    assert rows["gold"]["delta_answer"] < 0 < rows["gold"]["delta_answer_right"]
    # Any of them makes the toy work the problem out, as it was taught to.
    assert all(rows[name]["accuracy_gain"] > 0.1 for name in ("verdict", "noquote", "plain", "gold"))


def test_a_kind_of_critique_that_the_tasks_rule_does_not_write_is_refused():
    said = refusal(SETTINGS.replace("critique: plain", "critique: plane"))
    assert "tasks.arithmetic.preflight.contexts.plain" in said
    assert "'plane'" in said


VARIANT = """
variants:
  rlsd-rule: {method: rlsd, set: {hints: {source: critique}, critic: {kind: rule, mode: noquote}}}
matrix: {tasks: [arithmetic], models: [tiny_qwen3_critique], variants: [rlsd-rule, grpo]}
tasks: {arithmetic: {preflight: {refuse: true, limits: {rlsd-rule: {accuracy_gain: {least: 0}, delta_gap: {most: 0}}}}}}
"""


def test_a_variants_own_critic_is_tried_before_its_runs(train):
    study = load_study(merged(SETTINGS, VARIANT))
    cell = ("arithmetic", "tiny_qwen3_critique")
    assert [each.variant for each in study.preflights.awaited(*cell, "rlsd-rule")] == ["base", "rlsd-rule"]
    assert study.preflights.awaited(*cell, "grpo") == []
    assert {each.variant for each in study.preflights.cells()} == {"base", "rlsd-rule"}
    settings = study.preflights.of(*cell, "rlsd-rule") | {"problems": 5}
    (row,) = run_preflight(settings, train[0], BASE, lambda line: None)
    assert row["rollouts"] == 5 * 8
    assert 0 < row["hinted_share"] < 1, "the wrong ones alone have a critique"
    assert row["accuracy_gain"] > 0 > row["delta_gap"]
    findings = judge([row], study.preflights.limits("arithmetic", "rlsd-rule"))
    assert len(findings) == 2
    assert all(each.met for each in findings)
