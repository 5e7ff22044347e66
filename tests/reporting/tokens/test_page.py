"""The page of tokens: what its data say, what is left out, what it must not do."""

import base64
import html as html_module
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from token_records import page_of, record, run_with, words

from selfdistill.errors import UserError
from selfdistill.randomness import generator
from selfdistill.tasks.pictures import Picture
from selfdistill.tasks.thumbnails import is_thumbnail, thumbnail


def data_of(page):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found)


def numbers(packed):
    return np.frombuffer(base64.b64decode(packed), "<f2").astype(float)


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


def test_feedback_is_shown_where_the_grader_gave_any(tmp_path):
    rows = [record(words(20, key=i), prompt=i, key=i) for i in range(2)]
    rows[1] |= {"feedback": "Wrong answer on test 1 </script>", "score": 0.5}
    run = run_with(tmp_path, rows)
    page = page_of([run])
    assert [each.get("feedback") for each in data_of(page)["rollouts"]] == [None, "Wrong answer on test 1 </script>"]
    assert "Feedback:" in page


def test_the_teachers_whole_prompt_is_there_where_it_was_recorded(tmp_path):
    rows = [record(words(20, key=i), prompt=i, key=i) for i in range(2)]
    rows[1] |= {"context": "<|user|>1 + 1?\nA correct solution:\n\n</script>"}
    page = page_of([run_with(tmp_path, rows)])
    assert [each.get("context") for each in data_of(page)["rollouts"]] == [None, rows[1]["context"]]
    assert "\n\n</script>" not in page


def test_every_number_of_a_rollout_is_there_to_one_part_in_two_thousand(runs):
    data = data_of(page_of(runs))
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
        "contrast": row["correct_logprobs"] - wrong,
        "after": row["advantages_after"],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(numbers(shown[name]), values, rtol=2**-11, atol=1e-7, err_msg=name)
    assert shown["weights"] is None
    marks = np.unpackbits(np.frombuffer(base64.b64decode(shown["marked"]), np.uint8), count=30, bitorder="little")
    assert list(marks) == row["marked"]
    assert shown["distilled"] is False
    assert shown["wrongHints"] == [["Guess 0.", "0"], ["Guess 1.", "1"]]


def test_a_distilled_rollout_without_wrong_hints(runs):
    shown = data_of(page_of(runs))["rollouts"][-1]
    assert shown["distilled"] is True
    assert shown["wrong"] is shown["contrast"] is shown["marked"] is None
    assert shown["wrongHints"] == []
    np.testing.assert_allclose(numbers(shown["weights"]), 2)
    row = record(words(20), hints=0, distilled=True, advantage=-0.5)
    np.testing.assert_allclose(numbers(shown["after"]), row["divergences"], rtol=2**-11, atol=1e-7)


def test_what_is_no_number_and_what_is_too_large(tmp_path):
    values = np.array([np.nan, -np.inf, 1e5, 0.0], np.float32)
    row = record(list("abcd"), correct_logprobs=values, student_logprobs=np.zeros(4, np.float32))
    shown = data_of(page_of([run_with(tmp_path, [row])]))["rollouts"][0]
    np.testing.assert_array_equal(numbers(shown["right"]), [np.nan, np.nan, 65504, 0])


def test_contrasts_that_a_method_selects_by_are_told_apart_beside_a_large_one(tmp_path):
    """rlcsd selects from 0.0008 nats on; rounding the two gaps, or one unit for all tokens, would blur that."""
    contrasts = np.array([0.00079, 0.00081, -0.00081, 30.0])
    student = np.array([-1.0, -2.0, -3.0, -40.0])
    correct = student + np.array([0.4, 0.4, 0.4, 40])
    row = record(list("abcd"), student_logprobs=student, correct_logprobs=correct, wrong_logprobs=[correct - contrasts])
    shown = numbers(data_of(page_of([run_with(tmp_path, [row])]))["rollouts"][0]["contrast"])
    np.testing.assert_allclose(shown, contrasts, rtol=1e-3)
    np.testing.assert_array_equal(np.abs(shown) > 0.0008, [False, True, True, True])


def test_gaps_share_one_scale_that_one_token_in_a_hundred_exceeds(tmp_path):
    gap = np.linspace(-1, 1, 201).astype(np.float32)
    row = record(["x"] * 201, correct_logprobs=gap, student_logprobs=np.zeros(201, np.float32))
    scales = data_of(page_of([run_with(tmp_path, [row])]))["scales"]
    assert scales["nats"] == pytest.approx(0.99, abs=0.011)
    assert scales["divergence"] > 0


def test_a_response_cannot_end_the_element_of_the_data(runs):
    page = page_of(runs)
    assert page.count("</script>") == 2
    assert "What is <b>" not in page
    assert data_of(page)["rollouts"][0]["hint"][0] == "First 1, then 1: </script> 2."


def test_a_page_has_the_newest_and_the_oldest_step_of_each_run(tmp_path):
    rows = [record(words(30, key=(i, step)), step=step, prompt=i, key=i) for step in (1, 5, 9) for i in range(9)]
    page = page_of([run_with(tmp_path, rows), run_with(tmp_path, rows[:3], variant="rlsd")])
    shown = [(r["run"], r["step"], r["name"]) for r in data_of(page)["rollouts"]]
    assert shown[:8] == [
        ("tiny, rlcsd, seed 0", step, f"prompt {n}, rollout 1") for step in (1, 9) for n in range(1, 5)
    ]
    assert [run for run, *_ in shown[8:]] == ["tiny, rlsd, seed 0"] * 3
    assert "11 recorded rollouts are on this page; 19 more are in" in page
    assert "tiny, rlcsd, seed 0: 8 of 27" in page


def test_models_share_a_page_and_those_without_space_are_named(tmp_path):
    """A method's own runs come before its variants', a first rollout of each run before a second of any."""
    runs = [
        run_with(tmp_path, [record(words(300, key=i), prompt=i, key=i) for i in range(3)], model=model, variant=variant)
        for model in ("first", "second", "third")
        for variant in ("opsd", "rlcsd", "rlcsd-gt_cot")
    ]
    limit = 6 * 7_000
    page = page_of(runs, limit=limit)
    rollouts = data_of(page)["rollouts"]
    assert len(json.dumps(rollouts)) < 1.1 * limit
    assert {r["run"] for r in rollouts} == {
        f"{m}, {v}, seed 0" for m in ("first", "second", "third") for v in ("opsd", "rlcsd")
    }
    assert "; ".join(f"{m}, rlcsd-gt_cot, seed 0" for m in ("first", "second", "third")) in page
    assert "third, rlcsd, seed 0: 1 of 3" in page
    assert "runs have" not in page_of(runs)


def test_a_rollout_without_room_gives_way_to_a_shorter_one_and_none_is_cut(tmp_path):
    rows = [record(words(4000), step=2, key=0), record(words(100), step=1, key=1)]
    shown = data_of(page_of([run_with(tmp_path, rows)], limit=20_000))["rollouts"]
    assert [len(r["tokens"]) for r in shown] == [100]


def test_long_hints_lose_their_middle(tmp_path):
    row = record(words(9), correct_solution="A" * 9000 + "B" * 9000)
    hint = data_of(page_of([run_with(tmp_path, [row])]))["rollouts"][0]["hint"][0]
    assert len(hint) < 12_100
    assert hint.startswith("AAA")
    assert hint.endswith("BBB")
    assert "6000 characters left out" in hint


def test_nothing_recorded_gives_a_page_that_says_so(tmp_path):
    page = page_of([run_with(tmp_path, [], variant="grpo")])
    assert "No rollout of this task was recorded" in page
    assert "<script" not in page


def test_the_page_loads_nothing_and_is_the_same_again(runs):
    page = page_of(runs)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html_module.unescape(page))
    assert page == page_of(runs)


def test_records_whose_columns_do_not_match_are_refused_by_name(tmp_path):
    rows = [record(words(20)) | {"weights": np.ones(19, np.float32)}]
    with pytest.raises(UserError, match=r"records\.parquet: column 'weights' is not as long as 'tokens'"):
        page_of([run_with(tmp_path, [record(words(20)), *rows])])


def test_pictures_are_in_the_page_as_addresses_and_what_is_none_is_not(tmp_path):
    whole = io.BytesIO()
    noise = generator("noise").integers(0, 256, (700, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(whole, "PNG")
    small = thumbnail(Picture.of(whole.getvalue()))
    assert is_thumbnail(small)
    assert max(Image.open(io.BytesIO(small)).size) == 256
    assert not is_thumbnail(whole.getvalue())
    images = [small, b"<svg onload=alert(1)>", whole.getvalue()]
    page = page_of([run_with(tmp_path, [record(words(9), images=images), record(words(9), prompt=1)])])
    pictured, plain = data_of(page)["rollouts"]
    address, *others = pictured["pictures"]
    assert address.startswith("data:image/png;base64,")
    assert base64.b64decode(address.partition(",")[2]) == small
    assert others == [None, None]
    assert "pictures" not in plain
