import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.objectives.contrast import contrastive_evidence, mean_wrong_logprobs

DOUBLE = {"rtol": 1e-9, "atol": 1e-9}


def slow_mean_logprob(wrong, mask):
    """[row][token] log of the mean of probabilities, by probabilities."""
    rows = []
    for hints, flags in zip(wrong, mask, strict=True):
        real = [hint for hint, flag in zip(hints, flags, strict=True) if flag]
        rows.append([math.log(sum(math.exp(h[t]) for h in real) / len(real)) for t in range(len(hints[0]))])
    return rows


@pytest.mark.parametrize("rubbish", [math.nan, -math.inf, math.inf, 0.0])
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=5), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_mean_of_probabilities_over_ragged_hints(rubbish, counts, seed):
    generator = torch.Generator().manual_seed(seed)
    wrong = -torch.rand(len(counts), 4, 3, generator=generator, dtype=torch.float64) * 9
    mask = torch.arange(4) < torch.tensor(counts)[:, None]
    mask = torch.stack([row[torch.randperm(4, generator=generator)] for row in mask])
    expected = torch.tensor(slow_mean_logprob(wrong.tolist(), mask.tolist()), dtype=torch.float64)
    correct = -torch.rand(len(counts), 3, generator=generator, dtype=torch.float64) * 9
    wrong[~mask] = rubbish
    torch.testing.assert_close(mean_wrong_logprobs(wrong, mask), expected, **DOUBLE)
    torch.testing.assert_close(contrastive_evidence(correct, wrong, mask), correct - expected, **DOUBLE)


def test_a_hint_that_excludes_the_token_still_counts_as_one():
    wrong = torch.tensor([[[math.log(0.4)], [-math.inf]]], dtype=torch.float64)
    found = mean_wrong_logprobs(wrong, torch.tensor([[True, True]]))
    torch.testing.assert_close(found.exp(), torch.tensor([[0.2]], dtype=torch.float64), **DOUBLE)


def test_tiny_probabilities_do_not_underflow():
    wrong = torch.full((1, 4, 1), -800.0)
    found = mean_wrong_logprobs(wrong, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(found, torch.tensor([[-800.0]]))


@pytest.mark.parametrize("hints", [0, 2])
def test_a_row_without_wrong_hints_is_minus_infinity(hints):
    found = mean_wrong_logprobs(torch.zeros(2, hints, 3), torch.zeros(2, hints, dtype=torch.bool))
    assert found.shape == (2, 3)
    assert (found == -math.inf).all()
