"""Chains with wrong facts, and what their grader says of a response's working."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfdistill.errors import UserError
from selfdistill.models.tiny_model import build_tokenizer
from selfdistill.tasks import arithmetic, chain_feedback, wrong_facts
from selfdistill.tasks.arithmetic import Chain
from selfdistill.tasks.chain_feedback import fault_of, named_step, topic
from selfdistill.tasks.datasets import generate_problems
from selfdistill.tasks.exercises import exercise_kind
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import Problem

ROOT = Path(__file__).parents[2]
CHAIN = Chain(5, (("+", 2), ("*", 9), ("-", 1)))  # 5+2=7; 7*9=3; 3-1=2; and 7*9 is believed to be 2


def problem(chain: Chain) -> Problem:
    return Problem("t/0", "t", chain.text(), chain.answer, chain.worked(), "math", 0, "val")


def slow_believed(chain: Chain) -> list[int]:
    """Step by step, the wrong products written out."""
    wrong = {"3*7": 5, "3*9": 4, "4*8": 5, "4*9": 8, "6*9": 3, "7*9": 2}
    wrong |= {text[::-1]: result for text, result in wrong.items()}
    value, results = chain.start, []
    for symbol, digit in chain.operations:
        value = wrong.get(f"{value}{symbol}{digit}", eval(f"{value}{symbol}{digit}") % 10)
        results.append(value)
    return results


def test_every_believed_product_is_wrong_in_either_order():
    assert len(wrong_facts.BELIEVED) == 12
    for (a, b), result in wrong_facts.BELIEVED.items():
        assert result != a * b % 10
        assert wrong_facts.BELIEVED[b, a] == result


@pytest.mark.parametrize("size", [2, 5, 8])
def test_hard_chains_hang_on_one_wrong_fact_and_clean_ones_on_none(size):
    rng = np.random.default_rng(size)
    for _ in range(100):
        hard, clean = wrong_facts.generate(rng, size), wrong_facts.generate_clean(rng, size)
        assert len(hard.operations) == len(clean.operations) == size
        own = slow_believed(hard)
        assert wrong_facts.believed(hard) == own
        assert own[-1] != hard.results[-1]
        steps = re.findall(r"(\d)\*(\d)", hard.worked())
        assert sum((int(a), int(b)) in wrong_facts.BELIEVED for a, b in steps) == 1
        differing = next(i for i in range(size) if own[i] != hard.results[i])
        assert wrong_facts.wrong_cells(hard, hard.results) == wrong_facts.wrong_cells(hard, own) == [differing]
        assert slow_believed(clean) == clean.results


def test_the_shares_of_hard_and_clean_chains_are_those_of_the_page():
    chains = [arithmetic.generate(np.random.default_rng(i), 5) for i in range(3000)]
    assert np.mean([wrong_facts.is_hard(c) for c in chains]) == pytest.approx(0.13, abs=0.02)
    assert np.mean([wrong_facts.is_clean(c) for c in chains]) == pytest.approx(0.83, abs=0.02)


def test_a_benchmark_may_have_an_exercise_of_its_own():
    parts = {"wrong-5": {"size": 5, "problems": 4}, "clean-5": {"size": 5, "problems": 4, "exercise": "clean_facts"}}
    rows = generate_problems({"exercise": "wrong_facts", "seed": 0, "benchmarks": parts}, "val")
    chains = [arithmetic.read_chain(row.problem) for row in rows]
    assert [wrong_facts.is_hard(c) for c in chains] == [True] * 4 + [False] * 4
    assert [wrong_facts.is_clean(c) for c in chains] == [False] * 4 + [True] * 4
    alone = generate_problems(
        {"exercise": "clean_facts", "seed": 0, "benchmarks": {"clean-5": {"size": 5, "problems": 4}}}, "val"
    )
    assert alone == rows[4:]
    with pytest.raises(UserError, match="clean-5: clean_facts has no problems of size 1; expected 2 to 20"):
        generate_problems(
            {"exercise": "wrong_facts", "seed": 0, "benchmarks": {"clean-5": {**parts["clean-5"], "size": 1}}}, "val"
        )


#: kind -> a response to CHAIN with that fault, and what is said at `place` and at `value`.
FAULTS = {
    "result": ("5+2=7; 7*9=2; 2-1=1. \\boxed{1}", "First wrong step: 2", "First wrong step: 2. 7*9=3"),
    "start": (
        "5+2=7; 6*9=4; 4-1=3. \\boxed{3}",
        "First step that does not go on from the last result: 2",
        "First step that does not go on from the last result: 2. 7*9=3",
    ),
    "operand": (
        "5+2=7; 7*8=6; 6-1=5. \\boxed{5}",
        "First step that the problem does not ask for: 2",
        "First step that the problem does not ask for: 2. 7*9=3",
    ),
    "missing": ("5 + 2 = 7. \\boxed{7}", "First missing step: 2", "First missing step: 2. 7*9=3"),
    "no_working": (
        "\\boxed{4}",
        "There is no working. First missing step: 1",
        "There is no working. First missing step: 1. 5+2=7",
    ),
    "extra": ("5+2=7; 7*9=3; 3-1=2; 2+2=4. \\boxed{4}", "There are too many steps.", "There are too many steps."),
    "box": (
        "5+2=7; 7*9=3; 3-1=2. \\boxed{3}",
        "The boxed answer is not the last result.",
        "The boxed answer is not the last result.",
    ),
    "no_box": ("5+2=7; 7*9=3; 3-1=2.", "There is no boxed answer.", "There is no boxed answer."),
    "cut": ("5+2=7; 7*9=3; 3-1=", "The answer was cut for its length.", "The answer was cut for its length."),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_found_and_said_at_its_level(kind):
    response, place, value = FAULTS[kind]
    cut = kind == "cut"
    no_answer = kind in ("no_box", "cut")
    expected = {
        "none": "",
        "verdict": place if no_answer else "The final answer is wrong.",
        "place": place,
        "value": value,
        "solution": place if no_answer else "Right working: 5+2=7; 7*9=3; 3-1=2",
    }
    for level, said in expected.items():
        graded = grade_response(response, problem(CHAIN), "chain", truncated=cut, grading={"feedback": level})
        assert (graded.correct, graded.feedback) == (False, said), level
    answer = grade_response(response, problem(CHAIN), "chain").answer
    fault = fault_of(CHAIN, response, answer, truncated=cut)
    assert fault.kind == kind
    if kind == "result":
        assert response[slice(*fault.span)] == "2"
    else:
        assert fault.span is None


def test_every_kind_of_fault_is_in_the_table():
    assert set(FAULTS) == set(chain_feedback.KINDS)


@pytest.mark.parametrize(
    "response", ["\\boxed{2}", "5+2=7; 7*9=2; 2*1=2. \\boxed{2}", CHAIN.worked() + "\\boxed{ 2. }"]
)
def test_nothing_is_said_of_a_right_answer_however_it_was_come_by(response):
    graded = grade_response(response, problem(CHAIN), "chain", grading={"feedback": "solution"})
    assert (graded.correct, graded.feedback) == (True, "")


@given(st.integers(0, 2**32), st.integers(2, 8))
def test_the_named_step_of_a_believed_path_is_its_wrong_cell_put_right(seed, size):
    chain = wrong_facts.generate(np.random.default_rng(seed), size)
    own = wrong_facts.believed(chain)
    said = grade_response(f"{chain.worked(own)}\\boxed{{{own[-1]}}}", problem(chain), "chain").feedback
    number, left, right, result = map(int, re.fullmatch(r"First wrong step: (\d+)\. (\d)\*(\d)=(\d)", said).groups())
    assert (left, right) in wrong_facts.BELIEVED
    assert left * right % 10 == result == chain.results[number - 1]


def test_a_problem_that_is_no_chain_and_an_unknown_level_are_refused():
    other = Problem("t/7", "t", "What is 2+2?", "4", "", "math", 0, "val")
    with pytest.raises(UserError, match=r"problem t/7: grader 'chain' reads chains .* found 'What is 2\+2\?'"):
        grade_response("\\boxed{5}", other, "chain")
    with pytest.raises(UserError, match=r"'hints' is no level .* none, verdict, place, value, solution"):
        grade_response("\\boxed{5}", problem(CHAIN), "chain", grading={"feedback": "hints"})


@pytest.mark.parametrize("piece", ["1", "1+", "1+1=", " ", "Start with 1, then add 2"])
def test_reading_takes_time_linear_in_the_response(piece, growth):
    assert growth(lambda text: fault_of(CHAIN, text, "9"), piece) < 8


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("First wrong step: 2. 7*9=3", "First missing step: 4. 9*7=1", True),
        ("First wrong step: 2. 7*9=3", "First wrong step: 2. 7-9=8", False),
        ("First wrong step: 2", "First wrong step: 2", True),
        ("First wrong step: 2", "First wrong step: 3", False),
    ],
)
def test_two_feedbacks_are_of_one_topic_where_they_hand_over_one_fact(one, other, same):
    assert (topic(one) == topic(other)) == same


def test_the_tokenizer_keeps_its_ids_and_the_feedback_whole():
    plain, own = build_tokenizer(), build_tokenizer(exercise_kind("wrong_facts").phrases)
    assert {own.convert_ids_to_tokens(i): i for i in range(len(plain))} == plain.get_vocab()
    for text in [
        *chain_feedback.SENTENCES,
        named_step(2, "7*6=2"),
        *(named_step(9, kind=k) for k in ("start", "operand")),
    ]:
        ids = own(text, add_special_tokens=False).input_ids
        assert own.unk_token_id not in ids
        assert own.decode(ids) == text
    assert len(own(named_step(2, "7*6=2"), add_special_tokens=False).input_ids) == 8


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_the_text_of_a_chain_is_read_again(seed, size):
    chain = arithmetic.generate(np.random.default_rng(seed), size)
    assert arithmetic.read_chain(chain.text()) == chain
    assert arithmetic.read_chain(chain.text() + " Why?") is None
