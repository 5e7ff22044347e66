import math

import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.batch import Batch
from selfdistill.objectives.grpo import GRPO


def global_loss(method, batch, logprobs, aggregation):
    """Loss of the whole batch at once, and its gradient by the log-probs."""
    leaf = logprobs.clone().requires_grad_()
    targets = method.targets(batch, aggregation)
    loss = (targets.weights * method.token_loss(leaf, batch, targets)).sum()
    return float(loss.detach()), torch.autograd.grad(loss, leaf)[0]


def slow_loss(slow_surrogate, method, batch, logprobs, aggregation):
    kept = [i for i in range(len(batch.kept)) if batch.kept[i]]
    lengths = batch.response_mask.sum(dim=1).tolist()
    total, gradient = 0.0, torch.zeros_like(logprobs)
    for i in kept:
        for t in range(lengths[i]):
            value, slope = slow_surrogate(
                float(logprobs[i, t]),
                float(batch.old_logprobs[i, t]),
                float(batch.advantages[i]),
                method.epsilon_low,
                method.epsilon_high,
                method.dual_clip,
            )
            share = 1 / sum(lengths[j] for j in kept) if aggregation == "tokens" else 1 / lengths[i] / len(kept)
            total += share * value
            gradient[i, t] = share * slope
    return total, gradient


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("method", [GRPO(), GRPO(0.2, 0.28, 10.0), GRPO(0.1, 0.1, 1.2)])
def test_agrees_with_loops(random_batch, even_batch, slow_surrogate, method, aggregation):
    for seed in range(8):
        for make, tolerance in ((even_batch, 1e-9), (random_batch, 1e-6)):  # 1e-6: float32 weights 1/3, 1/5, ...
            batch, logprobs = make(seed)
            found, gradient = global_loss(method, batch, logprobs, aggregation)
            expected, slope = slow_loss(slow_surrogate, method, batch, logprobs, aggregation)
            assert found == pytest.approx(expected, rel=tolerance, abs=tolerance)
            torch.testing.assert_close(gradient, slope, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_zero_advantages_and_empty_masks_give_zero(aggregation):
    mask = torch.ones(4, 3, dtype=torch.bool)
    logprobs = -torch.rand(4, 3)
    for batch in (
        Batch(mask, torch.zeros(4), logprobs + 0.5),
        Batch(~mask, torch.ones(4), logprobs),
        Batch(mask, torch.ones(4), logprobs, kept=torch.zeros(4, dtype=torch.bool)),
        Batch(mask[:, :0], torch.ones(4), logprobs[:, :0]),
    ):
        loss, gradient = global_loss(GRPO(), batch, logprobs[:, : batch.response_mask.shape[1]], aggregation)
        assert loss == 0
        assert not gradient.any()


def test_on_policy_gradient_is_minus_the_advantage_shared_out():
    batch = Batch(torch.ones(2, 2, dtype=torch.bool), torch.tensor([1.0, -3.0]), torch.full((2, 2), -math.log(2)))
    _, gradient = global_loss(GRPO(), batch, batch.old_logprobs, "tokens")
    torch.testing.assert_close(gradient, torch.tensor([[-0.25, -0.25], [0.75, 0.75]]))


def test_it_needs_no_teacher():
    assert not any(vars(GRPO().needs).values())
