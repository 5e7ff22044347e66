import pytest

from selfdistill.critics.request import Request
from selfdistill.critics.rule import RIGHT, RuleCritic, solution_of
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.study.critique_modes import RULES, modes_of
from selfdistill.tasks import chain_critique
from selfdistill.tasks.arithmetic import Chain
from selfdistill.tasks.chain_feedback import WRONG
from selfdistill.tasks.schema import Problem

CHAIN = Chain(3, (("+", 4), ("*", 2)))


def problem(solution=None):
    return Problem("a/1", "a", CHAIN.text(), CHAIN.answer, CHAIN.worked() if solution is None else solution, "", 0, "")


def said(mode, response="3+4=8; 8*2=6. \\boxed{6}", **more):
    [critique] = RuleCritic(CriticSettings(kind="rule", mode=mode), "maths").critiques(
        [Request(problem(), response, **more)]
    )
    return critique


def test_planning_knows_the_kinds_of_the_rule():
    assert set(RULES["maths"]) == set(RULES["chain"]) == set(chain_critique.KINDS)
    assert modes_of("rule", "maths") == ("verdict", "gold", *RULES["maths"])
    assert modes_of("rule", "choice") == ("verdict", "gold")


def test_the_verdict_and_the_solution_need_no_critic():
    assert said("verdict").text == WRONG
    assert said("gold").text == CHAIN.worked() + "\\boxed{4}"
    assert (said("gold").reason, said("gold").leak) == ("ok", False)
    assert said("verdict", correct=True).text == RIGHT


@pytest.mark.parametrize("kind", chain_critique.KINDS)
def test_a_rule_says_what_the_task_says_without_its_closing_line(kind):
    request = Request(problem(), "3+4=8; 8*2=6. \\boxed{6}")
    whole = chain_critique.critique(request.problem, request.response, kind)
    found = said(kind)
    assert (found.verdict, found.failed) == ("wrong", False)
    assert found.text == whole.removesuffix(chain_critique.WRONG).strip()


@pytest.mark.parametrize(
    ("solution", "text"),
    [("so \\boxed{4}", "so \\boxed{4}"), ("4", "\\boxed{4}"), ("", "\\boxed{4}"), ("It is 4. ", "It is 4. \\boxed{4}")],
)
def test_a_solution_is_shown_with_its_answer_in_a_box(solution, text):
    assert solution_of(Request(problem(solution), "x")) == text
