"""The gap between student and self-teacher: drawn, hinted and graded as in training, with answers that are given."""

import json

import numpy as np
import pytest

from selfdistill.errors import UserError
from selfdistill.sampling.interface import Rollout
from selfdistill.tasks.graders import Graded
from selfdistill.training import teacher_gap as module

HINTS = {"source": "self_rollout", "mode": "solution", "template": "sections", "k_max": 2, "max_tokens": 64}
RIGHT, WRONG = 1, 0


class Answers:
    """A sampler of which the student is right at given (problem, member), at first and anew, and the teacher always."""

    def __init__(self, right, anew):
        self.right, self.prompts = {"gap": right, "gap, drawn anew": anew}, []

    def sample(self, prompts, settings, keys):
        assert len(prompts) == len(set(keys))
        self.prompts.append(prompts)
        cells = [(key[1], (int(key[2].split("/")[1]), key[3])) for key in keys]
        right = [what not in self.right or cell in self.right[what] for what, cell in cells]
        return [Rollout([RIGHT if each else WRONG], np.zeros(1), np.zeros(1), "stop") for each in right]


@pytest.fixture
def measure(small_run, config, tmp_path, monkeypatch):
    def run_it(right, hints=None, anew=(), **changes):
        sampler = Answers(right, anew)
        monkeypatch.setattr(module, "sampler_of", lambda *_: (sampler, "a stand-in"))
        tokenizer = module.load_tokenizer(small_run["base_model"])
        monkeypatch.setattr(type(tokenizer), "decode", lambda _, ids, **__: "yes" if ids[0] == RIGHT else "no")
        grade = lambda text, *_, **__: Graded(text, text == "yes", feedback="" if text == "yes" else "2 + 3")  # noqa: E731
        monkeypatch.setattr(module, "grade_response", grade)
        run = {**config, "variant": "v", "implementation": "opsd", "hints": {**HINTS, **(hints or {})}, **changes}
        files = {"train_file": small_run["train_file"], "base_model": small_run["base_model"]}
        module.measure_gap(run, **files, engine="own", prompts=2, output=tmp_path / "gap.json", report=print)
        return json.loads((tmp_path / "gap.json").read_text()), sampler.prompts

    return run_it


def test_siblings_of_the_one_that_succeeded_read_it_and_all_others_stay_students(measure):
    found, (plain, anew, under) = measure({(0, 0)}, anew={(1, 3)})
    assert plain == anew
    assert (len(plain), len(under)) == (8, 3)
    assert found["run"] == {"task": "arithmetic", "model": "tiny", "variant": "v"}
    assert (found["prompts"], found["rollouts"]) == (2, 8)
    assert (found["student"], found["teacher"], found["gap"]) == (12.5, 50.0, 37.5)
    assert (found["hinted_share"], found["student_hinted"], found["teacher_hinted"]) == (37.5, 0.0, 100.0)
    # Of two prompts with differences of 75 and 0 points: t with one degree of freedom.
    assert found["high"] - found["gap"] == pytest.approx(12.7062 * 37.5, rel=1e-4)
    assert len({len(ids) for ids in plain}) <= 2
    assert min(map(len, under)) > max(map(len, plain)), "contexts hold the prompt and more"


def test_feedback_is_a_context_too_and_without_any_the_gap_is_none(measure):
    found, (_, _, under) = measure({(0, 0)}, {"feedback": "only_without_solution"}, anew={(0, 0)})
    assert len(under) == 7
    assert (found["teacher"], found["hinted_share"]) == (100.0, 87.5)
    found, drawn = measure(set())
    assert len(drawn) == 2
    assert (found["gap"], found["hinted_share"], found["teacher_hinted"]) == (0.0, 0.0, None)
    assert (found["low"], found["high"]) == (None, None), "two prompts that are alike have no spread"


def test_a_second_try_is_no_gain(measure):
    """Wrong at first and right anew, with a context or without: contexts give nothing here."""
    found, _ = measure({(0, 0)}, anew={(problem, member) for problem in range(2) for member in range(4)})
    assert (found["student"], found["teacher"], found["gap"]) == (100.0, 100.0, 0.0)
    assert found["student_hinted"] == 100.0


def test_a_run_without_a_self_teacher_is_refused(measure):
    with pytest.raises(UserError, match="arithmetic/tiny/v: there is no self-teacher"):
        measure(set(), implementation="grpo")
