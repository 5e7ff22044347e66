import math
from dataclasses import fields

import pytest
import torch

from selfdistill.objectives.batch import Batch, Targets, mean_over


def present(batch):
    return {field.name: getattr(batch, field.name) for field in fields(batch)}


def test_random_batches_fill_every_field(random_batch):
    """A field that this part's tests leave out is a field that no invariance below covers."""
    assert not [name for name, value in present(random_batch(0)[0]).items() if value is None]


def test_rows_takes_the_same_rows_of_every_tensor(random_batch):
    batch, _ = random_batch(1)
    index = torch.tensor([4, 0, 4])
    for name, value in present(batch.rows(index)).items():
        expected = torch.stack([getattr(batch, name)[i] for i in (4, 0, 4)])
        torch.testing.assert_close(value, expected, equal_nan=True, rtol=0, atol=0)


def test_narrowed_cuts_the_token_axis_and_no_other(random_batch):
    batch, _ = random_batch(2, rows=5, width=7, hints=3)
    cut = present(batch.narrowed(2))
    rowwise = {"advantages": (5,), "hinted": (5,), "kept": (5,), "wrong_mask": (5, 3), "wrong_logprobs": (5, 3, 2)}
    for name, value in cut.items():
        assert value.shape == rowwise.get(name, (5, 2)), name
        torch.testing.assert_close(value, getattr(batch, name)[tuple(map(slice, value.shape))], equal_nan=True)


def test_absent_tensors_stay_absent():
    batch = Batch(torch.ones(2, 3, dtype=torch.bool), torch.ones(2), torch.zeros(2, 3))
    part = batch.rows(torch.tensor([1])).narrowed(1)
    assert [name for name, value in present(part).items() if value is not None] == [
        "response_mask",
        "advantages",
        "old_logprobs",
    ]


def test_rows_that_left_count_neither_as_tokens_nor_as_rollouts():
    mask = torch.tensor([[True, True, False], [True, False, False]])
    batch = Batch(mask, torch.ones(2), torch.zeros(2, 3))
    assert batch.rollouts == 2
    assert batch.token_mask.tolist() == mask.tolist()
    left = batch.extended(kept=torch.tensor([False, True]))
    assert left.rollouts == 1
    assert left.token_mask.tolist() == [[False] * 3, [True, False, False]]


def test_targets_split_like_batches():
    targets = Targets(torch.arange(6.0).view(2, 3), -torch.arange(6.0).view(2, 3), {"a": 1.0})
    part = targets.rows(torch.tensor([1])).narrowed(2)
    assert part.advantages.tolist() == [[3.0, 4.0]]
    assert part.weights.tolist() == [[-3.0, -4.0]]
    assert part.metrics == {"a": 1.0}


def test_mean_over_ignores_what_is_masked_even_nan():
    values = torch.tensor([1.0, math.nan, 4.0, math.inf])
    assert mean_over(values, torch.tensor([True, False, True, False])) == pytest.approx(2.5)
    assert mean_over(values, torch.zeros(4, dtype=torch.bool)) == 0.0
