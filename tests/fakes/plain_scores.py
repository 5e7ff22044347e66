"""Fixtures: a tiny random model, and what it says of a response by one plain forward, position by position."""

import pytest
import torch

from selfdistill.models.tiny_model import TinyModel, build_model


@pytest.fixture(scope="session")
def model(tokenizer):
    return build_model(TinyModel(layers=2), tokenizer, seed=0).eval()


@pytest.fixture(scope="session")
def plain_scores():
    return _plain_scores


@pytest.fixture(scope="session")
def plain_distributions():
    return _plain_distributions


def _plain_scores(model, prompt, response, temperature=1.0):
    """Log-probs and entropies of a response; with gradient where enabled."""
    logprobs, entropies = [], []
    for token, distribution in zip(response, _plain_distributions(model, prompt, response, temperature), strict=True):
        logprobs.append(distribution[token].log())
        entropies.append(-(distribution * distribution.log()).sum())
    return torch.stack(logprobs), torch.stack(entropies)


def _plain_distributions(model, prompt, response, temperature=1.0):
    """Probabilities from which each token was drawn, float64: no batch, no padding, no mask, no cache."""
    logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0].double() / temperature
    return [logits[len(prompt) + t - 1].softmax(dim=-1) for t in range(len(response))]
