import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from selfdistill.sampling.scoring import Sequences, micro_batches, response_logprobs, score

RNG = np.random.default_rng(0)
PAD = 0
PROMPTS = [RNG.integers(4, 73, size=size).tolist() for size in (4, 9, 1, 6, 12)]
RESPONSES = [RNG.integers(3, 73, size=size).tolist() for size in (7, 2, 5, 1, 10)]
SEQUENCES = Sequences(PROMPTS, RESPONSES)


ROW = st.tuples(st.integers(1, 25), st.integers(0, 25))


@given(st.lists(ROW, max_size=30), st.integers(1, 200))
@settings(deadline=None, max_examples=150)
def test_micro_batches_part_the_rows_within_the_budget(rows, budget):
    sequences = Sequences([[0] * prompt for prompt, _ in rows], [[0] * response for _, response in rows])
    batches = micro_batches(sequences, budget)
    assert sorted(row for batch in batches for row in batch) == list(range(len(rows)))
    assert all(batches)
    assert micro_batches(sequences, budget) == batches

    def padded(batch):
        return len(batch) * (max(rows[i][0] for i in batch) + max(rows[i][1] for i in batch))

    assert all(len(batch) == 1 or padded(batch) <= budget for batch in batches)
    for batch, following in pairwise(batches):  # no batch ends before its budget does
        assert padded([*batch, following[0]]) > budget
        assert min(sum(rows[i]) for i in batch) >= max(sum(rows[i]) for i in following)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_batched_logprobs_are_those_of_single_forwards(model, plain_scores, temperature):
    with torch.no_grad():
        found = response_logprobs(model, SEQUENCES, range(5), temperature)
        assert found.shape == (5, 10)
        assert found.dtype == torch.float32
        for i in range(5):
            expected, _ = plain_scores(model, PROMPTS[i], RESPONSES[i], temperature)
            torch.testing.assert_close(found[i, : len(expected)].double(), expected, rtol=0, atol=1e-5)
            assert not found[i, len(expected) :].any()


def test_learned_positions_count_from_the_first_token_of_each_row(plain_scores):
    """Rotary positions forgive a shift by the padding; a table of positions does not."""
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=73, bos_token_id=2, eos_token_id=2, **sizes)).eval()
    with torch.no_grad():
        found = response_logprobs(model, SEQUENCES, range(5))
        for i in range(5):
            expected, _ = plain_scores(model, PROMPTS[i], RESPONSES[i])
            torch.testing.assert_close(found[i, : len(expected)].double(), expected, rtol=0, atol=1e-5)


def test_rows_may_be_chosen_in_any_order(model):
    with torch.no_grad():
        every, some = response_logprobs(model, SEQUENCES, range(5)), response_logprobs(model, SEQUENCES, [3, 0])
    assert some.shape == (2, 7)
    torch.testing.assert_close(some, every[[3, 0], :7], rtol=0, atol=1e-5)


def test_shifting_a_target_by_one_token_changes_the_result(model):
    """The comparison above notices misalignment: log-probs one position off differ by far more than its tolerance."""
    moved = Sequences([[*p, r[0]] for p, r in zip(PROMPTS, RESPONSES, strict=True)], [r[1:] for r in RESPONSES])
    with torch.no_grad():
        found, shifted = response_logprobs(model, SEQUENCES, [0, 4]), response_logprobs(model, moved, [0, 4])
    torch.testing.assert_close(shifted, found[:, 1:], rtol=0, atol=1e-5)  # the same tokens, now one place earlier
    assert (shifted - found[:, :-1]).abs()[:, :6].min() > 1e-3


def test_a_token_matters_to_itself_and_later_ones_only(model):
    changed = [*RESPONSES[0]]
    changed[3] = changed[3] + 1 if changed[3] < 72 else 4
    with torch.no_grad():
        before = response_logprobs(model, SEQUENCES, [0])[0]
        after = response_logprobs(model, Sequences(PROMPTS[:1], [changed]), [0])[0]
    torch.testing.assert_close(before[:3], after[:3], rtol=0, atol=1e-6)
    assert (before[3:] - after[3:]).abs().min() > 1e-5


def test_a_pad_token_inside_a_response_shifts_nothing(model, plain_scores):
    responses = [[PAD, 9, PAD, PAD, 7, PAD], [8, PAD], [PAD], [5] * 9]
    prompts = [[PAD, 4, PAD], [6], [PAD, PAD], [4] * 5]
    with torch.no_grad():
        found = response_logprobs(model, Sequences(prompts, responses), range(4))
        for i, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            expected, _ = plain_scores(model, prompt, response)
            torch.testing.assert_close(found[i, : len(expected)].double(), expected, rtol=0, atol=1e-5)


def test_gradients_are_equal_under_padding(model, plain_scores):
    """Of a weighted sum of log-probs, by every parameter: one padded batch against one forward a row."""
    weights = [torch.linspace(-1, 2, len(r), dtype=torch.float64) for r in RESPONSES]

    def gradients(losses):
        trained = copy.deepcopy(model)
        losses(trained).backward()
        return {name: parameter.grad for name, parameter in trained.named_parameters()}

    def padded(trained):
        found = response_logprobs(trained, SEQUENCES, range(5))
        return sum((found[i, : len(w)] * w).sum() for i, w in enumerate(weights))

    def one_by_one(trained):
        return sum((plain_scores(trained, PROMPTS[i], RESPONSES[i])[0] * w).sum() for i, w in enumerate(weights))

    expected = gradients(one_by_one)
    assert len(expected) > 10
    for name, gradient in gradients(padded).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_empty_responses_are_zero_and_disturb_no_row(model, plain_scores):
    with torch.no_grad():
        mixed = response_logprobs(model, Sequences([[5, 6], [7]], [[], [8, 9]]), [0, 1])
        assert mixed[0].tolist() == [0.0, 0.0]
        torch.testing.assert_close(mixed[1].double(), plain_scores(model, [7], [8, 9])[0], rtol=0, atol=1e-5)
        assert response_logprobs(model, Sequences([[5], [6, 7]], [[], []]), [0, 1]).shape == (2, 0)


@pytest.mark.parametrize("budget", [1, 20, 45, 10**6])
def test_score_is_the_same_for_every_budget(model, plain_scores, budget):
    scored = score(model, SEQUENCES, width=13, max_tokens=budget)
    assert scored.shape == (5, 13)
    assert not scored.requires_grad
    for i in range(5):
        with torch.no_grad():
            expected, _ = plain_scores(model, PROMPTS[i], RESPONSES[i])
        torch.testing.assert_close(scored[i, : len(expected)].double(), expected, rtol=0, atol=1e-5)
        assert not scored[i, len(expected) :].any()


def test_nothing_to_score(model):
    assert score(model, Sequences([], []), width=4, max_tokens=8).shape == (0, 4)


def test_prompts_and_responses_must_pair():
    with pytest.raises(ValueError, match="zip"):
        _ = Sequences([[1], [2]], [[3]]).lengths
