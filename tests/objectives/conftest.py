"""Random batches in float64, and the clipped surrogate in plain Python, as every objective's test wants them."""

import math

import numpy as np
import pytest
import torch

from selfdistill.objectives.batch import Batch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def random_batch():
    return _random_batch


@pytest.fixture(scope="session")
def even_batch():
    return _even_batch


@pytest.fixture(scope="session")
def slow_surrogate():
    return _slow_surrogate


def _random_batch(seed: int, rows: int = 6, width: int = 7, hints: int = 3) -> tuple[Batch, torch.Tensor]:
    """A batch with every field filled, ragged in responses and hints, and the student's log-probs (rows, width).

    Rows without tokens, without hints, and out of the batch occur; masked hints hold NaN, padding finite rubbish.
    """
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, width + 1, size=rows)
    base = -rng.exponential(1.0, size=(rows, width))

    def near(scale: float, *shape: int) -> torch.Tensor:
        return torch.from_numpy(
            base.reshape(rows, *[1] * (len(shape) - 1), width) + scale * rng.normal(size=(rows, *shape))
        )

    hinted = rng.random(rows) < 0.75
    wrong_mask = hinted[:, None] & (np.arange(hints) < rng.integers(1, hints + 1, size=rows)[:, None])
    wrong_mask = rng.permuted(wrong_mask, axis=1)
    wrong = near(0.01, hints, width)
    wrong[torch.from_numpy(~wrong_mask)] = torch.nan
    advantages = rng.normal(size=rows) * (rng.random(rows) < 0.8)
    batch = Batch(
        response_mask=torch.from_numpy(np.arange(width) < lengths[:, None]),
        advantages=torch.from_numpy(advantages),
        old_logprobs=near(0.3, width),
        importance=torch.from_numpy(rng.uniform(0.2, 2.0, size=(rows, width))),
        reference_logprobs=near(0.5, width),
        current_logprobs=near(0.01, width),
        correct_logprobs=near(0.01, width),
        wrong_logprobs=wrong,
        wrong_mask=torch.from_numpy(wrong_mask),
        hinted=torch.from_numpy(hinted),
        kept=torch.from_numpy(rng.random(rows) < 0.8),
    )
    return batch, near(0.3, width)


def _even_batch(seed: int) -> tuple[Batch, torch.Tensor]:
    """A random batch in which every denominator is a power of two, so that float32 weights are exact.

    Eight rows of eight tokens are in the batch: three selected throughout (the correct hint speaks), two on their
    second half, three without hints; on half a row the hints agree. Two more rows have left the batch.
    """
    batch, logprobs = _random_batch(seed, rows=10, width=9, hints=4)
    rng = np.random.default_rng(seed)
    mask = torch.ones(10, 9, dtype=torch.bool)
    mask[:, 8], mask[9, 3:] = False, False
    hinted = torch.tensor([True] * 5 + [False] * 3 + [True] * 2)
    wrong_mask = torch.from_numpy(np.arange(4) < rng.integers(1, 5, size=10)[:, None]) & hinted[:, None]
    correct = -torch.from_numpy(rng.exponential(1.0, size=(10, 9)))
    contrast = torch.from_numpy(rng.uniform(0.002, 0.03, size=(10, 9)) * rng.choice([-1, 1], size=(10, 9)))
    contrast[3:5, :4] = 0.0
    spread = torch.from_numpy(rng.uniform(-1e-4, 1e-4, size=(10, 4, 9)))
    spread[3:5, :, :4] = 0.0
    wrong = (correct - contrast)[:, None] + spread
    wrong[~wrong_mask] = torch.nan
    kept = torch.tensor([True] * 8 + [False] * 2)
    changed = {"response_mask": mask, "hinted": hinted, "kept": kept, "wrong_mask": wrong_mask}
    signal = {"correct_logprobs": correct, "wrong_logprobs": wrong, "current_logprobs": correct - contrast}
    return batch.extended(**changed, **signal), logprobs


def _slow_surrogate(
    new: float, old: float, advantage: float, low: float, high: float, dual: float | None
) -> tuple[float, float]:
    """Loss of one token and its derivative by the new log-prob, from probabilities, one case after another."""
    ratio = math.exp(new) / math.exp(old)
    clipped = min(max(ratio, 1 - low), 1 + high)
    inside = clipped == ratio
    if ratio * advantage <= clipped * advantage:
        objective, slope = ratio * advantage, ratio * advantage
    else:
        objective, slope = clipped * advantage, ratio * advantage if inside else 0.0
    if dual is not None and advantage < 0 and objective < dual * advantage:
        objective, slope = dual * advantage, 0.0
    return -objective, -slope
