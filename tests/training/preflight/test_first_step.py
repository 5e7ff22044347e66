"""The gap between student and self-teacher: drawn, hinted and graded as in training, with answers that are given."""

import numpy as np
import pytest

from selfdistill.errors import UserError
from selfdistill.sampling.interface import Rollout
from selfdistill.tasks.graders import Graded
from selfdistill.training.preflight import reader as module
from selfdistill.training.preflight.measure import _gap, run_preflight

HINTS = {"source": "self_rollout", "mode": "solution", "template": "sections", "k_max": 2, "max_tokens": 64}
EVALUATION = {"temperature": 0.6, "top_p": 1.0, "top_k": 0, "max_response_tokens": 8}
RIGHT, WRONG = 1, 0


class Answers:
    """A sampler of which the student is right at given rows, at first and anew, and the teacher always."""

    def __init__(self, right, anew):
        self.right, self.prompts = {"attempts": set(right), "answers": set(anew)}, []

    def sample(self, prompts, settings, keys):
        assert len(prompts) == len(set(keys))
        self.prompts.append(prompts)
        teacher = [ids for ids in prompts if len(ids) > max(map(len, self.prompts[0]))]
        right = [bool(teacher) or row in self.right[what] for _, what, row in keys]
        none = np.zeros(1, np.float32)
        return [Rollout([RIGHT if each else WRONG], none, none, "stop") for each in right]


def verdict(text):
    return Graded(text, text == "yes", feedback="" if text == "yes" else "2 + 3")


@pytest.fixture
def measure(small_run, config, monkeypatch):
    def run_it(right, hints=None, anew=(), **changes):
        sampler = Answers(right, anew)
        monkeypatch.setattr(module, "sampler_of", lambda *_: (sampler, "a stand-in"))
        tokenizer = module.load_tokenizer(small_run["base_model"])
        monkeypatch.setattr(type(tokenizer), "decode", lambda _, ids, **__: "yes" if ids[0] == RIGHT else "no")
        monkeypatch.setattr(module, "grade_responses", lambda texts, *_, **__: [verdict(text) for text in texts])
        run = {**config, "variant": "v", "implementation": "opsd", "hints": {**HINTS, **(hints or {})}, **changes}
        settings = {"problems": 2, "grader": "maths", "grading": {}, "evaluation": EVALUATION, "run": run}
        (row,) = run_preflight(settings, small_run["train_file"], small_run["base_model"], print)
        return row, sampler.prompts

    return run_it


def test_siblings_of_the_one_that_succeeded_read_it_and_all_others_stay_students(measure):
    found, (plain, anew, trained, under, _) = measure({0}, anew={7})
    assert plain == anew == trained
    assert (len(plain), len(under)) == (8, 3)
    assert (found["context"], found["rollouts"], found["hinted_share"]) == ("v", 8, 0.375)
    assert (found["student_accuracy"], found["accuracy"], found["gap"]) == (0.0, 1.0, 0.375)
    # Of two prompts with differences of 0.75 and 0: with one degree of freedom t is 12.7, and a share is at most 1.
    assert (found["gap_low"], found["gap_high"]) == (-1.0, 1.0)
    assert min(map(len, under)) > max(map(len, plain)), "contexts hold the prompt and more"


def test_the_interval_of_the_gap_is_over_problems():
    found = _gap(np.array([0.25, 0.15, 0.0, 0.0, 0.1, 0.1]), ["a", "a", "b", "b", "c", "c"])
    half = 4.302653 * 0.1 / 3**0.5
    assert found == pytest.approx({"gap": 0.1, "gap_low": 0.1 - half, "gap_high": 0.1 + half}, rel=1e-6)


def test_feedback_is_a_context_too_and_without_any_the_gap_is_none(measure):
    found, (*_, under, _) = measure({0}, {"feedback": "only_without_solution"}, anew={0})
    assert len(under) == 7
    assert (found["accuracy"], found["hinted_share"]) == (1.0, 0.875)
    found, drawn = measure(set())
    assert len(drawn) == 3
    assert (found["gap"], found["hinted_share"]) == (0.0, 0.0)
    assert not {"accuracy", "gap_low", "gap_high"} & found.keys(), "prompts that are alike have no spread"


def test_a_second_try_is_no_gain(measure):
    """Wrong at first and right anew, with a context or without: contexts give nothing here."""
    found, _ = measure({0}, anew=set(range(8)))
    assert (found["student_accuracy"], found["accuracy"], found["gap"]) == (1.0, 1.0, 0.0)


def test_a_run_without_a_self_teacher_is_refused(measure):
    with pytest.raises(UserError, match="arithmetic/tiny/v: there is no self-teacher"):
        measure(set(), implementation="grpo")
