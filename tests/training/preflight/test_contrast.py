"""The gate before methods are compared: what the teacher makes of hints, and whether evidence finds slips."""

from pathlib import Path

import numpy as np
import pytest
from configurations import merged

from selfdistill.errors import UserError
from selfdistill.study.study import load_study
from selfdistill.tasks.datasets import write_generated
from selfdistill.training.preflight.contrast import slip_measures
from selfdistill.training.preflight.measure import run_preflight
from selfdistill.training.preflight.verdict import check_verdict, judge, write_preflight

BASES = Path(__file__).parents[3] / "resources/base_models/tiny_qwen3"
TASKS = ("slips", "slips_unread")


@pytest.fixture(scope="module")
def study():
    return load_study(merged("matrix: {tasks: [slips, slips_unread], variants: [base, grpo, rlcsd]}"))


@pytest.fixture(scope="module")
def measured(study, tmp_path_factory):
    """Rows of each base model on the first problems of the training set."""
    path = tmp_path_factory.mktemp("data") / "train.parquet"
    write_generated({**study.split("slips", "train"), "problems": 40}, "train", path)
    settings = study.preflights.of("slips", "tiny_qwen3", "base")
    return {task: run_preflight(settings, path, BASES / task, lambda line: None) for task in TASKS}


@pytest.mark.parametrize("task", TASKS)
def test_each_base_model_is_what_its_task_takes_it_for_and_not_the_other(task, study, measured):
    limits = study.preflights.limits(task, "base")
    assert [each.said for each in judge(measured[task], limits) if not each.met] == []
    other = next(name for name in TASKS if name != task)
    broken = {each.measure for each in judge(measured[other], limits) if not each.met}
    assert {"follows_right", "follows_wrong", "slip_auc" if task == "slips" else "slip_evidence"} <= broken


def test_the_comparison_of_an_unfit_base_is_refused(study, measured, tmp_path):
    """Every run waits for the verdict, those without a teacher too."""
    for variant in ("grpo", "rlcsd"):
        assert [each.variant for each in study.preflights.awaited("slips", "tiny_qwen3", variant)] == ["base"]
    assert study.preflights.refuses("slips")
    findings = judge(measured["slips_unread"], study.preflights.limits("slips", "base"))
    verdict = tmp_path / "verdict.json"
    write_preflight(verdict, {"task": "slips", "model": "m", "variant": "base"}, measured["slips_unread"], findings)
    with pytest.raises(
        UserError, match=r"contrast: follows_wrong is .*contrast: slip_auc is 0\.\d+, expected at least"
    ):
        check_verdict(verdict, refuse=True, report=print)


def test_evidence_at_slips_against_a_count_of_pairs():
    rng = np.random.default_rng(0)
    evidence = np.round(rng.normal(size=(6, 9)), 1)
    places = [1, 3, 8, 2, 5, 4]
    shares = []
    for row, place in zip(evidence, places, strict=True):
        won = 0.0
        for earlier in range(place):
            won += 1.0 if row[place] < row[earlier] else 0.5 if row[place] == row[earlier] else 0.0
        shares.append(won / place)
    found = slip_measures(evidence, places)
    assert found["slip_auc"] == pytest.approx(sum(shares) / 6)
    assert found["slip_evidence"] == pytest.approx(sum(evidence[i, place] for i, place in enumerate(places)) / 6)
    before = [abs(evidence[i, t]) for i, place in enumerate(places) for t in range(place)]
    assert found["evidence_before"] == pytest.approx(sum(before) / len(before))


def test_evidence_of_chance_is_a_half():
    rng = np.random.default_rng(1)
    assert slip_measures(rng.normal(size=(4000, 10)), [6] * 4000)["slip_auc"] == pytest.approx(0.5, abs=0.03)
    assert slip_measures(np.zeros((3, 10)), [6] * 3)["slip_auc"] == 0.5
