"""Answers about pictures, graded by rules: made-up responses of each kind."""

import pytest

from selfdistill.errors import UserError
from selfdistill.tasks.graders import grade_response
from selfdistill.tasks.schema import Problem
from selfdistill.tasks.vision.answer_kinds import KINDS, is_kind, kind_of
from selfdistill.tasks.vision.grading import answer_of

OPTIONS = "<image>Which?\n\nA: a blue square\nB: 12 cm\nC: a circle\nD: 12 cm"


def right(answer, reference, kind, question="<image>Which?"):
    problem = Problem("x/0", "x", question, reference, "", kind, 0, "val")
    return grade_response(rf"So \boxed{{{answer}}}", problem, "pictures").correct


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"<think>\boxed{2}</think><answer> 3 </answer>", "3"),
        (r"<answer>4</answer> or <answer>\boxed{5}</answer>", "5"),
        (r"<answer>6 and \boxed{7}", "7"),
        ("<answer></answer>", None),
        ("It is B.", None),
    ],
)
def test_the_answer_is_the_last_tags_or_the_last_box(response, answer):
    assert answer_of(response) == answer


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("A", True),
        ("(a)", True),
        ("A. a blue square", True),
        (r"\text{A}", True),
        (r"\mathrm{A}", True),
        (r"$\textbf{(A)}$", True),
        (r"\textbf{\text{A. a blue square}}", True),
        ("Option A", True),
        ("The correct answer is: A.", True),
        ("answer is option B", False),
        ("option A or B", False),
        ("Option", False),
        ("a blue square", True),
        ("A. a circle", False),
        ("B", False),
        ("AC", False),
        ("", False),
    ],
)
def test_a_letter_is_given_by_itself_or_by_its_options_text(answer, verdict):
    assert right(answer, "A", "letter", OPTIONS) is verdict


def test_a_text_that_two_options_have_names_neither():
    assert not right("12 cm", "B", "letter", OPTIONS)


@pytest.mark.parametrize(
    ("answer", "reference", "kind", "verdict"),
    [
        ("Yes.", "yes", "yes_no", True),
        ("no", "yes", "yes_no", False),
        (r"\text{Yes}", "yes", "yes_no", True),
        ("1,200", "1200", "number", True),
        (r"\frac{1}{2}", "0.5", "number", True),
        ("45%", "45", "number", True),
        ("46", "45", "number", False),
        ("3.0", "3", "integer", True),
        ("3.7", "3", "integer", False),
        ("two", "2", "integer", False),
        ("1.26", "1.3", "float_1", True),
        ("1.26", "1.25", "float_2", False),
        ("9e9999", "1.25", "float_2", False),
        ("1" * 60, "1" * 60, "float_1", True),
        ("1e-9999", "0", "float_2", True),
        ("2.5", "2.5", "float_99", True),
        ("9e9999", "2.5", "open", False),
        ("[1, 2]", "[1, 2.0]", "list", True),
        ("[2, 1]", "[1, 2]", "list", False),
        ("1", "[1]", "list", False),
        ("The cat", "the  cat!", "open", True),
        ("feline", "['cat', 'Feline']", "open", True),
        ("2.503", "2.5", "open", True),
        ("a cat", "cat", "open", False),
        ("12", "1", "short", False),
        ("7.50", "7.5", "short", True),
        ("Sunday", "sunday", "short", True),
        ("0.3333333", "0.33333333", "maths", True),
        ("0.3333", "0.33333333", "maths", False),
        (r"2\sqrt{2}", r"\sqrt{8}", "maths", True),
        ("4 cm", "4cm", "text_with_digits", True),
        ("the left one", "The left one.", "text", True),
        ("the right one", "The left one.", "text", False),
        ("on", "no", "text", False),
        ("DCBA", "ABCD", "maths", False),
        ("A, C", "C, A", "text", True),
        ("y + x", "x + y", "text", True),
        ("\u221212", "-12", "integer", True),
        ("**12**", "12", "integer", True),
        ("x = 12", "12", "integer", True),
    ],
)
def test_each_kind_compares_in_its_own_way(answer, reference, kind, verdict):
    assert right(answer, reference, kind) is verdict


@pytest.mark.parametrize(
    ("answer", "question", "verdict"),
    [
        ("12 cm", "How long? (Unit: cm)", True),
        (r"12\,\text{cm}", "How long? (Unit: cm)", True),
        ("1.2e1cm", "How long? (Unit: cm)", False),
        ("12 m", "How long in m? (Unit: cm)", False),
        ("12 cm and 5 cm", "How long? (Unit: cm)", False),
        ("12 cm\xb2", "How large? (Unit: cm^2)", True),
        ("12 cm", "How large? (Unit: cm^2)", False),
        ("12 dollars", "How much? (Unit: $)", True),
        (r"12^{\circ}", "Which angle?", True),
        ("12 degrees", "Which angle?", True),
        ("12 apples", "How many apples are there?", True),
        ("12 million", "How many people are there?", False),
        ("12 or 13", "12 or 13?", False),
    ],
)
@pytest.mark.parametrize(("reference", "kind"), [("12", "integer"), ("12.0", "float_1"), ("12", "open")])
def test_a_number_may_have_the_unit_of_its_question(answer, question, verdict, reference, kind):
    assert right(answer, reference, kind, question) is verdict


def test_a_list_that_is_a_program_is_no_list():
    assert not right("[1, 2]", "[__import__('os').getpid(), 2]", "list")


def test_a_problem_of_unknown_kind_is_refused():
    with pytest.raises(UserError, match=r"x/0: ability 'math' is no kind of answer; expected one of letter"):
        right("1", "1", "math")


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("B", "letter"),
        ("(C)", "letter"),
        ("Yes", "yes_no"),
        ("-3.5", "number"),
        ("$1,200$", "number"),
        ("12 cm", "text_with_digits"),
        (r"\frac{1}{2}", "text_with_digits"),
        ("a circle", "text"),
    ],
)
def test_kinds_are_told_from_the_reference(reference, kind):
    assert kind_of(reference) == kind


def test_names_of_kinds():
    assert [name for name in (*KINDS, "float_2", "float_x", "math") if not is_kind(name)] == [
        "float_",
        "float_x",
        "math",
    ]
