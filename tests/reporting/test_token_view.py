"""The page of tokens: what its data say, what is left out, what it must not do."""

import base64
import html as html_module
import json
import re

import numpy as np
import pytest
from token_records import record, run_with, words

from selfdistill.reporting.token_view import token_page


def data_of(page):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def numbers(packed):
    values = np.frombuffer(base64.b64decode(packed), "<i2")
    return np.where(values == -32768, np.nan, values / 1000)


@pytest.fixture
def runs(tmp_path):
    rows = [record(words(30, key=i), step=step, prompt=i, key=i) for step in (1, 20) for i in range(3)]
    lone = [record(words(20), hints=0, distilled=True, advantage=-0.5, marked=None, weights=[2.0] * 20)]
    return [
        run_with(tmp_path, rows),
        run_with(tmp_path, lone, variant="opsd", seed=4),
        run_with(tmp_path, [], variant="grpo"),
        run_with(tmp_path, rows[:1], task="other"),
    ]


def test_every_number_of_a_rollout_is_there_to_a_thousandth(runs):
    data = data_of(token_page(runs, "sums"))
    assert [(r["run"], r["step"], r["name"]) for r in data["rollouts"]] == [
        *[("tiny, rlcsd, seed 0", step, f"prompt {prompt}, rollout 1") for step in (1, 20) for prompt in (1, 2, 3)],
        ("tiny, opsd, seed 4", 1, "prompt 1, rollout 1"),
    ]
    row, shown = record(words(30, key=1), step=20, prompt=1, key=1), data["rollouts"][4]
    assert shown["tokens"] == row["tokens"]
    student = row["student_logprobs"]
    wrong = np.log(np.mean(np.exp(row["wrong_logprobs"]), axis=0))
    expected = {
        "student": student,
        "right": row["correct_logprobs"] - student,
        "wrong": wrong - student,
        "after": row["advantages_after"],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(numbers(shown[name]), values, atol=6e-4, err_msg=name)
    assert shown["weights"] is None
    assert shown["marked"] == [i for i, mark in enumerate(row["marked"]) if mark]
    assert shown["distilled"] is False
    assert shown["wrongHints"] == [["Guess 0.", "0"], ["Guess 1.", "1"]]


def test_a_distilled_rollout_without_wrong_hints(runs):
    shown = data_of(token_page(runs, "sums"))["rollouts"][-1]
    assert shown["distilled"] is True
    assert shown["wrong"] is shown["marked"] is None
    assert shown["wrongHints"] == []
    np.testing.assert_allclose(numbers(shown["weights"]), 2)
    row = record(words(20), hints=0, distilled=True, advantage=-0.5)
    np.testing.assert_allclose(numbers(shown["after"]), row["divergences"], atol=6e-4)


def test_what_is_no_number_and_what_is_too_large(tmp_path):
    values = np.array([np.nan, -np.inf, 50.0, 0.0], np.float32)
    row = record(list("abcd"), correct_logprobs=values, student_logprobs=np.zeros(4, np.float32))
    shown = data_of(token_page([run_with(tmp_path, [row])], "sums"))["rollouts"][0]
    np.testing.assert_array_equal(numbers(shown["right"]), [np.nan, np.nan, 32.767, 0])


def test_gaps_share_one_scale_that_one_token_in_a_hundred_exceeds(tmp_path):
    gap = np.linspace(-1, 1, 201).astype(np.float32)
    row = record(["x"] * 201, correct_logprobs=gap, student_logprobs=np.zeros(201, np.float32))
    scales = data_of(token_page([run_with(tmp_path, [row])], "sums"))["scales"]
    assert scales["nats"] == pytest.approx(0.99, abs=0.011)
    assert scales["divergence"] > 0


def test_a_response_cannot_end_the_element_of_the_data(runs):
    page = token_page(runs, "sums")
    assert page.count("</script>") == 2
    assert "What is <b>" not in page
    assert data_of(page)["rollouts"][0]["hint"][0] == "First 1, then 1: </script> 2."


def test_the_page_is_capped_and_says_what_it_left_out(tmp_path):
    runs = [
        run_with(
            tmp_path,
            [record(words(300, key=(i, step)), step=step, prompt=i, key=i) for step in (1, 5, 9) for i in range(4)],
            variant=variant,
        )
        for variant in ("rlcsd", "rlsd")
    ]
    page = token_page(runs, "sums", limit=50_000)
    shown = data_of(page)["rollouts"]
    assert 30_000 < len(json.dumps(shown)) <= 60_000
    assert f"{len(shown)} recorded rollouts" in page
    assert f"{24 - len(shown)} more were left out" in page
    assert "0.05 MB" in page
    by_run = [[r["step"] for r in shown if v in r["run"]] for v in ("rlcsd,", "rlsd,")]
    assert abs(len(by_run[0]) - len(by_run[1])) <= 1
    assert all(set(steps) == {1, 5, 9} for steps in by_run)  # every step before a second rollout of any


def test_long_hints_lose_their_middle(tmp_path):
    row = record(words(9), correct_solution="A" * 9000 + "B" * 9000)
    hint = data_of(token_page([run_with(tmp_path, [row])], "sums"))["rollouts"][0]["hint"][0]
    assert len(hint) < 12_100
    assert hint.startswith("AAA")
    assert hint.endswith("BBB")
    assert "6000 characters left out" in hint


def test_nothing_recorded_gives_a_page_that_says_so(tmp_path):
    page = token_page([run_with(tmp_path, [], variant="grpo")], "sums")
    assert "No rollout of this task was recorded" in page
    assert "<script" not in page


def test_the_page_loads_nothing_and_is_the_same_again(runs):
    page = token_page(runs, "sums")
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html_module.unescape(page))
    assert page == token_page(runs, "sums")
