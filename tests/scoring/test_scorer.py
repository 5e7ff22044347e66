import copy
import functools
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from selfdistill.models.tiny_model import TinyModel, build_model
from selfdistill.scoring.query import Query
from selfdistill.scoring.scorer import micro_batches, read_responses, score
from selfdistill.scoring.scores import Scores, Sequences

RNG = np.random.default_rng(0)
PAD = 0
PROMPTS = [RNG.integers(4, 73, size=size).tolist() for size in (4, 9, 1, 6, 12)]
RESPONSES = [RNG.integers(3, 73, size=size).tolist() for size in (7, 2, 5, 1, 10)]
SEQUENCES = Sequences(PROMPTS, RESPONSES)
#: Ids to read at, row by row: repeated ones, the ids at both ends of the vocabulary, and none of the most likely ones.
IDS = torch.from_numpy(np.random.default_rng(1).integers(0, 103, size=(5, 13, 4)))
IDS[:, :, 1], IDS[:, :, 2] = 102, IDS[:, :, 0]


def logprobs_of(model, sequences, rows, temperature=1.0):
    return read_responses(model, sequences, rows, temperature).logprobs


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


def test_learned_positions_count_from_the_first_token_of_each_row(plain_scores):
    """Rotary positions forgive a shift by the padding; a table of positions does not."""
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=73, bos_token_id=2, eos_token_id=2, **sizes)).eval()
    with torch.no_grad():
        found = logprobs_of(model, SEQUENCES, range(5))
        for i in range(5):
            expected, _ = plain_scores(model, PROMPTS[i], RESPONSES[i])
            torch.testing.assert_close(found[i, : len(expected)].double(), expected, rtol=0, atol=1e-5)


def test_rows_may_be_chosen_in_any_order(model):
    with torch.no_grad():
        every, some = logprobs_of(model, SEQUENCES, range(5)), logprobs_of(model, SEQUENCES, [3, 0])
    assert some.shape == (2, 7)
    torch.testing.assert_close(some, every[[3, 0], :7], rtol=0, atol=1e-5)


def test_a_pad_token_inside_a_response_shifts_nothing(model, plain_scores):
    responses = [[PAD, 9, PAD, PAD, 7, PAD], [8, PAD], [PAD], [5] * 9]
    prompts = [[PAD, 4, PAD], [6], [PAD, PAD], [4] * 5]
    with torch.no_grad():
        found = logprobs_of(model, Sequences(prompts, responses), range(4))
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
        found = logprobs_of(trained, SEQUENCES, range(5))
        return sum((found[i, : len(w)] * w).sum() for i, w in enumerate(weights))

    def one_by_one(trained):
        return sum((plain_scores(trained, PROMPTS[i], RESPONSES[i])[0] * w).sum() for i, w in enumerate(weights))

    expected = gradients(one_by_one)
    assert len(expected) > 10
    for name, gradient in gradients(padded).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


def test_empty_responses_are_zero_and_disturb_no_row(model, plain_scores):
    with torch.no_grad():
        mixed = logprobs_of(model, Sequences([[5, 6], [7]], [[], [8, 9]]), [0, 1])
        assert mixed[0].tolist() == [0.0, 0.0]
        torch.testing.assert_close(mixed[1].double(), plain_scores(model, [7], [8, 9])[0], rtol=0, atol=1e-5)
        assert logprobs_of(model, Sequences([[5], [6, 7]], [[], []]), [0, 1]).shape == (2, 0)


# ---------------------------------------------------------------------------------------------------------- supports


@pytest.fixture(scope="module")
def expected(model, plain_distributions):
    """Per temperature and row: (T, V) log-probs by single forwards, float64."""

    @functools.cache
    def read(temperature):
        with torch.no_grad():
            pairs = zip(PROMPTS, RESPONSES, strict=True)
            return [torch.stack(plain_distributions(model, p, r, temperature)).log() for p, r in pairs]

    return read


def assert_near(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)


def assert_most_likely(ids, support, distribution):
    """Near ties may come in either order, so: distinct ids, their own log-probs, and as likely as the k best."""
    assert all(len(set(row)) == len(row) for row in ids.tolist())
    assert_near(support, distribution.gather(-1, ids))
    assert_near(support, distribution.topk(ids.shape[-1], dim=-1).values)


@pytest.mark.parametrize("temperature", [0.5, 1.7])
@pytest.mark.parametrize("top_k", [None, 0, 2])
def test_a_given_support_is_read_at_its_ids_whatever_top_k(model, expected, temperature, top_k):
    """The ids may be wider than these responses: those behind are cut."""
    rows = [3, 0, 2]
    with torch.no_grad():
        found = read_responses(model, SEQUENCES, rows, temperature, Query(top_k, IDS[rows]))
    assert torch.equal(found.ids, IDS[rows][:, :7])
    assert found.support.shape == (3, 7, 4)
    for place, row in enumerate(rows):
        length = len(RESPONSES[row])
        assert_near(found.support[place, :length], expected(temperature)[row].gather(-1, IDS[row, :length]))


def test_what_was_not_asked_for_is_not_there(model):
    with torch.no_grad():
        for found in (read_responses(model, SEQUENCES, range(5)), score(model, SEQUENCES, 10, 100)):
            assert found.ids is None
            assert found.support is None
            assert found.entropy is None
        assert read_responses(model, SEQUENCES, range(5), query=Query(top_k=3)).entropy is None


@pytest.mark.parametrize("given", [True, False], ids=["at ids", "full vocabulary"])
def test_gradients_flow_through_supports_and_logprobs(model, plain_distributions, given):
    """Of a weighted sum of both, by every parameter: one padded batch against one forward a row, in probabilities."""
    size = 4 if given else model.config.vocab_size
    draws = torch.from_numpy(np.random.default_rng(2).normal(scale=0.1, size=(5, 10, size + 1)))

    def gradients(loss):
        trained = copy.deepcopy(model)
        loss(trained).backward()
        return {name: parameter.grad for name, parameter in trained.named_parameters()}

    def padded(trained):
        query = Query(ids=IDS) if given else Query(top_k=0)
        found = read_responses(trained, SEQUENCES, range(5), 0.8, query)
        mask = torch.zeros(5, 10, 1)
        for i, response in enumerate(RESPONSES):
            mask[i, : len(response)] = 1
        return (draws * mask * torch.cat([found.logprobs[..., None], found.support], dim=-1)).sum()

    def one_by_one(trained):
        total = 0.0
        for i, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            for t, distribution in enumerate(plain_distributions(trained, prompt, response, 0.8)):
                total = total + draws[i, t, 0] * distribution[response[t]].log()
                read = distribution[IDS[i, t]] if given else distribution
                total = total + (draws[i, t, 1:] * read.log()).sum()
        return total

    reference = gradients(one_by_one)
    assert len(reference) > 10
    for name, gradient in gradients(padded).items():
        torch.testing.assert_close(gradient, reference[name], rtol=1e-4, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")


# ----------------------------------------------------------------------------------------------------- micro-batches

READINGS = {
    "chosen": Query(top_k=6, entropy=True),
    "given": Query(ids=IDS, entropy=True),
    "full": Query(top_k=0, entropy=True),
    "none": Query(entropy=True),
}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(("budget", "temperature"), [(1, 0.5), (20, 1.7), (45, 0.5), (10**6, 1.0)])
def test_scores_are_those_of_single_forwards_for_every_budget(
    model, plain_scores, expected, budget, temperature, reading
):
    found = score(model, SEQUENCES, 13, budget, temperature, READINGS[reading])
    assert found.logprobs.dtype == torch.float32
    assert found.logprobs.shape == found.entropy.shape == (5, 13)
    assert not any(value.requires_grad for value in found.tensors.values())
    for i, distribution in enumerate(expected(temperature)):
        length = len(distribution)
        with torch.no_grad():
            logprobs, entropies = plain_scores(model, PROMPTS[i], RESPONSES[i], temperature)
        assert_near(found.logprobs[i, :length], logprobs)
        assert not found.logprobs[i, length:].any()
        assert_near(found.entropy[i, :length], entropies)
        if reading == "chosen":
            assert_most_likely(found.ids[i, :length], found.support[i, :length], distribution)
        elif reading == "given":
            assert torch.equal(found.ids[i, :length], IDS[i, :length])
            assert_near(found.support[i, :length], distribution.gather(-1, IDS[i, :length]))
        elif reading == "full":
            assert found.ids is None
            assert_near(found.support[i, :length], distribution)


@pytest.mark.parametrize("reading", ["chosen", "given", "full"])
def test_scores_are_zero_behind_the_longest_of_a_micro_batch(model, reading):
    for budget, widths in ((1, [len(r) for r in RESPONSES]), (10**6, [10] * 5)):
        found = score(model, SEQUENCES, 13, budget, query=READINGS[reading])
        assert found.support.isfinite().all()
        for value in (found.logprobs, found.support, found.entropy, found.ids):
            for i, width in enumerate(widths):
                assert value is None or (value.shape[1] == 13 and not value[i, width:].any())


@pytest.mark.parametrize("budget", [1, 45])
def test_rows_may_come_in_any_order(model, budget):
    order = [4, 2, 0, 3, 1]
    shuffled = Sequences([PROMPTS[i] for i in order], [RESPONSES[i] for i in order])
    found = score(model, SEQUENCES, 10, budget, query=Query(ids=IDS, entropy=True))
    again = score(model, shuffled, 10, budget, query=Query(ids=IDS[order], entropy=True))
    for place, row in enumerate(order):
        for name in ("logprobs", "ids", "support", "entropy"):
            pair = (getattr(scores, name)[i, : len(RESPONSES[row])] for scores, i in ((again, place), (found, row)))
            torch.testing.assert_close(*pair, rtol=0, atol=1e-5)


def test_ids_chosen_once_can_be_read_again_by_another_model(model, tokenizer):
    """The way of a support: one model chooses, the other is read there; each row keeps its own ids."""
    other = build_model(TinyModel(layers=1), tokenizer, seed=1).eval()
    chosen = score(model, SEQUENCES, 10, 45, query=Query(top_k=6))
    read = score(other, SEQUENCES, 10, 30, query=Query(ids=chosen.ids))
    full = score(other, SEQUENCES, 10, 10**6, query=Query(top_k=0))
    for i, response in enumerate(RESPONSES):
        assert torch.equal(read.ids[i, : len(response)], chosen.ids[i, : len(response)])
        picked = full.support[i, : len(response)].gather(-1, chosen.ids[i, : len(response)])
        torch.testing.assert_close(read.support[i, : len(response)], picked, rtol=0, atol=1e-5)


@pytest.mark.parametrize("asked", [{}, {"top_k": 3}, {"top_k": 0}, {"ids": IDS[:0]}])
def test_nothing_to_score(model, asked):
    found = score(model, Sequences([], []), width=4, max_tokens=8, query=Query(entropy=True, **asked))
    assert found == Scores(found.logprobs)
    assert found.logprobs.shape == (0, 4)


def test_prompts_and_responses_must_pair():
    with pytest.raises(ValueError, match="zip"):
        _ = Sequences([[1], [2]], [[3]]).lengths
