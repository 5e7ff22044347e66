"""Controls of hints: whose text stands where, rollout by rollout."""

import pytest

from selfdistill.objectives.batch import Needs
from selfdistill.signals.hint_controls import controlled_hints
from selfdistill.signals.hints import Candidate, assign_hints
from selfdistill.study.control_settings import ControlSettings
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.contexts import Hint

KEY = (0, 1)
PROBLEMS = ["a", "b", "a"]
#: Group by group: right (+) or wrong (-); "0" is a wrong one without a box.
OUTCOMES = ["++--", "+---", "+--0"]


@pytest.fixture
def groups():
    return [
        [
            Candidate(float(each == "+"), f"{n}.{i}", None if each == "0" else f"{n}{each}{i}")
            for i, each in enumerate(outcomes)
        ]
        for n, outcomes in enumerate(OUTCOMES)
    ]


def assigned(groups, **controls):
    settings, needs = HintSettings(source="self_rollout", k_max=4), Needs(correct_hint=True, wrong_hints=True)
    plain = [
        each
        for n, group in enumerate(groups)
        for each in assign_hints(group, Hint("s", "9"), settings, needs, (*KEY, n))
    ]
    return plain, controlled_hints(plain, groups, PROBLEMS, ControlSettings(**controls), KEY)


def test_wrong_hints_of_other_problems(groups):
    plain, changed = assigned(groups, wrong_hints="other_problems")
    for row, (before, after) in enumerate(zip(plain, changed, strict=True)):
        assert before.correct == after.correct
        assert before.hinted == after.hinted
        problem = PROBLEMS[row // 4]
        texts = [hint.solution for hint in after.wrong]
        others = sum(each == "-" for n, group in enumerate(OUTCOMES) if PROBLEMS[n] != problem for each in group)
        assert len(set(texts)) == len(texts) == min(len(before.wrong), others)
        for hint in after.wrong:
            group, i = map(int, hint.solution.split("."))
            assert PROBLEMS[group] != problem
            assert OUTCOMES[group][i] == "-"
            assert hint.answer == groups[group][i].answer
    counts = [(len(b.wrong), len(a.wrong)) for b, a in zip(plain, changed, strict=True) if b.hinted]
    assert all(0 < after <= before for before, after in counts)
    assert assigned(groups, wrong_hints="other_problems")[1] == changed


def test_a_rollout_without_a_wrong_one_elsewhere_says_why(groups):
    groups[1] = [Candidate(1.0, f"1.{i}", "9") for i in range(4)]  # the only other problem is solved by all
    plain, changed = assigned(groups, wrong_hints="other_problems")
    hinted = [row for row, each in enumerate(plain) if each.hinted]
    assert hinted
    assert all(changed[row].reason == "no_usable_wrong" and changed[row].kept == plain[row].kept for row in hinted)


def test_a_wrong_hint_as_the_correct_one(groups):
    plain, changed = assigned(groups, correct_hint="wrong")
    seen = 0
    for row, (before, after) in enumerate(zip(plain, changed, strict=True)):
        if not before.hinted:
            assert after == before
            continue
        group, i = map(int, after.correct.solution.split("."))
        assert group == row // 4
        assert i != row % 4
        assert OUTCOMES[group][i] == "-"
        assert after.wrong == before.wrong
        seen += 1
    assert seen


def test_empty_hints_differ_by_nothing(groups):
    plain, changed = assigned(groups, empty_hints=True)
    for before, after in zip(plain, changed, strict=True):
        assert len(before.wrong) == len(after.wrong)
        if after.hinted:
            assert {after.correct, *after.wrong} == {Hint("", "")}


def test_controls_can_be_had_together(groups):
    _, changed = assigned(groups, wrong_hints="other_problems", correct_hint="wrong", empty_hints=True)
    assert any(each.hinted for each in changed)
    assert all({each.correct, *each.wrong} == {Hint("", "")} for each in changed if each.hinted)
