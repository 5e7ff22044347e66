import time

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
    "<answer>\u201cA\u201d</answer>": (False, True),
    "<answer>\uff21\u3002</answer>": (False, True),
    "<answer>\u200bA</answer>": (False, True),
    "<answer>\\boxed{\\text{A: red}}</answer>": (False, True),
    "<answer>\\textrm{(A)} Red</answer>": (False, True),
    "<answer>A (red)</answer>": (False, True),
    "<answer><b>A</b><br/></answer>": (False, True),
    "<answer>### Final answer: A</answer>": (False, True),
    "<answer>The correct option is **A**.</answer>": (False, True),
    "<answer>A is the correct answer.</answer>": (False, True),
    "< Answer >\nA\n</ANSWER>": (False, True),
    "<answer>A</answer> stands between <answer></answer>": (False, True),
    "<answer>A</answer>, as in <answer>...</answer>": (False, True),
    "<answer>A?</answer>": (False, False),
    "<answer>A/B</answer>": (False, False),
    "<answer>A: **blue**</answer>": (False, False),
    "<answer>A is not correct</answer>": (False, False),
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


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("A: CO", "A"),
        ("A: `CO`", "A"),
        ("A: Co", None),
        ("A: **Co**", None),
        ("A: co", "A"),
        ("C: $[2, 3]$", "C"),
        ("C: (2, 3)", None),
        ("D: 2, 3", "D"),
        ("E: \\frac{1}{2} m", "E"),
        ("\\boxed{E: \\frac{1}{2} m}", "E"),
        ("E: 0.5 m", None),
    ],
)
def test_a_letter_with_the_text_of_another_option_is_none(text, letter):
    options = {"A": "CO", "B": "Co", "C": "[2, 3]", "D": "(2, 3)", "E": "$\\frac{1}{2}$ m"}
    assert choice.read_letter(text, options) == letter


@pytest.mark.parametrize("unit", ["<answer>", "< ", "The answer ", "\\boxed{", "A ", "<b>", "*"])
def test_degenerate_responses_are_read_in_linear_time(unit):
    began = time.process_time()
    for response in (unit * 100_000, f"<answer>{unit * 100_000}</answer>"):
        grade_response(response, problem("A"), "choice")
    assert time.process_time() - began < 5


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
