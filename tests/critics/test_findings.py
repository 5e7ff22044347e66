import time

import pytest

from selfdistill.critics.findings import holds_answer
from selfdistill.critics.request import Request
from selfdistill.tasks.critic_prompts import without_verdict
from selfdistill.tasks.schema import Problem


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Verdict: right", "right"),
        ("**Verdict:** wrong.", "wrong"),
        ("### Final verdict: Right", "right"),
        ("My verdict is: incorrect", "wrong"),
        ("Verdict: The answer is right.", "right"),
        ("Verdict: \\boxed{wrong}", "wrong"),
        ("<verdict>right</verdict>", "right"),
        ('{"verdict": "right"}', "right"),
        ("Verdict:\n\nright", "right"),
        ("Verdict: not right", "wrong"),
        ("Verdict: the answer isn't correct", "wrong"),
        ("Verdict: right, not wrong", "right"),
        ("Verdict: right\nVerdict: wrong", "wrong"),
        ("3. **Verdict:** right", "right"),
        ("Verdict: right or wrong", ""),
        ("Verdict: partially right", ""),
        ("The verdict on step 3 is that it is not right, for the sum of the two numbers is another one.", ""),
        ("So my verdict is open", ""),
    ],
)
def test_a_closing_verdict_is_found_whatever_stands_round_it(text, verdict):
    for before, after in (("", ""), ("Step 2 slips.\n---\n", "\n\n")):
        rest, said = without_verdict(before + text + after)
        assert said == verdict
        assert rest == (before.partition("\n")[0] if verdict else (before + text).strip())


@pytest.mark.parametrize(
    "text", ["\n" * 40_000, "*" * 40_000, "verdict\n" * 5_000, "verdict " * 5_000, "- \n" * 20_000]
)
def test_a_critic_that_goes_round_in_circles_is_read_in_no_time(text):
    began = time.process_time()
    without_verdict(text)
    assert time.process_time() - began < 1.0


@pytest.mark.parametrize(
    ("answer", "text", "response", "held"),
    [
        ("Paris", "It is PARIS.", "London", True),
        ("Paris", "It is Paris.", "paris?", False),
        ("7", r"So \boxed{7.0}.", "1", True),
        ("B", "A step is wrong, and B too.", "A", False),
        ("B", "The answer is B.", "A", True),
        ("B", "Take option (B).", "A", True),
        ("B", "It is (B).", "I choose (B)", False),
        ("I", "I think that this is wrong.", "A", False),
        ("1000", "You get 1,000 here", "1,001", True),
        ("7", "17, 7.5 and 7th", "x", False),
        ("1/2", r"It is $\frac{1}{2}$.", "1/3", True),
        (r"\dfrac{1}{2}", "It is 1 / 2.", "1/3", True),
        ("(1,2)", "The point (1, 2)", "(2, 1)", True),
        ("x+1", "You get x + 1 there", "x", True),
        ("1000", "You get 1{,}000 here", "x", True),
        ("7", "5 - 17", "x", False),
    ],
)
def test_the_right_answer_is_found_in_a_critique(answer, text, response, held):
    problem = Problem("a/1", "a", "Which one?", answer, "", "", 0, "")
    assert holds_answer(text, Request(problem, response)) is held
