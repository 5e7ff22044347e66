import dataclasses
import json

import pytest

from selfdistill.errors import UserError
from selfdistill.reporting.read.provenance import check_same_base
from selfdistill.reporting.read.runs import check_unique, read_metrics, series


def test_metrics_are_read_in_order(study):
    run = study.runs[1]
    metrics = read_metrics(run.metrics)
    assert [record["step"] for record in metrics] == list(range(41))
    assert list(series(metrics, "actor/entropy")) == list(range(1, 41))
    assert list(series(metrics, "val/chain-3/mean@4")) == [0, 10, 20, 30, 40]
    assert series(metrics, "no/such") == {}


def test_series_leaves_out_what_is_no_number():
    metrics = [{"step": 1, "a": None}, {"step": 2, "a": float("nan")}, {"step": 3, "a": "x"}, {"step": 4, "a": 2}]
    assert series(metrics, "a") == {4: 2.0}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"step": 0}\n{"step": 1, "a": \n', r"metrics.jsonl, line 2: not JSON"),
        ('{"step": 0}\n\n', r"metrics.jsonl, line 2: not JSON"),
        ("[1]\n", r"line 1: expected a JSON object with a whole number 'step'"),
        ('{"a": 1}\n', r"line 1: expected a JSON object with a whole number 'step'"),
        ('{"step": true}\n', r"line 1: expected a JSON object with a whole number 'step'"),
        ('{"step": -1}\n', r"line 1: expected a JSON object with a whole number 'step'"),
        ('{"step": 0}\n{"step": 1}\n{"step": 1}\n', r"line 3: step 1 comes after step 1; expected every step once"),
        ('{"step": 1}\n{"step": 2}\n{"step": 0}\n', r"line 3: step 0 comes after step 2.*two trainers"),
        ('{"step": 0}\n{"step": 1}\n{"step": 3}\n', r"line 3: step 3 comes after step 1.*lines are missing"),
        ('{"step": 5}\n{"step": 6}\n', r"line 1: the first step is 5.*lines are missing"),
        ("", "no steps"),
    ],
)
def test_bad_metrics_name_file_and_line(tmp_path, text, complaint):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    with pytest.raises(UserError, match=complaint):
        read_metrics(path)


def test_missing_metrics(tmp_path):
    with pytest.raises(UserError, match=r"none.jsonl: cannot read the metrics \(No such file"):
        read_metrics(tmp_path / "none.jsonl")


def with_base(run, folder, weights):
    """The run with a file that says what it began with."""
    base = run.variant == "base"
    file = folder / f"{run.variant}-{run.seed}.json"
    file.write_text(json.dumps({"weights_sha256" if base else "base_model_sha256": weights}))
    return dataclasses.replace(run, **{"account" if base else "provenance": file})


@pytest.mark.parametrize("changed", [0, 1, -1])
def test_runs_of_one_model_began_with_the_same_weights(study, tmp_path, changed):
    """Where the weights of a user's folder were replaced, newer runs must not stand beside older ones."""
    runs = [run for run in study.runs if run.task == study.runs[0].task and run.seed == 0]
    assert runs[0].variant == "base"
    runs = [with_base(run, tmp_path, "a" * 64) for run in runs]
    check_same_base([*runs, dataclasses.replace(runs[1], model="other", provenance=None)])
    runs[changed] = with_base(runs[changed], tmp_path, "b" * 64)
    with pytest.raises(UserError, match=r"sha256 is [ab]{12}\.\.\., and [ab]{12}\.\.\. of .*unlike weights"):
        check_same_base(runs)
    elsewhere = [dataclasses.replace(run, task=f"task{i}") for i, run in enumerate(runs)]
    check_same_base(elsewhere)


def test_two_runs_with_one_name(study):
    check_unique(study.runs)
    twin = dataclasses.replace(study.runs[0], method="other")
    with pytest.raises(UserError, match="run arithmetic/tiny-qwen3/base/seed0 is listed twice"):
        check_unique([*study.runs, twin])
