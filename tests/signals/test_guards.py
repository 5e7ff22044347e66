"""Guards against scores that are noise, or belong to another token."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from selfdistill.scoring.scorer import ModelScorer, score
from selfdistill.scoring.scores import Sequences
from selfdistill.signals.guards import over_uniform, teacher_guards
from selfdistill.signals.teacher_contexts import TeacherContexts
from selfdistill.signals.teacher_scores import score_contexts

VOCABULARY = 103


class Counting:
    """A model that expects each token to be followed by the next id, with the given log-odds against any other.

    With `ahead` 2 or 0 it answers for the token behind or before the one that is asked for, as a misaligned teacher
    does. `noise` is added to the log-odds for each row beyond the first in its batch.
    """

    def __init__(self, odds=5.0, ahead=1, noise=0.0):
        self.odds, self.ahead, self.noise, self.forwards = odds, ahead, noise, []
        self.device, self.config = torch.device("cpu"), SimpleNamespace(vocab_size=VOCABULARY)

    def __call__(self, input_ids, logits_to_keep, **_):
        self.forwards.append(tuple(input_ids.shape))
        expected = (input_ids + self.ahead) % VOCABULARY
        logits = torch.nn.functional.one_hot(expected, VOCABULARY) * (self.odds + self.noise * (len(input_ids) - 1))
        return SimpleNamespace(logits=logits[:, logits_to_keep].float())

    def logprob(self, rows=1):
        """Of the expected token."""
        odds = self.odds + self.noise * (rows - 1)
        return odds - math.log(math.exp(odds) + VOCABULARY - 1)


CONTEXTS = TeacherContexts([[5, 9], None, [9], [3, 4, 9], [9]], [[]] * 5, 0.0)
RESPONSES = [[10, 11, 12, 13], [10, 11], [10], [10, 11, 12], [10, 11, 12, 13, 14, 15]]
ALL = 10**6


def guards(model, rollouts=10, contexts=CONTEXTS, responses=RESPONSES, scores=None, temperature=1.0):
    if scores is None:
        scores = score_contexts(ModelScorer(model, ALL, temperature), contexts, responses, 8)
    return teacher_guards(ModelScorer(model, ALL, temperature), contexts, responses, scores, rollouts)


def test_a_perfect_scorer_shows_no_contrast_and_a_clear_gain(model):
    """Random weights say little of a response, but the same in any batch; a teacher that knows it, much more."""
    measured = guards(model)
    assert measured["guard/null_contrast_abs_max"] < 1e-5
    assert 0 <= measured["guard/null_contrast_abs_mean"] <= measured["guard/null_contrast_abs_max"]
    knowing = Counting()
    measured = guards(knowing)
    assert measured["guard/null_contrast_abs_max"] == 0
    assert measured["guard/alignment_gain"] == pytest.approx(knowing.odds)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_gain_is_the_mean_log_prob_over_that_of_the_shifted_response(model, temperature):
    """Token by token from forwards of single rows; the last token has no successor to be shifted by."""
    differences = []
    for context, response in zip(CONTEXTS.correct, RESPONSES, strict=True):
        if context is None or len(response) < 2:
            continue
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*context, *response]])).logits[0].double() / temperature
        for t in range(len(response) - 1):
            distribution = logits[len(context) + t - 1].softmax(dim=-1)
            differences.append(float(distribution[response[t]].log() - distribution[response[t + 1]].log()))
    expected = sum(differences) / len(differences)
    assert guards(model, temperature=temperature)["guard/alignment_gain"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("scorer", ["random", "knowing"])
def test_scores_shifted_by_a_token_stand_out_in_the_null_contrast(model, scorer):
    """As if the trainer had read the teacher one column off; the repeated scoring itself is sound."""
    scorer = {"random": model, "knowing": Counting()}[scorer]
    responses = [[10, 11, 40, 13, 50, 15][: len(response)] for response in RESPONSES]
    scores = score_contexts(ModelScorer(scorer, ALL), CONTEXTS, responses, 8)
    shifted = replace(scores, correct_logprobs=scores.correct_logprobs.roll(1, dims=1))
    before, after = (guards(scorer, responses=responses, scores=each) for each in (scores, shifted))
    assert before["guard/null_contrast_abs_max"] < 1e-5
    assert after["guard/null_contrast_abs_mean"] > 0.3
    assert after["guard/null_contrast_abs_max"] > after["guard/null_contrast_abs_mean"]
    assert after["guard/alignment_gain"] == before["guard/alignment_gain"]


@pytest.mark.parametrize(("ahead", "gain"), [(1, 5.0), (2, -5.0), (0, 0.0)])
def test_a_scorer_that_is_itself_misaligned_stands_out_in_the_gain(ahead, gain):
    """It repeats itself perfectly, so the null contrast sees nothing."""
    measured = guards(Counting(5.0, ahead))
    assert measured["guard/null_contrast_abs_max"] == 0
    assert measured["guard/alignment_gain"] == pytest.approx(gain)


def test_noise_of_the_batch_shape_is_measured():
    """Four of the five rows have a hint; they are scored together, then each alone."""
    noisy = Counting(noise=0.001)
    measured = guards(noisy)
    moved = noisy.logprob(rows=4) - noisy.logprob(rows=1)
    assert 1e-4 < moved < 1e-2
    assert measured["guard/null_contrast_abs_mean"] == pytest.approx(moved, rel=1e-2)
    assert measured["guard/null_contrast_abs_max"] == pytest.approx(moved, rel=1e-2)


def test_the_mean_is_over_tokens_and_the_maximum_over_all():
    model = Counting()
    scores = score_contexts(ModelScorer(model, ALL), CONTEXTS, RESPONSES, 8)
    off = torch.zeros(5, 8)
    off[0, 1], off[4, 5], off[2], off[1], off[0, 4:] = -0.5, 0.25, 9.0, 9.0, 9.0  # the last three are not looked at
    scores = replace(scores, correct_logprobs=scores.correct_logprobs + off)
    measured = guards(model, scores=scores)
    assert measured["guard/null_contrast_abs_mean"] == pytest.approx(0.75 / (4 + 3 + 6))
    assert measured["guard/null_contrast_abs_max"] == pytest.approx(0.5)


@pytest.mark.parametrize(("rollouts", "scored"), [(0, []), (1, [0]), (2, [0, 3]), (3, [0, 3, 4]), (9, [0, 3, 4])])
def test_the_first_hinted_rollouts_of_two_tokens_or_more_are_scored_each_alone(rollouts, scored):
    """And a column wider: whatever was in one micro-batch before, the shape is another."""
    model = Counting()
    scores = score_contexts(ModelScorer(model, ALL), CONTEXTS, RESPONSES, 8)
    model.forwards.clear()
    measured = guards(model, rollouts, scores=scores)
    assert sorted(model.forwards) == sorted((1, 1 + len(CONTEXTS.correct[i]) + len(RESPONSES[i])) for i in scored)
    assert bool(measured) == bool(scored)


def test_without_a_rollout_to_look_at_there_is_nothing():
    nobody = TeacherContexts([None] * 5, [[]] * 5, 0.0)
    assert guards(Counting(), contexts=nobody) == {}
    assert guards(Counting(), responses=[[7]] * 5) == {}
    assert guards(Counting(), responses=[[]] * 5) == {}


def test_guessing_is_nothing_over_uniform():
    guessing = Counting(odds=0.0)
    scores = score(guessing, Sequences([[9]], [[10, 11]]), 2, ALL)
    assert over_uniform(float(scores.logprobs.mean()), VOCABULARY) == pytest.approx(0, abs=1e-6)
    knowing = Counting()
    scores = score(knowing, Sequences([[9]], [[10, 11]]), 2, ALL)
    expected = knowing.logprob() + math.log(VOCABULARY)
    assert over_uniform(float(scores.logprobs.mean()), VOCABULARY) == pytest.approx(expected, rel=1e-5)
