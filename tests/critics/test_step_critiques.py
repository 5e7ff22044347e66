from dataclasses import replace

import pytest

from selfdistill.critics.cache import CritiqueCache
from selfdistill.critics.findings import written
from selfdistill.critics.request import NOT_ASKED, REASONS, Critique, Request
from selfdistill.critics.step_critiques import CritiquedSteps
from selfdistill.errors import UserError
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.tasks.chain_feedback import WRONG
from selfdistill.tasks.schema import Problem

PROBLEM = Problem("a/1", "a", "What is 20 + 22?", "42", "", "", 0, "")


class Plain:
    """Writes "<response>?" of each; of some it fails, with a reason, or says what else it is told to."""

    identity = "plain"

    def __init__(self, failing=None, saying=None):
        self.failing, self.saying, self.asked = failing or {}, saying or {}, []

    def critiques(self, requests, arrived=lambda number, critique: None):
        found = []
        for number, request in enumerate(requests):
            self.asked.append(request.response)
            if reason := self.failing.get(request.response):
                found.append(Critique(reason=reason, detail="a detail"))
            else:
                text, cut = self.saying.get(request.response, (f"{request.response}?", False))
                found.append(written(request, text, tokens=4, seconds=0.5, truncated=cut, shown_gold=False))
            arrived(number, found[-1])
        return found


def steps(critic, folder, **settings):
    kind = {"kind": "server", "max_failed_share": 1.0}
    return CritiquedSteps(critic, CriticSettings(**{**kind, **settings}), CritiqueCache(folder))


def wrong(*responses):
    return [Request(PROBLEM, response) for response in responses]


def right(response):
    return Request(PROBLEM, response, correct=True)


def shares(found):
    return {r: share for r in REASONS if (share := found.metrics[f"critique/reason/{r}"])}


def test_only_wrong_rollouts_whose_teacher_is_read_are_asked_about(tmp_path):
    critic = Plain()
    requests = [*wrong("a", "b"), right("c"), *wrong("d", "e")]
    found = steps(critic, tmp_path).of_step(1, requests, [None, None, None, "zero_advantage", "not_read"])
    assert critic.asked == ["a", "b"]
    assert found.shown == ["a?", "b?", None, None, None]
    assert shares(found) == {"ok": 0.4, "right": 0.2, "zero_advantage": 0.2, "not_read": 0.2}
    assert found.metrics["critique/coverage"] == 0.4
    assert found.metrics["critique/of_wrong"] == 0.5
    assert found.metrics["critique/tokens_mean"] == 4.0
    assert found.metrics["critique/failed"] == found.metrics["critique/truncated"] == 0.0


def test_praise_is_for_right_rollouts_too(tmp_path):
    critic = Plain()
    found = steps(critic, tmp_path, right="praise").of_step(1, [*wrong("a"), right("c")], [None, None])
    assert (critic.asked, found.shown) == (["a", "c"], ["a?", "c?"])


def test_nobody_to_ask_about_is_no_failure(tmp_path):
    found = steps(Plain(), tmp_path).of_step(1, [right("c")], [None])
    assert found.metrics["critique/coverage"] == 0.0
    assert not {"critique/of_wrong", "critique/failed", "critique/tokens_mean"} & found.metrics.keys()


def test_equal_responses_share_a_critique_and_so_do_steps_and_processes(tmp_path):
    critic = Plain()
    first = steps(critic, tmp_path)
    assert first.of_step(1, wrong("a", "b", "a"), [None] * 3).metrics["critique/cache_hits"] == 0.0
    assert critic.asked == ["a", "b"]
    found = first.of_step(2, wrong("b", "c"), [None] * 2)
    assert found.metrics["critique/cache_hits"] == 0.5
    later = steps(critic, tmp_path).of_step(2, wrong("b", "c"), [None] * 2)
    assert later.shown == found.shown == ["b?", "c?"]
    assert critic.asked == ["a", "b", "c"]


def test_a_student_that_reads_itself_is_asked_again_when_its_weights_have_changed(tmp_path):
    critic = Plain()
    mine = steps(critic, tmp_path, kind="self")
    for number in (1, 2, 1):
        mine.of_step(number, wrong("a"), [None])
    assert critic.asked == ["a", "a"]


@pytest.mark.parametrize(("what", "shown"), [("none", None), ("verdict", WRONG)])
def test_failures_are_counted_and_leave_nothing_or_the_verdict(tmp_path, what, shown):
    critic = Plain({"b": "timeout", "c": "refused"})
    found = steps(critic, tmp_path, on_failure=what).of_step(1, wrong("a", "b", "c", "d"), [None] * 4)
    assert found.shown == ["a?", shown, shown, "d?"]
    assert shares(found) == {"ok": 0.5, "timeout": 0.25, "refused": 0.25}
    assert found.metrics["critique/failed"] == 0.5


def test_a_step_that_went_on_with_failures_is_computed_again_as_it_was_and_later_ones_ask_anew(tmp_path):
    critic = Plain({"b": "timeout"})
    before = steps(critic, tmp_path).of_step(1, wrong("a", "b"), [None] * 2)
    healthy = Plain()
    again = steps(healthy, tmp_path)
    assert again.of_step(1, wrong("a", "b"), [None] * 2).shown == before.shown == ["a?", None]
    assert healthy.asked == []
    assert again.of_step(2, wrong("b"), [None]).shown == ["b?"]
    assert again.of_step(1, wrong("a", "b"), [None] * 2).shown == ["a?", None]


@pytest.mark.parametrize("more", [{"max_failed_share": 0.4}, {"on_failure": "stop"}])
def test_over_the_share_the_run_stops_and_what_was_written_is_kept(tmp_path, more):
    critic = Plain({"b": "timeout", "c": "timeout"})
    said = r"failed for 2 of 4 rollouts of step 7 \(timeout 2; for example: a detail\).*start the run again"
    with pytest.raises(UserError, match=said) as told:
        steps(critic, tmp_path, **more).of_step(7, wrong("a", "b", "c", "d"), [None] * 4)
    assert "may say the same" not in str(told.value)
    with pytest.raises(UserError, match=r"refused 2.*\(asked again it may say the same"):
        steps(Plain(dict.fromkeys("ef", "refused")), tmp_path, **more).of_step(7, wrong(*"efgh"), [None] * 4)
    healthy = Plain()
    found = steps(healthy, tmp_path, **more).of_step(7, wrong("a", "b", "c", "d"), [None] * 4)
    assert healthy.asked == ["b", "c"]
    assert found.shown == ["a?", "b?", "c?", "d?"]


@pytest.mark.parametrize("more", [{"max_failed_share": 0.3}, {"on_failure": "stop"}])
def test_of_a_critic_that_is_down_not_all_are_waited_for(tmp_path, more):
    critic = Plain(dict.fromkeys("abcdefgh", "timeout"))
    with pytest.raises(UserError, match=r"failed for 4 of 9 rollouts of step 1 \(timeout 4"):
        steps(critic, tmp_path, in_flight=4, **more).of_step(1, wrong("w", *"aabcdefg"), [None] * 9)
    assert critic.asked == ["w", "a", "b", "c"]  # two responses are "a"
    assert steps(Plain(), tmp_path).of_step(1, wrong("w"), [None]).metrics["critique/cache_hits"] == 1.0


def test_at_the_share_it_goes_on(tmp_path):
    critic = Plain({"b": "timeout"})
    found = steps(critic, tmp_path, max_failed_share=0.5).of_step(1, wrong("a", "b"), [None] * 2)
    assert found.metrics["critique/failed"] == 0.5


def test_a_kill_in_the_middle_loses_nothing_that_had_come(tmp_path):
    class Killed(Plain):
        def critiques(self, requests, arrived=lambda number, critique: None):
            super().critiques(requests[:2], arrived)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        steps(Killed(), tmp_path).of_step(1, wrong("a", "b", "c"), [None] * 3)
    critic = Plain()
    assert steps(critic, tmp_path).of_step(1, wrong("a", "b", "c"), [None] * 3).shown == ["a?", "b?", "c?"]
    assert critic.asked == ["c"]


def test_verdicts_and_leaks_are_counted_and_kept_back_on_request(tmp_path):
    saying = {
        "a": ("It is fine.\nVerdict: right", False),
        "b": ("It should be 42.", False),
        "c": ("half a cri", True),
        "d": ("Verdict: wrong", False),
        "f": ("Verdict: right", False),
    }
    requests = wrong(*"abcde")
    found = steps(Plain(saying=saying), tmp_path / "keep").of_step(1, requests, [None] * 5)
    assert found.shown == ["It is fine.", "It should be 42.", "half a cri", None, "e?"]
    assert shares(found) == dict.fromkeys(("ok", "truncated", "judged_right", "leak", "empty"), 0.2)
    for name in ("truncated", "judged_right", "answer_leak"):
        assert found.metrics[f"critique/{name}"] == 0.25
    critic = Plain(saying=saying)  # nothing to show, but an answer: no failure, and asked once
    for _ in range(2):
        bare = steps(critic, tmp_path / "bare", on_failure="stop").of_step(1, wrong("f"), [None])
    assert (bare.shown, shares(bare), critic.asked) == ([None], {"judged_right": 1.0}, ["f"])
    assert (bare.metrics["critique/judged_right"], bare.metrics["critique/failed"]) == (1.0, 0.0)
    dropping = steps(Plain(saying=saying), tmp_path / "drop", judged_right="drop", leaks="drop")
    assert dropping.of_step(1, requests, [None] * 5).shown == [None, None, "half a cri", None, "e?"]


@pytest.mark.parametrize(
    ("answer", "text", "leaks"),
    [
        ("42", "so 42 it is", True),
        ("42", r"\boxed{42}", True),
        ("42", r"not \boxed{41}", False),
        ("42", "420 or 142 or 42.5 or x42", False),
        ("42", "it ends in 42.", True),
        ("1,042", "that is 1042", True),
        ("20", "you dropped the 20 of the problem", False),
        ("7", "your 7 was right there", False),
        (r"\frac{1}{2}", r"use $\frac{1}{2}$", True),
        ("", "anything", False),
    ],
)
def test_a_leak_is_the_right_answer_where_neither_problem_nor_response_has_it(answer, text, leaks):
    asked = Request(replace(PROBLEM, answer=answer), "It is 7, I think.")
    told = {"tokens": 1, "seconds": 0.0, "truncated": False}
    assert written(asked, text, **told, shown_gold=False).leak is leaks
    assert written(asked, text, **told, shown_gold=True).leak is False
    assert written(replace(asked, correct=True), text, **told, shown_gold=False).leak is False


def test_every_reason_is_logged_once_and_shares_add_up(tmp_path):
    found = steps(Plain({"b": "refused"}), tmp_path).of_step(1, [*wrong("a", "b"), right("c")], [None] * 3)
    logged = {name.rpartition("/")[2]: value for name, value in found.metrics.items() if "/reason/" in name}
    assert tuple(logged) == REASONS
    assert sum(logged.values()) == pytest.approx(1.0)
    assert set(NOT_ASKED) < set(REASONS)
