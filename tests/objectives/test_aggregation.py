import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.objectives.aggregation import AGGREGATIONS, token_weights


def slow_mean(losses, mask, aggregation, rollouts):
    if aggregation == "tokens":
        kept = [x for row, flags in zip(losses, mask, strict=True) for x, m in zip(row, flags, strict=True) if m]
        return sum(kept) / len(kept) if kept else 0.0
    means = []
    for row, flags in zip(losses, mask, strict=True):
        kept = [x for x, m in zip(row, flags, strict=True) if m]
        divisor = max(len(kept), 1) if "rollouts" in aggregation else 1
        means.append(sum(kept) / divisor)
    return sum(means) / rollouts


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@given(mask=st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=6), left=st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_weights_give_the_mean_that_loops_give(aggregation, mask, left):
    rollouts = max(len(mask) - left, 1)
    losses = torch.linspace(-3, 4, 5 * len(mask), dtype=torch.float64).view(-1, 5)
    weights = token_weights(torch.tensor(mask), aggregation, rollouts)
    expected = slow_mean(losses.tolist(), mask, aggregation, rollouts)
    # The weights are float32 by contract: 1e-6, not 1e-9 (reciprocals of powers of two are exact: see test_grpo).
    assert float((weights * losses).sum()) == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert not weights[~torch.tensor(mask)].any()


def test_aggregations_differ_where_lengths_do():
    mask = torch.tensor([[True] * 4, [True, False, False, False]])
    losses = torch.tensor([[1.0] * 4, [6.0, 99, 99, 99]])
    assert float((token_weights(mask, "tokens", 2) * losses).sum()) == pytest.approx(2.0)
    assert float((token_weights(mask, "rollouts", 2) * losses).sum()) == pytest.approx(3.5)
    assert float((token_weights(mask, "sums", 2) * losses).sum()) == pytest.approx(5.0)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_an_empty_mask_weighs_nothing(aggregation):
    for shape in ((3, 4), (3, 0), (0, 4)):
        weights = token_weights(torch.zeros(shape, dtype=torch.bool), aggregation, shape[0])
        assert weights.shape == shape
        assert weights.sum() == 0


def test_a_rollout_without_tokens_counts_among_the_rollouts():
    mask = torch.tensor([[True, True], [False, False]])
    assert float(token_weights(mask, "rollouts", 2).sum()) == pytest.approx(0.5)
    assert float(token_weights(mask, "tokens", 2).sum()) == pytest.approx(1.0)


def test_an_unknown_aggregation_is_named():
    with pytest.raises(ValueError, match=r"'mean'.*tokens, rollouts, sums"):
        token_weights(torch.ones(1, 1, dtype=torch.bool), "mean", 1)
