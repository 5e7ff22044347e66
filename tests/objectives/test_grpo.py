import math

import pytest
import torch

from selfdistill.objectives.aggregation import AGGREGATIONS
from selfdistill.objectives.batch import Batch
from selfdistill.objectives.grpo import GRPO

SWITCHES = [GRPO(), GRPO(0.2, 0.28, 10.0), GRPO(0.1, 0.1, 1.2)]


def slow_grpo(slow, method, case, aggregation):
    def value(at, student):
        clips = method.epsilon_low, method.epsilon_high, method.dual_clip
        return slow.surrogate(student[at.sampled] / at.old, at.advantage, *clips)

    return *slow.loss(case, slow.shares(case.places(), aggregation, int(case.batch.kept.sum())), value), {}


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_zero_advantages_and_empty_masks_give_zero(by_logprobs, aggregation):
    mask = torch.ones(4, 3, dtype=torch.bool)
    logprobs = -torch.rand(4, 3)
    for batch in (
        Batch(mask, torch.zeros(4), logprobs + 0.5),
        Batch(~mask, torch.ones(4), logprobs),
        Batch(mask, torch.ones(4), logprobs, kept=torch.zeros(4, dtype=torch.bool)),
        Batch(mask[:, :0], torch.ones(4), logprobs[:, :0]),
    ):
        loss, gradient = by_logprobs(GRPO(), batch, logprobs[:, : batch.response_mask.shape[1]], aggregation)
        assert loss == 0
        assert not gradient.any()


def test_on_policy_gradient_is_minus_the_advantage_shared_out(by_logprobs):
    batch = Batch(torch.ones(2, 2, dtype=torch.bool), torch.tensor([1.0, -3.0]), torch.full((2, 2), -math.log(2)))
    _, gradient = by_logprobs(GRPO(), batch, batch.old_logprobs, "tokens")
    torch.testing.assert_close(gradient, torch.tensor([[-0.25, -0.25], [0.75, 0.75]]))


def test_it_needs_no_teacher():
    assert not any(vars(GRPO().needs).values())
