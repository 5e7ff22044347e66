"""The small examples run, and do what they say: own reward, method and task, and losses in another trainer."""

import importlib
import sys

import pytest
import yaml
from configurations import REGISTRIES, merged
from repository import ROOT

from selfdistill.study.study import load_study
from selfdistill.tasks.schema import read_problems


@pytest.fixture
def example(monkeypatch):
    """Imports an example by name, with its neighbours beside it."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(ROOT / "examples")):
            del sys.modules[name]


def test_a_reward_of_ones_own_is_what_is_trained_on(example):
    module = example("own_reward")
    problem = example("toy").chain_problems(1)[0]
    short = rf"\boxed{{{problem.answer}}}"
    long = problem.solution + " " * module.LONGEST + short
    assert module.right_and_short(short, problem).correct
    verdict = module.right_and_short(long, problem)
    assert (verdict.correct, verdict.feedback) == (False, f"Right, but {len(long)} characters long.")
    [metrics] = module.main(steps=1)
    plain = example("toy").toy_trainer(example("toy").toy_settings("rlcsd"), example("toy").chain_problems(16))
    assert metrics["reward/mean"] < sum(plain.roll_out(1).correct) / 24


def test_a_method_of_ones_own_trains(example):
    [metrics] = example("own_method").main(steps=1)
    assert 0 < metrics["signal/chosen_share"] < 1
    assert metrics["actor/grad_norm"] > 0


def test_a_task_of_ones_own_is_a_study(example, tmp_path):
    path = example("own_task").main(tmp_path)
    study = load_study(merged(path.read_text(), files=REGISTRIES))
    run = study.resolve("my_task", "my_model", "rlcsd", 0)
    assert (run["steps"], run["grader"], run["rollout"]["max_response_tokens"]) == (4, "maths", 80)
    folder = yaml.safe_load(path.read_text())["tasks"]["my_task"]["data"]["source"]
    train, test = (read_problems(f"{folder}/{name}.parquet") for name in ("my_problems/train", "my_test/val"))
    assert (len(train), len(test)) == (64, 20)
    assert not {problem.problem for problem in train} & {problem.problem for problem in test}


def test_losses_in_another_trainer_do_not_depend_on_micro_batches(example):
    whole, parts = example("losses_elsewhere").main()
    assert whole.abs().max() > 0
    assert (whole - parts).abs().max() < 1e-7
