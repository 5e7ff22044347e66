import dataclasses
import json
import threading
from decimal import Decimal

import pytest

from selfdistill.errors import UserError
from selfdistill.tasks.graders import GRADERS, Graded, grade_response, grade_responses, grader
from selfdistill.tasks.schema import Problem, read_problems


def problem(answer: str) -> Problem:
    return Problem("t/0", "t", "Which?", answer, "", "math", 0, "val")


def test_the_last_box_is_graded():
    graded = grade_response(r"\boxed{3}, no: \boxed{\frac{8}{2}}", problem("4"), "maths")
    assert graded == Graded(answer=r"\frac{8}{2}", correct=True)
    assert graded.formatted
    assert grade_response(r"\boxed{4}, no: \boxed{3}", problem("4"), "maths") == Graded("3", False)


@pytest.mark.parametrize("response", ["", "4", r"\boxed{4", "The answer is 4."])
@pytest.mark.parametrize("name", GRADERS)
def test_without_a_box_a_response_is_wrong(response, name):
    graded = grade_response(response, problem("4"), name)
    assert graded == Graded(None, False)
    assert not graded.formatted


def test_a_wrong_box_is_formatted_all_the_same():
    assert grade_response(r"\boxed{5}", problem("4"), "maths") == Graded("5", False)
    assert Graded("5", False).formatted


def test_an_empty_box_is_no_box():
    assert grade_response(r"\boxed{}", problem("4"), "maths") == Graded(None, False)
    assert grade_response(r"\boxed{4}. Put your answer within \boxed{}.", problem("4"), "maths") == Graded("4", True)


def test_the_first_role_counts_only_on_request():
    both = r"\boxed{Ava is a knight, Ava is a knave}"
    row = problem("Ava is a knight")
    assert not grade_response(both, row, "knights").correct
    assert grade_response(both, row, "knights", first_role_counts=True).correct


@pytest.mark.parametrize("name", ["digit", "", "Maths", "kk_4"])
def test_an_unknown_grader_is_refused_and_the_known_ones_listed(name):
    with pytest.raises(UserError, match=f"'{name}'.*maths, knights"):
        grader(name)
    with pytest.raises(UserError, match="maths, knights"):
        grade_response("no box", problem("4"), name)


@pytest.mark.parametrize(("file", "name"), [("maths", "maths"), ("knights", "knights"), ("knights-train", "knights")])
def test_every_real_row_grades_its_own_answer_as_right(file, name, real):
    for row in read_problems(real(file)):
        graded = grade_response(rf"So \boxed{{{row.answer}}}.", row, name)
        assert graded == Graded(row.answer, True), row.id


def test_other_numbers_are_wrong_for_every_real_problem(real):
    for row in read_problems(real("maths")):
        value = Decimal(row.answer)
        for other in (value + 1, -value, value + Decimal("0.001"), value * 10):
            if other != value:
                assert not grade_response(rf"\boxed{{{other}}}", row, "maths").correct, row.id


@pytest.mark.parametrize("file", ["knights", "knights-train"])
def test_other_roles_are_wrong_for_every_real_puzzle(file, real):
    for row in read_problems(real(file)):
        claims = row.answer.split(", ")
        first = claims[0]
        flipped = first.replace("knight", "knave") if "knight" in first else first.replace("knave", "knight")
        for wrong in ([flipped, *claims[1:]], claims[1:], [*claims, "Zed is a knave"], [*claims, flipped]):
            assert not grade_response(rf"\boxed{{{', '.join(wrong)}}}", row, "knights").correct, row.id
        assert grade_response(rf"\boxed{{{', '.join(reversed(claims))}}}", row, "knights").correct, row.id


def test_the_real_solutions_state_the_real_answers(real):
    """The worked solutions end with the roles; read as an answer, their last sentence is right."""
    for row in read_problems(real("knights-train"))[:500]:
        conclusion = row.solution.rsplit("feasible solution. ", 1)[1]
        assert grade_response(rf"\boxed{{{conclusion}}}", row, "knights").correct, row.id


def test_a_graded_response_is_a_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Graded("1", True).correct = False


@pytest.mark.parametrize("name", ["maths", "code"])
def test_verdicts_keep_their_order_and_programs_run_side_by_side(name, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    meeting = threading.Barrier(2 if name == "code" else 1)

    def grade(response: str, row: Problem, *_, truncated, **__) -> Graded:
        meeting.wait(20)  # two that run one after the other would never meet
        return Graded(response + row.answer, truncated)

    monkeypatch.setattr("selfdistill.tasks.graders.grade_response", grade)
    cut = [True, False, False, True]
    found = grade_responses(["a", "b", "c", "d"], [problem(each) for each in "1234"], cut, name)
    assert [graded.answer for graded in found] == ["a1", "b2", "c3", "d4"]
    assert [graded.correct for graded in found] == cut


def test_many_programs_are_graded_as_one_after_the_other():
    asked = problem(json.dumps({"inputs": ["1", "2"], "outputs": ["1", "2"], "testtype": "stdin"}))
    programs = ["print(input())", "print(1)", "1/0", None]
    responses = ["Well," if code is None else f"```python\n{code}\n```" for code in programs]
    cut = [False, False, True, True]
    each = [grade_response(text, asked, "code", truncated=c) for text, c in zip(responses, cut, strict=True)]
    assert [graded.score for graded in each] == [1.0, 0.5, 0.0, 0.0]
    assert grade_responses(responses, [asked] * 4, cut, "code") == each
