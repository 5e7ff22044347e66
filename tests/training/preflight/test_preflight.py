"""What a base model makes of each kind of context before training, and the verdict on it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from configurations import merged, refusal
from torch.nn.functional import log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

from selfdistill.errors import UserError
from selfdistill.models.chat import encode_chat
from selfdistill.reporting.tables.preflight import preflight_table
from selfdistill.schemas import schema
from selfdistill.study.preflight import MEASURES
from selfdistill.study.study import load_study
from selfdistill.tasks.arithmetic import read_chain
from selfdistill.tasks.chain_feedback import named_step
from selfdistill.tasks.contexts import SECTIONS, Hint
from selfdistill.tasks.datasets import write_generated
from selfdistill.tasks.prompts import student_prompt
from selfdistill.tasks.wrong_facts import believed, step_at, wrong_cells
from selfdistill.training.preflight.measure import run_preflight
from selfdistill.training.preflight.verdict import check_verdict, judge, write_preflight

BASE = Path(__file__).parents[3] / "resources/base_models/tiny_qwen3/wrong_facts"
PROBLEMS = 60


@pytest.fixture(scope="module")
def study():
    return load_study(merged("matrix: {tasks: [wrong_facts], variants: [base]}"))


@pytest.fixture(scope="module")
def problems(study, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.parquet"
    return path, write_generated({**study.split("wrong_facts", "train"), "problems": PROBLEMS}, "train", path)


@pytest.fixture(scope="module")
def rows(study, problems):
    """The pre-flight of the shipped base model, on a fifth of its problems and under the contexts that have limits."""
    settings = study.preflights.of("wrong_facts", "tiny_qwen3", "base")
    limited = study.config["tasks"]["wrong_facts"]["preflight"]["limits"]
    settings["contexts"] = {name: about for name, about in settings["contexts"].items() if name in limited}
    assert settings["hints"]["template"] == "sections"
    return run_preflight(settings, problems[0], BASE, lambda line: None)


def test_the_shipped_base_model_keeps_to_its_limits(rows, study):
    findings = judge(rows, study.config["tasks"]["wrong_facts"]["preflight"]["limits"])
    assert len(findings) == 7
    assert [each.said for each in findings if not each.met] == []


def test_the_rows_say_what_plain_forwards_say(rows, problems):
    """At the first wrong token, of every problem at once: the wrong cell, which nearly all responses believe."""
    tokenizer, model = AutoTokenizer.from_pretrained(BASE), AutoModelForCausalLM.from_pretrained(BASE)
    first, likely, wrong, gap = [], [], [], []
    for problem in problems[1]:
        chain = read_chain(problem.problem)
        results = believed(chain)
        cell = wrong_cells(chain, results)[0]
        step = step_at(chain, results, cell)
        said = named_step(cell, f"{step[0]}*{step[2]}={chain.results[cell]}")
        student = student_prompt(problem.problem, training=True)
        before = chain.worked(results)[: 7 * cell + 4]
        said = SECTIONS.prompt(student, problem.problem, Hint(feedback=said))
        own, told = (_next(model, tokenizer, prompt, before) for prompt in (student, said))
        right, drawn = (tokenizer.convert_tokens_to_ids(str(each[cell])) for each in (chain.results, results))
        first.append(told.argmax() == right)
        likely.append(told[right].exp())
        wrong.append(own.argmax() == right)
        gap.append(told[drawn] - own[drawn])
    by_context = {row["context"]: row for row in rows}
    assert by_context["value"]["rollouts_with_place"] > 0.9 * PROBLEMS
    assert by_context["value"]["argmax_right"] == pytest.approx(np.mean(first), abs=0.05)
    assert by_context["value"]["right_probability"] == pytest.approx(np.mean(likely), abs=0.05)
    assert by_context["value"]["log_ratio"] == pytest.approx(np.mean(gap), abs=0.2)
    assert by_context["student"]["argmax_right"] == pytest.approx(np.mean(wrong), abs=0.05)


@torch.no_grad()
def _next(model, tokenizer, prompt: str, response: str):
    ids = encode_chat(tokenizer, prompt) + tokenizer(response, add_special_tokens=False).input_ids
    return log_softmax(model(torch.tensor([ids])).logits[0, -1].double(), dim=-1)


ROWS = [
    {"context": "student", "argmax_right": 0.02, "accuracy": 0.1},
    {"context": "value", "argmax_right": 0.95, "accuracy": 0.9, "accuracy_gain": 0.8},
]


@pytest.mark.parametrize(
    ("limits", "broken"),
    [
        ({"value": {"argmax_right": {"least": 0.95}}, "student": {"argmax_right": {"most": 0.02}}}, []),
        ({"value": {"accuracy": {"least": 0.5, "most": 0.8}}}, ["value: accuracy is 0.900, expected at most 0.8"]),
        ({"student": {"accuracy": {"least": 0.2}}}, ["student: accuracy is 0.100, expected at least 0.2"]),
        ({"value": {"log_ratio": {"most": 0}}}, ["value: log_ratio is not measured, expected at most 0"]),
    ],
)
def test_the_verdict_names_what_is_broken_and_training_refuses_or_warns(limits, broken, tmp_path):
    verdict, said = tmp_path / "verdict.json", []
    findings = judge(ROWS, limits)
    assert [each.said for each in findings if not each.met] == broken
    write_preflight(verdict, {"task": "t", "model": "m", "variant": "base"}, ROWS, findings)
    assert json.loads(verdict.read_text())["passed"] == (not broken)
    table = preflight_table([verdict])
    assert table["context"].tolist() == ["student", "value"]
    assert "; ".join(filter(None, table["not_met"])) == "; ".join(each.partition(": ")[2] for each in broken)
    if broken:
        with pytest.raises(UserError, match=r"fails 1 of \d limits: .*preflight\.refuse: false"):
            check_verdict(verdict, refuse=True, report=said.append)
    else:
        check_verdict(verdict, refuse=True, report=said.append)
    check_verdict(verdict, refuse=False, report=said.append)
    assert ("warning" in said[-1]) == bool(broken)


def test_a_model_that_is_never_wrong_has_nothing_to_be_taught(study, tmp_path):
    clean = {"exercise": "clean_facts", "seed": 0, "dataset": "clean", "problems": 3, "sizes": [3]}
    path = tmp_path / "train.parquet"
    write_generated(clean, "train", path)
    with pytest.raises(UserError, match="all 3 responses of the base model are right"):
        run_preflight(study.preflights.of("wrong_facts", "tiny_qwen3", "base"), path, BASE, lambda line: None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits: {values: {accuracy: {least: 1}}}", "no context 'values'; expected student or one of contexts"),
        ("limits: {value: {acuracy: {least: 1}}}", "unknown key 'acuracy'; the nearest valid key is 'accuracy'"),
        ("contexts: {student: {solution: true}}", "'student' is a row of its own"),
        ("contexts: {contrast: {solution: true}}", "'contrast' is a row of its own"),
        ("limits: {contrast: {slip_auc: {least: 1}}}", "no context 'contrast'; expected student or one of contexts"),
        ("contexts: {bare: {shuffled: true}}", "bare: shows nothing; give it feedback"),
        ("contexts: {odd: {solution: true, shuffled: true}}", "odd: shuffled needs the level of feedback"),
    ],
)
def test_a_pre_flight_that_asks_for_what_there_is_not_is_refused(text, said):
    assert said in refusal(f"tasks: {{wrong_facts: {{preflight: {{{text}}}}}}}")


def test_the_schema_has_the_measures():
    limits = schema("tasks")["additionalProperties"]["properties"]["preflight"]["properties"]["limits"]
    assert list(limits["additionalProperties"]["properties"]) == list(MEASURES)
