"""A judge at an address, answered by a server on the loopback."""

import json

import pytest
from openai_server import completion, serving

from selfdistill.errors import UserError
from selfdistill.evaluation.draws import read_draws
from selfdistill.evaluation.evaluate import evaluate_run
from selfdistill.evaluation.model_judge import ModelJudge
from selfdistill.models.tiny_model import TinyModel, build_model
from selfdistill.tasks.schema import Problem, write_problems


@pytest.fixture
def model(tmp_path, tokenizer):
    build_model(TinyModel(layers=1), tokenizer, seed=0).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def problem(answer="the sixth", number=0):
    return Problem(f"p/{number}", "p", "Which {one}?", answer, "", "", number, "val")


def says(message, _):
    """Right where reference and box mean the same to this judge."""
    right = "\\boxed{6th}" in message or "\\boxed{the sixth}" in message
    return completion(f"They {'agree' if right else 'differ'}.\nVerdict: {'right' if right else 'wrong'}")


def judged(answer, responses, lines=None, **settings):
    with serving(answer) as server:
        judge = ModelJudge({"url": server.url, "model": "m", "pause": 0.0, **settings})
        found = judge.verdicts(responses, [problem()] * len(responses), (lines if lines is not None else []).append)
        return found, server


def test_a_judge_sees_question_reference_and_the_end_of_a_response_and_nobody_is_asked_about_nothing():
    responses = ["x" * 9000 + "\\boxed{6th}", "\\boxed{5th}", " \n", "\\boxed{6th}"]
    found, server = judged(says, responses)
    assert found == [True, False, False, True]
    assert len(server.bodies) == 3
    for message in server.messages:
        assert "Which {one}?" in message
        assert "Reference answer:\nthe sixth\n" in message
    assert max(map(len, server.messages)) < 5000
    assert {body["model"] for body in server.bodies} == {"m"}
    assert all("chat_template_kwargs" not in json.dumps(body) for body in server.bodies)


@pytest.mark.parametrize("text", ["I cannot say.", "", "Verdict: maybe"])
def test_an_answer_without_a_verdict_counts_as_wrong_and_is_told(text):
    lines = []
    found, _ = judged(lambda message, _: completion(text), ["\\boxed{6th}"], lines)
    assert found == [False]
    assert "no verdict on 1 of 1 responses" in lines[0]


def test_a_verdict_alone_is_enough():
    assert judged(lambda message, _: completion("Verdict: right"), ["\\boxed{6th}"])[0] == [True]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ((500, "down"), r"judge\.url http.*does not answer \(unreachable: 500: down\)"),
        ((429, "slower"), r"judge\.url http.*does not answer \(unreachable: 429: slower\)"),
        ((401, "who?"), r"judge\.url http.*answers 401.*judge\.key_variable is empty"),
        ((404, "no such model"), r"answers 404 for model 'm'.*correct judge\.url \(with /v1\) or judge\.model"),
    ],
)
def test_who_does_not_answer_is_named_before_anything_is_drawn(fault, message):
    with serving(lambda *_: fault) as server, pytest.raises(UserError, match=message):
        ModelJudge({"url": server.url, "model": "m", "pause": 0.0}).try_out(problem())


@pytest.mark.parametrize("fault", [(500, "down"), (429, "slower"), "hang up"])
def test_a_response_that_could_not_be_judged_has_no_verdict_and_the_others_keep_theirs(fault):
    lines = []
    boxes = ["\\boxed{5th}", *["\\boxed{6th}"] * 5, ""]
    found, _ = judged(lambda m, n: fault if "5th" in m else says(m, n), boxes, lines, tries=1)
    assert found == [None, *[True] * 5, False]
    assert "1 of 6 responses were not judged" in lines[0]


@pytest.mark.parametrize("fault", [(500, "down"), (401, "no more")])
def test_one_that_answers_no_more_is_left_alone_and_what_was_drawn_is_kept(fault):
    lines = []
    boxes = [f"\\boxed{{6th}} {n}" for n in range(40)]
    asked = []

    def answer(message, times):
        asked.append(message)
        return says(message, times) if len(asked) <= 10 else fault

    found, server = judged(answer, boxes, lines, tries=1, in_flight=1)
    assert found == [True] * 10 + [None] * 30
    assert len(server.bodies) <= 20
    assert "judge: asked no further (judge.url http" in lines[0]
    assert "30 of 40 responses were not judged" in lines[1]


def test_a_key_is_taken_from_its_variable(monkeypatch):
    with pytest.raises(UserError, match=r"judge\.key_variable: the environment has no variable JUDGE_KEY"):
        ModelJudge({"url": "http://127.0.0.1:9/v1", "model": "m", "key_variable": "JUDGE_KEY"})
    monkeypatch.setenv("JUDGE_KEY", "a secret")
    _, server = judged(says, ["\\boxed{6th}"], key_variable="JUDGE_KEY")
    assert server.headers[0]["authorization"] == "Bearer a secret"


def test_its_verdicts_stand_beside_the_graders_and_it_is_tried_before_anything_is_drawn(model, tmp_path):
    write_problems(tmp_path / "val.parquet", [problem(number=n) for n in range(2)])
    how = {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_response_tokens": 3}
    task = {"grader": "pictures", "draws": 1, "evaluation": how, "second_grader": "judge", "prompt": "boxed"}
    lines, order = [], []

    def answer(message, times):
        order.append((len(lines), message))
        return says(message, times)

    with serving(answer) as server:
        evaluate_run(
            model,
            tmp_path / "val.parquet",
            task | {"judge": {"url": server.url, "model": "m"}},
            0,
            {"p": tmp_path / "p.parquet"},
            lines.append,
        )
    assert order[0][0] == 0
    assert "\\boxed{the sixth}" in order[0][1]
    draws = read_draws(tmp_path / "p.parquet")
    assert draws["second_correct"].tolist() == [False, False]
    assert "by judge)" in lines[-1]
    with pytest.raises(UserError, match=r"judge\.url"):
        evaluate_run(
            model,
            tmp_path / "val.parquet",
            task | {"judge": {"url": "http://127.0.0.1:9/v1", "model": "m", "pause": 0.0}},
            0,
            {"p": tmp_path / "q.parquet"},
            lines.append,
        )
    assert not (tmp_path / "q.parquet").exists()
