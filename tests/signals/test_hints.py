from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.objectives.batch import Needs, Support
from selfdistill.signals.hints import (
    REASONS,
    Assignment,
    Candidate,
    assign_hints,
    group_metrics,
    hint_metrics,
    without_unread,
)
from selfdistill.signals.shuffled_feedback import shuffled_feedback
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.prompts import Hint

REFERENCE = Hint("dataset solution", "dataset answer")
CONTRAST = Needs(correct_hint=True, wrong_hints=True, mixed_groups=True)
ONE_SIDED = Needs(correct_hint=True, mixed_groups=True)
SELF = HintSettings("self_rollout")
GT_COT = HintSettings("gt_cot")


def group(outcomes):
    """ "+" a correct rollout, "-" a wrong one, "x" a wrong one without a box."""
    return [
        Candidate(float(o == "+"), f"text {i}", None if o == "x" else f"answer {i}") for i, o in enumerate(outcomes)
    ]


def assign(outcomes, how=SELF, needs=CONTRAST, key=(0, "test")):
    return assign_hints(group(outcomes), REFERENCE, how, needs, key)


def correct_from(assignment):
    """The number of the rollout that lent the correct hint; None where there is none, or it is the dataset's."""
    return None if assignment.correct in (None, REFERENCE) else int(assignment.correct.solution.split()[-1])


def wrong_from(assignment):
    return tuple(int(hint.solution.split()[-1]) for hint in assignment.wrong)


def reasons(assignments):
    return [a.reason for a in assignments]


def slow_reason(outcomes, i, how, needs):
    """Why rollout i has no hints, written out case by case; None where it has."""
    right = {j for j, o in enumerate(outcomes) if o == "+"}
    wrong = set(range(len(outcomes))) - right
    usable = {j for j in wrong if outcomes[j] == "-"}
    if needs.mixed_groups and not right:
        return "all_wrong"
    if needs.mixed_groups and not wrong:
        return "all_correct"
    if needs.wrong_only and i in right:
        return "not_needed"
    own = set() if how.allow_self else {i}
    if how.source == "self_rollout" and not right - own:
        return "lone_correct" if right else "all_wrong"
    if needs.wrong_hints and not usable - own:
        return "lone_wrong" if usable else "no_usable_wrong"
    return None


@given(
    outcomes=st.text("+-x", min_size=1, max_size=10),
    source=st.sampled_from(["self_rollout", "gt_cot"]),
    lone_targets=st.sampled_from(["keep", "drop"]),
    k_max=st.integers(1, 5),
    allow_self=st.booleans(),
    wrong_hints=st.booleans(),
    mixed_groups=st.booleans(),
    wrong_only=st.booleans(),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=300)
def test_every_rule_for_any_group(
    outcomes, source, lone_targets, k_max, allow_self, wrong_hints, mixed_groups, wrong_only, seed
):
    how = HintSettings(source, k_max=k_max, lone_targets=lone_targets, allow_self=allow_self)
    needs = Needs(correct_hint=True, wrong_hints=wrong_hints, mixed_groups=mixed_groups, wrong_only=wrong_only)
    candidates = group(outcomes)
    usable = [j for j, o in enumerate(outcomes) if o == "-"]
    assignments = assign(outcomes, how, needs, (seed,))
    assert len(assignments) == len(outcomes)
    for i, found in enumerate(assignments):
        assert found.reason == slow_reason(outcomes, i, how, needs)
        assert found.hinted == (found.reason is None)
        if not found.hinted:
            assert (found.correct, found.wrong) == (None, ())
            one_outcome = mixed_groups and found.reason in ("all_correct", "all_wrong")
            asked_for = found.reason != "not_needed"
            assert found.kept == ((lone_targets == "keep" or not asked_for) and not one_outcome)
            continue
        assert found.kept
        if source == "gt_cot":
            assert found.correct == REFERENCE
        else:
            assert outcomes[correct_from(found)] == "+"
            assert allow_self or correct_from(found) != i
            assert found.correct == Hint(f"text {correct_from(found)}", f"answer {correct_from(found)}")
        pool = [j for j in usable if allow_self or j != i]
        assert len(wrong_from(found)) == (min(k_max, len(pool)) if wrong_hints else 0)
        assert len(set(wrong_from(found))) == len(wrong_from(found))
        assert set(wrong_from(found)) <= set(pool)
        assert found.wrong == tuple(Hint(candidates[j].text, candidates[j].answer) for j in wrong_from(found))


def test_one_correct_of_eight():
    assignments = assign("-+------")
    assert reasons(assignments) == [None, "lone_correct"] + [None] * 6
    assert all(a.kept for a in assignments)
    assert [correct_from(a) for a in assignments] == [1, None] + [1] * 6
    assert [len(a.wrong) for a in assignments] == [4, 0] + [4] * 6


def test_one_wrong_of_eight():
    assignments = assign("+++++-++")
    assert reasons(assignments) == [None] * 5 + ["lone_wrong"] + [None] * 2
    assert [wrong_from(a) for a in assignments] == [(5,)] * 5 + [()] + [(5,)] * 2
    assert assignments[5].kept


@pytest.mark.parametrize("how", [SELF, GT_COT, HintSettings("self_rollout", lone_targets="drop")], ids=str)
@pytest.mark.parametrize(
    ("outcomes", "reason"), [("-" * 8, "all_wrong"), ("x--x", "all_wrong"), ("+" * 8, "all_correct")]
)
def test_groups_of_one_outcome_leave_the_batch(outcomes, reason, how):
    assert {(a.kept, a.reason) for a in assign(outcomes, how)} == {(False, reason)}


@pytest.mark.parametrize(("lone_targets", "kept"), [("keep", True), ("drop", False)])
def test_lone_targets_stay_or_leave_and_say_why(lone_targets, kept):
    how = HintSettings("self_rollout", lone_targets=lone_targets)
    for outcomes, lone in (
        ("+----", {0: "lone_correct"}),
        ("++-+", {2: "lone_wrong"}),
        ("+-", {0: "lone_correct", 1: "lone_wrong"}),
    ):
        for i, found in enumerate(assign(outcomes, how)):
            assert found.reason == lone.get(i)
            assert found.kept == (kept or i not in lone)


def test_wrong_rollouts_without_a_box_are_targets_but_no_hints():
    assignments = assign("++x-x--x")
    assert reasons(assignments) == [None] * 8
    for i, found in enumerate(assignments):
        assert set(wrong_from(found)) == {3, 5, 6} - {i}


def test_exactly_one_usable_wrong_rollout():
    assignments = assign("++x-x")
    assert reasons(assignments) == [None, None, None, "lone_wrong", None]
    assert [wrong_from(a) for a in assignments] == [(3,), (3,), (3,), (), (3,)]


@pytest.mark.parametrize(("lone_targets", "kept"), [("keep", True), ("drop", False)])
def test_no_usable_wrong_rollout(lone_targets, kept):
    assignments = assign("++xx", HintSettings("self_rollout", lone_targets=lone_targets))
    assert {(a.kept, a.reason) for a in assignments} == {(kept, "no_usable_wrong")}


def test_a_lone_correct_rollout_reads_the_dataset_solution_under_gt_cot():
    assignments = assign("+---", GT_COT)
    assert reasons(assignments) == [None] * 4
    assert {a.correct for a in assignments} == {REFERENCE}


def test_distributions_are_compared_under_one_wrong_hint():
    """The first of those that a method of several would be given."""
    several = assign("++---", needs=CONTRAST)
    one = assign("++---", needs=replace(CONTRAST, support=Support("teacher", 5)))
    assert [wrong_from(a) for a in one] == [wrong_from(a)[:1] for a in several]
    assert max(len(wrong_from(a)) for a in several) == 3


def test_hints_that_nobody_reads_are_taken_back():
    assignments = assign("++-x-", replace(SELF, lone_targets="drop"))
    read = [True, False, False, True, True]
    left = without_unread(assignments, read)
    assert [a.reason for a in left] == [None, "not_needed", "not_needed", None, None]
    assert [left[i] for i in (0, 3, 4)] == [assignments[i] for i in (0, 3, 4)]
    assert not any(left[i].hinted or left[i].wrong for i in (1, 2))
    assert all(a.kept for a in left)
    gone = assign("+--", replace(SELF, lone_targets="drop"))
    assert not gone[0].kept
    assert without_unread(gone, [False] * 3)[0] == gone[0]


def test_one_sided_methods_ask_for_no_wrong_hint():
    assert reasons(assign("++x-", needs=ONE_SIDED)) == [None] * 4
    assert {a.wrong for a in assign("++x-", needs=ONE_SIDED)} == {()}


@pytest.mark.parametrize("how", [GT_COT, SELF, HintSettings("self_rollout", lone_targets="drop")], ids=str)
def test_a_method_may_ask_about_wrong_rollouts_only(how):
    """Correct ones are no lone targets: they stay whatever the setting, and still lend their text."""
    assignments = assign("-+-x", how, Needs(correct_hint=True, wrong_only=True))
    assert reasons(assignments) == [None, "not_needed", None, None]
    assert all(a.kept for a in assignments)
    if how.source == "self_rollout":
        assert [correct_from(a) for a in assignments] == [1, None, 1, 1]


def test_allow_self_lets_a_rollout_read_itself():
    how = HintSettings("self_rollout", allow_self=True)
    for seed in range(5):
        right, wrong = assign("+-", how, key=(seed,))
        assert (correct_from(right), wrong_from(right)) == (0, (1,))
        assert (correct_from(wrong), wrong_from(wrong)) == (0, (1,))


def test_a_correct_rollout_without_a_box_lends_the_reference_answer():
    candidates = [Candidate(1.0, "right, unboxed", None), Candidate(0.0, "wrong", "5"), Candidate(0.0, "also", "6")]
    found = assign_hints(candidates, REFERENCE, SELF, CONTRAST, (0,))
    assert found[1].correct == found[2].correct == Hint("right, unboxed", "dataset answer")
    assert found[1].wrong == (Hint("also", "6"),)


def test_methods_without_a_teacher_keep_everything():
    assert assign("++--xx", needs=Needs()) == [Assignment()] * 6


def test_rewards_decide_and_zero_is_wrong():
    candidates = [Candidate(reward, f"text {i}", "1") for i, reward in enumerate((0.5, 0.0, -1.0, 1.0))]
    found = assign_hints(candidates, REFERENCE, HintSettings("self_rollout", k_max=9), CONTRAST, (0,))
    assert {correct_from(found[0]), correct_from(found[3])} == {0, 3}
    assert set(wrong_from(found[0])) == {1, 2}


# ------------------------------------------------------------------------------------------------------------- draws


def test_a_key_names_its_draws():
    first = assign("++++----", key=(3, 7, 1))
    assert assign("++++----", key=(3, 7, 1)) == first
    for other in ((4, 7, 1), (3, 8, 1), (3, 7, 2)):
        assert assign("++++----", key=other) != first


def test_draws_do_not_depend_on_what_other_rollouts_say():
    candidates = group("++++----")
    sources = [(correct_from(a), wrong_from(a)) for a in assign("++++----")]
    rewritten = [Candidate(c.reward, "other " + c.text, "0") for c in candidates]
    again = assign_hints(rewritten, REFERENCE, SELF, CONTRAST, (0, "test"))
    assert [(correct_from(a), wrong_from(a)) for a in again] == sources


def test_correct_draws_do_not_depend_on_the_wrong_pool_nor_wrong_ones_on_the_correct_pool():
    many, few = assign("+++-----"), assign("+++-xxxx")
    assert reasons(few) == [None] * 3 + ["lone_wrong"] + [None] * 4
    for a, b in zip(many, few, strict=True):
        assert not b.hinted or correct_from(a) == correct_from(b)
    assert [wrong_from(a) for a in many] == [wrong_from(a) for a in assign("+++-----", GT_COT)]


def chi_square(counts, cells):
    expected = sum(counts.values()) / cells
    assert len(counts) == cells
    return sum((count - expected) ** 2 / expected for count in counts.values())


def test_draws_are_uniform_over_the_pool():
    """2,000 keys; the bounds are the 99.9 % points of chi-square, one degree of freedom fewer than cells."""
    outcomes = "+++++-------"
    drawn = [assign(outcomes, key=(seed, "uniform")) for seed in range(2000)]
    assert chi_square(Counter(correct_from(a[0]) for a in drawn), 4) < 16.3
    for place in range(4):  # each of the K places, not the first alone
        assert chi_square(Counter(wrong_from(a[0])[place] for a in drawn), 7) < 22.5
    assert chi_square(Counter(wrong_from(a[8])[0] for a in drawn), 6) < 20.5
    both = Counter((correct_from(a[0]), wrong_from(a[0])[0]) for a in drawn)  # independent of one another
    assert chi_square(both, 28) < 55.5
    pairs = Counter(frozenset(pair) for a in drawn for pair in pairwise(wrong_from(a[0])))
    assert chi_square(pairs, 21) < 45.3


def test_every_target_draws_for_itself():
    """Five wrong targets share a pool of three: two of them agree in a third of the cases, not always."""
    drawn = [[correct_from(a) for a in assign("+++-----", key=(seed,))[3:]] for seed in range(1000)]
    for i in range(4):
        assert sum(d[i] == d[i + 1] for d in drawn) == pytest.approx(1000 / 3, abs=60)
    firsts = [[wrong_from(a)[0] for a in assign("+++-----", key=(seed,))[:3]] for seed in range(1000)]
    for i in range(2):
        assert sum(d[i] == d[i + 1] for d in firsts) == pytest.approx(1000 / 5, abs=55)


# ----------------------------------------------------------------------------------------------------------- metrics


def test_metrics_are_shares_of_all_rollouts():
    assignments = [
        *assign("++x-", HintSettings("self_rollout", k_max=2)),
        *assign("+---", HintSettings("self_rollout", k_max=2, lone_targets="drop")),
        *assign("++++"),
    ]
    metrics = hint_metrics(assignments)
    assert metrics["hints/hinted_share"] == 6 / 12
    assert metrics["hints/dropped_share"] == 5 / 12
    assert metrics["hints/lone_wrong_share"] == metrics["hints/lone_correct_share"] == 1 / 12
    assert metrics["hints/all_correct_share"] == 4 / 12
    assert metrics["hints/all_wrong_share"] == metrics["hints/no_usable_wrong_share"] == 0
    assert metrics["hints/wrong_mean"] == (1 + 1 + 1 + 2 + 2 + 2) / 6


def test_metrics_know_every_reason_and_of_nothing_are_zero():
    empty = hint_metrics([])
    assert set(empty.values()) == {0}
    assert {f"hints/{reason}_share" for reason in REASONS} <= set(empty)


# ------------------------------------------------------------------------------------------- feedback and successes


def said_of(outcomes, **options):
    """Groups whose wrong rollouts (and "!", a right one) have feedback; "x" a blank one."""
    candidates = [
        Candidate(float(o in "+!"), f"text {i}", "7", feedback={"-": f"said {i}", "!": "kept", "x": " \n"}.get(o, ""))
        for i, o in enumerate(outcomes)
    ]
    needs = Needs(correct_hint=True)
    return assign_hints(candidates, REFERENCE, HintSettings(**{"source": "self_rollout", **options}), needs, (0,))


@pytest.mark.parametrize(
    ("outcomes", "options", "feedback", "reasons_"),
    [
        # wrong with a sibling, lone right, blank feedback
        ("+-x", {"feedback": "always"}, [None, "said 1", None], ["lone_correct", None, None]),
        ("+-x", {"feedback": "only_without_solution"}, [None] * 3, ["lone_correct", None, None]),
        ("+-x", {}, [None] * 3, ["lone_correct", None, None]),
        # no success at all
        ("--x", {"feedback": "only_without_solution"}, ["said 0", "said 1", None], [None, None, "all_wrong"]),
        ("--x", {}, [None] * 3, ["all_wrong"] * 3),
        # no siblings wanted: feedback alone
        ("+-x", {"source": "none", "feedback": "always"}, [None, "said 1", None], ["no_feedback", None, "no_feedback"]),
        # a right rollout of which something is said
        ("!--", {"feedback": "only_without_solution"}, ["kept", None, None], [None] * 3),
        ("!+-", {"feedback": "always"}, ["kept", None, "said 2"], [None] * 3),
    ],
)
def test_when_feedback_is_read(outcomes, options, feedback, reasons_):
    found = said_of(outcomes, **options)
    assert reasons(found) == reasons_
    assert [None if a.correct is None else a.correct.feedback for a in found] == feedback
    for i, a in enumerate(found):
        others = {j for j, o in enumerate(outcomes) if o in "+!" and j != i}
        lent = a.correct.solution if a.correct else None
        assert (lent is not None) == (bool(others) and options.get("source") != "none")
        assert lent is None or lent in {f"text {j}" for j in others}
        assert (a.correct is None) == (a.reason is not None)


def test_the_first_success_lends_to_all_and_reads_the_next_one():
    found = assign("-++-+", HintSettings("self_rollout", sibling="first"), ONE_SIDED)
    assert [correct_from(a) for a in found] == [1, 2, 1, 1, 1]


def test_a_success_is_a_right_rollout_or_one_over_the_threshold():
    scores = [None, 0.4, 0.5, 1.0, 0.0]
    candidates = [Candidate(float(i == 0), f"text {i}", "7", score) for i, score in enumerate(scores)]
    for threshold, lenders in ((1.0, {0, 3}), (0.5, {0, 2, 3}), (0.1, {0, 1, 2, 3})):
        how = HintSettings("self_rollout", success_threshold=threshold)
        drawn = set()
        for seed in range(40):
            found = assign_hints(candidates, REFERENCE, how, Needs(correct_hint=True), (seed,))
            drawn |= {correct_from(a) for a in found}
            assert all(correct_from(a) != i for i, a in enumerate(found))
        assert drawn == lenders


def test_a_success_with_nothing_to_show_lends_nothing():
    candidates = [Candidate(1.0, " ", "7"), Candidate(0.0, "wrong", "6"), Candidate(1.0, "right", "7")]
    found = assign_hints(candidates, REFERENCE, SELF, ONE_SIDED, (0,))
    assert [a.correct and a.correct.solution for a in found] == ["right", "right", None]


def test_shuffled_feedback_is_of_another_prompt_and_of_another_topic_and_keyed():
    feedback = ["a1", "a2", "", "b1", "b1", " ", "a3"]
    groups, topics = [0, 0, 0, 1, 1, 1, 2], ["a", "a", "", "b", "b", "", "a"]
    drawn = [shuffled_feedback(feedback, ("test", i), groups=groups, topics=topics) for i in range(60)]
    assert drawn[7] == shuffled_feedback(feedback, ("test", 7), groups=groups, topics=topics)
    assert [set(each) for each in zip(*drawn, strict=True)] == [
        {"b1"}, {"b1"}, {""}, {"a1", "a2", "a3"}, {"a1", "a2", "a3"}, {""}, {"b1"},
    ]  # fmt: skip
    assert shuffled_feedback(["x", "x"], (), groups=[0, 1]) == ["", ""], "nothing else was said"


def test_metrics_count_solutions_feedback_and_groups():
    how = HintSettings("self_rollout", feedback="only_without_solution")
    groups = [
        [Candidate(float(o == "+"), "t", "7", feedback="said" if o == "-" else " ") for o in outcomes]
        for outcomes in ("+---", "----", "xxxx")
    ]
    assignments = [a for g in groups for a in assign_hints(g, REFERENCE, how, Needs(correct_hint=True), (0,))]
    found = hint_metrics(assignments) | group_metrics(groups, how)
    expected = {
        "solution": 3,
        "feedback_used": 4,
        "feedback_available": 7,
        "hinted": 7,
        "lone_correct": 1,
        "all_wrong": 4,
    }
    assert {name: found[f"hints/{name}_share"] * 12 for name in expected} == expected
    assert found["hints/success_groups_share"] == 1 / 3
    assert group_metrics(groups, SELF)["hints/feedback_available_share"] == 0
