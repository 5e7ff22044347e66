from pathlib import Path

import pytest
import yaml

from selfdistill.errors import UserError
from selfdistill.methods.catalogue import shipped
from selfdistill.reporting.read import landmarks as module
from selfdistill.reporting.read.landmarks import landmarks

ROOT = Path(__file__).parents[3]
HEADER = "version,claim,model,task,method,metric,step,value,note\n"


def test_points_of_one_model_and_task():
    points = landmarks("qwen3_4b", "math")
    assert {"C4", "C5", "C6", "C8"} == {point["claim"] for point in points}
    shrunk = [p for p in points if p["method"] == "rlsd" and p["step"] == 480]
    assert [(p["metric"], p["value"]) for p in shrunk] == [("response/length_mean", 7200.0)]
    assert landmarks("tiny_qwen3", "arithmetic") == landmarks("qwen3_8b", "math") == landmarks("", "math") == []


def test_points_are_those_of_one_version():
    assert landmarks("qwen3_4b", "math", "v2") == []
    points = landmarks("qwen3_8b", "math", "v2")
    entropies = [(p["step"], p["value"]) for p in points if p["metric"] == "actor/entropy"]
    assert entropies == [(25, 0.321), (225, 0.201), (375, 0.183)]
    assert {p["method"] for p in points} == {"rlcsd-v2"}


def test_a_point_may_have_no_step():
    assert [p["step"] for p in landmarks("qwen3_4b", "math") if p["value"] == 0.41] == [None]


def test_points_are_what_the_paper_says_of_one_method():
    """No step that is inferred; no point of several methods together, nor of one of two hint settings."""
    points = [*landmarks("qwen3_4b", "math"), *landmarks("qwen3_4b", "logic")]
    assert [p["step"] for p in points if p["method"] == "rlsd_ectr"] == [None]
    assert not [p for p in points if p["method"].startswith("rlcsd-")]
    assert {p["value"] for p in points if (p["task"], p["metric"]) == ("logic", "actor/entropy")} == {0.29, 0.38, 1.2}


def test_callers_get_copies():
    landmarks("qwen3_4b", "logic")[0]["value"] = 0
    assert landmarks("qwen3_4b", "logic")[0]["value"] == 0.29


def test_names_are_those_of_the_registries():
    registry = {
        name: yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("methods", "models", "tasks")
    }
    variants = {*shipped(), *registry["methods"]["methods"], *registry["methods"]["variants"]}
    for point in (
        *landmarks("qwen3_4b", "math"),
        *landmarks("qwen3_4b", "logic"),
        *landmarks("qwen3_8b", "math", "v2"),
    ):
        assert point["method"] in variants
        assert point["model"] in registry["models"]["models"]
        assert point["task"] in registry["tasks"]["tasks"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version,claim,value\n", "column 'model' is missing"),
        (
            "version,claim,model,task,method,metric,step,value,note\nv1,C4,m,t,opsd,actor/entropy,x,1,\n",
            "line 2: step is 'x'",
        ),
        (
            "version,claim,model,task,method,metric,step,value,note\nv1,C4,m,t,opsd,actor/entropy,1,,\n",
            "line 2: value is ''",
        ),
    ],
)
def test_bad_files_are_refused(tmp_path, monkeypatch, text, message):
    monkeypatch.setattr(module, "FILE", tmp_path / "landmarks.csv")
    with pytest.raises(UserError, match="cannot read"):
        landmarks("m", "t")
    (tmp_path / "landmarks.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        landmarks("m", "t")
