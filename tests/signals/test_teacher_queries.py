import random

import pytest
import torch

from selfdistill.objectives.batch import Needs
from selfdistill.scoring.scorer import ModelScorer
from selfdistill.signals.hints import Candidate, assign_hints
from selfdistill.signals.teacher_contexts import ContextBuilder
from selfdistill.signals.teacher_queries import Use, distinct_queries, plain_tokens
from selfdistill.signals.teacher_scores import score_contexts
from selfdistill.study.teacher_settings import HintSettings
from selfdistill.tasks.prompts import Hint
from selfdistill.tasks.schema import Problem


def test_equal_pairs_are_one_and_every_use_finds_its_own():
    pairs = [(1, [5, 6]), (0, [5, 6]), (0, [7]), (2, [5, 6]), (1, [7]), (0, [7])]
    responses = [[1, 2], [3], [1, 2]]
    distinct = distinct_queries([Use(*pair) for pair in pairs], responses)
    assert distinct.pairs.prompts == [[5, 6], [5, 6], [7], [7]]
    assert distinct.pairs.responses == [[3], [1, 2], [1, 2], [3]]
    assert distinct.rows == [1, 0, 0, 1]
    assert distinct.place == [0, 1, 2, 1, 3, 2]


def test_equal_responses_are_apart_where_something_else_is_asked_of_each():
    distinct = distinct_queries([Use(row, [5]) for row in (0, 1, 0)], [[1], [1]], by_rollout=True)
    assert distinct.rows == [0, 1]
    assert distinct.place == [0, 1, 0]


def test_nothing_asked_is_no_pair():
    distinct = distinct_queries([], [[1]])
    assert (distinct.pairs.prompts, distinct.rows, distinct.place) == ([], [], [])


def test_the_plain_scheme_fills_slots_with_replicas_and_has_none_without_hints():
    correct = [[0] * 3, [0] * 4, None, [0] * 5]
    wrong = [[[0] * 6, [0] * 7], [[0] * 8], [], []]
    responses = [[1] * 2, [1], [1] * 99, [1] * 3]
    first, second = (3 + 6 + 7) + 3 * 2, (4 + 8 + 8) + 3 * 1
    assert plain_tokens(correct, wrong, responses) == first + second + (5 + 3)
    assert plain_tokens([[0] * 3, None], [[], []], [[1] * 2, [1]]) == 5
    assert plain_tokens([], [], []) == 0


def random_group(rng, size, right, text):
    outcomes = [1.0] * right + [0.0] * (size - right)
    rng.shuffle(outcomes)
    boxed = [rng.random() < 0.9 for _ in range(size)]
    answers = [str(rng.randrange(10)) if has or reward else None for reward, has in zip(outcomes, boxed, strict=True)]
    return [
        Candidate(reward, "".join(rng.choice("123+= ") for _ in range(rng.randint(1, text))), answer)
        for reward, answer in zip(outcomes, answers, strict=True)
    ]


def one_by_one(model, context, response):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*context, *response]])).logits[0].double().log_softmax(-1)
    return torch.stack([logits[len(context) + t - 1, token] for t, token in enumerate(response)])


@pytest.mark.parametrize("k_max", [1, 3, 4])
@pytest.mark.parametrize("seed", range(6))
def test_scores_of_distinct_queries_are_those_of_the_plain_scheme(model, tokenizer, seed, k_max):
    """Real hints of random groups (every size, outcome and length) under rlcsd's needs, each context by itself."""
    rng = random.Random(10 * seed + k_max)
    settings, needs = HintSettings("self_rollout", k_max=k_max), Needs(True, True, mixed_groups=True)
    problems, assignments, responses = [], [], []
    for number in range(3):
        size = rng.randint(2, 8)
        group = random_group(rng, size, rng.randint(0, size), text=30)
        text = f"Start with {rng.randrange(10)}, then add {number}. What is the result modulo 10?"
        problem = Problem(str(number), "", text, "", "", "", 0, "")
        found = assign_hints(group, Hint("1", "1"), settings, needs, (seed, number))
        problems += [problem] * size
        assignments += found
        responses += [[*tokenizer(each.text).input_ids, 2] for each in group]
    contexts = ContextBuilder(tokenizer, settings, 10**6).build(problems, assignments, [len(r) for r in responses])
    width = max(map(len, responses))
    scores = score_contexts(ModelScorer(model, rng.choice([64, 512, 10**6])), contexts, responses, width)
    for i, response in enumerate(responses):
        uses = [] if contexts.correct[i] is None else [(contexts.correct[i], scores.correct_logprobs[i])]
        uses += list(zip(contexts.wrong[i], scores.wrong_logprobs[i], strict=False))
        assert bool(scores.hinted[i]) == bool(uses)
        assert int(scores.wrong_mask[i].sum()) == len(contexts.wrong[i])
        for context, read in uses:
            expected = one_by_one(model, context, response)
            torch.testing.assert_close(read[: len(response)].double(), expected, rtol=0, atol=1e-5)
    assert scores.tokens_forwarded <= scores.tokens_plain
    if scores.hinted.any():
        assert scores.tokens_forwarded < scores.tokens_plain
