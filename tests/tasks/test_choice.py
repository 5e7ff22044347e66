import pytest

from selfdistill.errors import UserError
from selfdistill.tasks import choice
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import Problem

FOUR = {"A": "red", "B": "blue\n", "C": "green", "D": "A: red"}


def problem(answer: str, options: dict[str, str] = FOUR) -> Problem:
    text = choice.prompt("Which colour?\n\nA: is no option here\n\nChoose.", options)
    return Problem("c/0", "c", text, answer, "", "mcq", 0, "val")


# response to a question whose answer is A: (right to the released grader, right to ours)
RESPONSES = {
    "<answer>\nA\n</answer>": (True, True),
    "<reasoning>C?</reasoning>\n<answer>A</answer>\nDone.": (True, True),
    "A": (True, False),
    "so <answer>A": (True, False),
    "A</answer> and more": (True, False),
    "<answer>a</answer>": (False, True),
    "<answer>A.</answer>": (False, True),
    "<answer>(A)</answer>": (False, True),
    "<answer>**A**</answer>": (False, True),
    "<answer>A: red</answer>": (False, True),
    "<answer>**A.** red</answer>": (False, True),
    "<answer>(a) - red.</answer>": (False, True),
    "<answer>$\\boxed{\\text{A}}$</answer>": (False, True),
    "<answer>**Option A**</answer>": (False, True),
    "<answer>Answer: A</answer>": (False, True),
    "<answer>An option</answer>": (False, False),
    "<answer>\u0410</answer>": (False, False),
    "<answer>A: blue</answer>": (False, False),
    "<answer>A or B</answer>": (False, False),
    "<answer>All of them</answer>": (False, False),
    "<answer>A</answer> no: <answer>B</answer>": (False, False),
    "<answer>B</answer> no: <answer>A</answer>": (True, True),
    "<answer>A</answer> as I said in <answer>": (False, True),
    "<answer><answer>A</answer>": (True, True),
    "<answer>E</answer>": (False, False),
    "<answer></answer>": (False, False),
    "": (False, False),
}


@pytest.mark.parametrize(("response", "expected"), RESPONSES.items())
def test_both_graders(response, expected):
    published, strict = expected
    row = problem("A")
    assert grade_response(response, row, "choice_as_published").correct is published
    assert grade_response(response, row, "choice").correct is strict


@pytest.mark.parametrize("options", [FOUR, {"A": "yes", "B": "no"}], ids=["four", "two"])
def test_a_letter_is_right_for_its_question_only(options):
    assert choice.options_of(problem("A", options).problem) == {key: text.strip() for key, text in options.items()}
    assert choice.options_of("No options.") == {}
    for answer in options:
        right = [
            grade_response(f"<answer>{each}</answer>", problem(answer, options), "choice").correct for each in "ABCDE"
        ]
        assert [letter for letter, is_right in zip("ABCDE", right, strict=True) if is_right] == [answer]


@pytest.mark.parametrize("text", ["-5", "$x$", ".5", "(2, 3)", "*", "a. b", "[1]."])
def test_the_text_of_an_option_may_follow_its_letter(text):
    row = problem("B", {"A": f"{text}1", "B": text})
    assert grade_response(f"<answer>B: {text}</answer>", row, "choice").correct
    assert not grade_response(f"<answer>B: {text}1</answer>", row, "choice").correct


def test_the_prompt_has_the_released_layout():
    assert choice.prompt("Which?", {"A": "1", "B": "2"}) == "Which?\n\nA: 1\nB: 2\nPlease reason step by step."
    assert "2 options" in choice.system_message(["A", "B"])
    assert "(A, B, C or D)" in choice.system_message(list("ABCD"))


@pytest.mark.parametrize("response", ["none", "<answer>or</answer>"])
def test_feedback_is_about_the_form_and_on_request(response):
    row = problem("A")
    assert grade_response(response, row, "choice").feedback == ""
    told = grade_response(response, row, "choice", grading={"feedback": "format"}).feedback
    assert "<answer>" in told
    assert grade_response("<answer>B</answer>", row, "choice", grading={"feedback": "format"}).feedback == ""
    with pytest.raises(UserError, match=r"'full' is no level.*none, format"):
        grade_response(response, row, "choice", grading={"feedback": "full"})
