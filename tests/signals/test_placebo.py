import pytest
import torch

from selfdistill.scoring.query import LOGPROBS_ONLY
from selfdistill.scoring.scores import Scores
from selfdistill.signals.placebo import delta_metrics, placebo_pairs
from selfdistill.signals.teacher_contexts import TeacherContexts

GROUP = 4
#: Two groups of four; "w" wrong with a critique, "-" wrong without one, "r" right.
OUTCOMES = "wrwrw-ww"
RESPONSES = [[10 * row + t for t in range(2 + row % 3)] for row in range(len(OUTCOMES))]
WIDTH = max(map(len, RESPONSES))


class Teacher:
    """Log-probs that tell context and token apart."""

    device = torch.device("cpu")
    asked = None

    def __call__(self, sequences, width, query=LOGPROBS_ONLY, *, alone=False):
        self.asked = sequences
        found = torch.full((len(sequences.responses), width), 99.0)
        for row, (prompt, response) in enumerate(zip(sequences.prompts, sequences.responses, strict=True)):
            for t, token in enumerate(response):
                found[row, t] = said(prompt, token)
        return Scores(found)


def said(context, token):
    return -0.01 * (context[0] * 7 + token)


def student(row, t):
    return -0.1 * row - 0.03 * t


def contexts(outcomes=OUTCOMES):
    return TeacherContexts(
        [[row + 1] if o == "w" else None for row, o in enumerate(outcomes)], [[] for _ in outcomes], 0.0
    )


def measured(outcomes=OUTCOMES, rollouts=16):
    count = len(outcomes)
    own = torch.tensor([[student(row, t) for t in range(WIDTH)] for row in range(count)])
    scored = torch.zeros(count, WIDTH)
    for row, outcome in enumerate(outcomes):
        if outcome == "w":
            for t, token in enumerate(RESPONSES[row]):
                scored[row, t] = said([row + 1], token)
    correct = torch.tensor([o == "r" for o in outcomes])
    teacher = Teacher()
    found = delta_metrics(
        teacher, contexts(outcomes), RESPONSES[:count], correct, own, scored, group_size=GROUP, rollouts=rollouts
    )
    return found, teacher


def mean(pairs):
    """Mean of teacher minus student over all tokens of (critique's row, scored row)."""
    differences = [
        said([critique + 1], token) - student(row, t)
        for critique, row in pairs
        for t, token in enumerate(RESPONSES[row])
    ]
    return sum(differences) / len(differences)


def test_the_means_are_those_of_loops_over_tokens():
    found, _ = measured()
    pairs = [(0, 1), (2, 3)]  # the second group has no right rollout
    assert found == {
        "teacher/delta_wrong": pytest.approx(mean([(row, row) for row in (0, 2, 4, 6, 7)]), abs=1e-6),
        "teacher/delta_right_placebo": pytest.approx(mean(pairs), abs=1e-6),
        "teacher/delta_gap": pytest.approx(mean([(0, 0), (2, 2)]) - mean(pairs), abs=1e-6),
    }


def test_right_rollouts_take_turns_and_pairs_stay_in_their_group():
    correct = [o == "r" for o in "wwrr" + "rwww"]
    hinted = contexts("wwrr" + "rwww")
    assert placebo_pairs(hinted, correct, GROUP, 16) == [(0, 2), (1, 3), (5, 4), (6, 4), (7, 4)]
    assert placebo_pairs(hinted, correct, GROUP, 2) == [(0, 2), (1, 3)]


def test_what_has_nothing_to_be_measured_on_is_left_out_and_nothing_is_asked():
    found, teacher = measured("ww--")
    assert found.keys() == {"teacher/delta_wrong"}
    assert teacher.asked is None
    assert measured("rr--")[0] == {}
    assert measured(rollouts=0)[0].keys() == {"teacher/delta_wrong"}
