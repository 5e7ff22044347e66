"""The rule critic of chains: what it says of made-up responses with every fault, kind by kind."""

import numpy as np
import pytest

from selfdistill.errors import UserError
from selfdistill.tasks.arithmetic import Chain, generate
from selfdistill.tasks.chain_critique import KINDS, RIGHT, WRONG, critique
from selfdistill.tasks.critic_prompts import without_verdict
from selfdistill.tasks.schema import Problem

CHAIN = Chain(5, (("+", 2), ("*", 9), ("-", 1)))  # 5+2=7; 7*9=3; 3-1=2
NO_BOX, CUT = "There is no boxed answer.\n", "The answer was cut for its length.\n"
#: Response -> right steps, what was written in place of the next, that step, what is said beside.
FAULTS = {
    "wrong result": (r"5+2=7; 7*9=5; 5-1=4. \boxed{4}", "5+2=7", "7*9=5", "7*9=3", ""),
    "wrong carry": (r"5+2=7; 7*9=63; 3-1=3. \boxed{3}", "5+2=7", "7*9=63", "7*9=3", ""),
    "wrong copy": (r"5+2=7; 7*9=3; 4-1=3. \boxed{3}", "5+2=7; 7*9=3", "4-1=3", "3-1=2", ""),
    "wrong operation": (r"5+2=7; 7+9=6; 6-1=5. \boxed{5}", "5+2=7", "7+9=6", "7*9=3", ""),
    "first step wrong": (r"5+2=8; 8*9=2; 2-1=1. \boxed{1}", "", "5+2=8", "5+2=7", ""),
    "missing step": (r"5+2=7; 7*9=3. \boxed{3}", "5+2=7; 7*9=3", r"\boxed{3}", "3-1=2", ""),
    "direct answer": (r"\boxed{4}", "", r"\boxed{4}", "5+2=7", ""),
    "no box": ("5+2=7; 7*9=3; 3-1=2. ", "5+2=7; 7*9=3; 3-1=2", "", "", NO_BOX),
    "no box, and a wrong step": ("5+2=7; 7*9=4; ", "5+2=7", "7*9=4", "7*9=3", NO_BOX),
    "nothing": ("", "", "", "5+2=7", NO_BOX),
    "box of another": (
        r"5+2=7; 7*9=3; 3-1=2. \boxed{3}",
        "5+2=7; 7*9=3; 3-1=2",
        r"\boxed{3}",
        "",
        "The boxed answer is not the last result.\n",
    ),
    "step too many": (
        r"5+2=7; 7*9=3; 3-1=2; 2+1=3. \boxed{3}",
        "5+2=7; 7*9=3; 3-1=2",
        "2+1=3",
        "",
        "There are too many steps.\n",
    ),
}


def problem(chain=CHAIN, text=None):
    return Problem("t/0", "t", text or chain.text(), chain.answer, chain.worked(), "math", 0, "val")


def line(label, text):
    return f"{label}: {text}.\n" if text else ""


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_said_in_every_kind(fault):
    response, right, wrong, next_, remark = FAULTS[fault]
    said = {kind: critique(problem(), response, kind) for kind in KINDS}
    so_far, repaired, quoted = line("Right so far", right), line("Next", next_), line("Wrong", wrong)
    assert said["noquote"] == so_far + repaired + remark + WRONG
    assert said["plain"] == so_far + quoted + remark + WRONG
    assert said["fix"] == so_far + quoted + repaired + remark + WRONG
    assert said["answer"] == "The answer is: \\boxed{2}.\n" + WRONG


def test_a_cut_response_is_called_cut_and_its_steps_are_still_read():
    response, right, wrong, *_ = FAULTS["no box, and a wrong step"]
    said = critique(problem(), response, "plain", truncated=True)
    assert said == line("Right so far", right) + line("Wrong", wrong) + CUT + WRONG


@pytest.mark.parametrize("response", [CHAIN.worked() + r"\boxed{2}", r"5+2=7; 7*9=4; \boxed{2}", r"\boxed{2}"])
def test_a_right_answer_is_praised_whatever_its_way(response):
    said = {critique(problem(), response, kind) for kind in KINDS}
    assert len(said) == 1
    assert said.pop().endswith("The final answer is right.\n" + RIGHT)


def test_what_does_not_quote_holds_nothing_of_what_was_wrong():
    """Slips at random: the wrong result, and all that follows from it, is nowhere in a critique that does not quote."""
    rng = np.random.default_rng(0)
    for size in (3, 5, 8) * 30:
        chain = generate(rng, size)
        results = chain.mistaken_results(rng)
        slip = next(i for i in range(size) if results[i] != chain.results[i])
        said = critique(problem(chain), chain.worked(results) + f"\\boxed{{{results[-1]}}}", "noquote")
        steps = "; ".join(chain.steps()[:slip])
        assert said == line("Right so far", steps) + line("Next", chain.steps()[slip]) + WRONG


def test_verdicts_are_those_that_a_critics_closing_line_is_read_for():
    assert without_verdict(critique(problem(), r"\boxed{4}", "plain")) == (r"Wrong: \boxed{4}.", "wrong")
    assert without_verdict(critique(problem(), r"\boxed{2}", "plain")) == ("The final answer is right.", "right")


def test_a_long_quotation_is_cut():
    assert "1" * 41 not in critique(problem(), r"\boxed{" + "1" * 500 + "}", "plain")


def test_unknown_kinds_and_problems_are_refused():
    with pytest.raises(UserError, match=r"'quote'.*noquote, plain, fix, answer"):
        critique(problem(), "", "quote")
    with pytest.raises(UserError, match=r"t/0.*chains"):
        critique(problem(text="What is love?"), "", "plain")
