"""A tiny random model, and log-probs of a response by one plain forward, position by position."""

import pytest
import torch

from selfdistill.training.tiny_model import TinyModel, build_model


@pytest.fixture(scope="session")
def model(tokenizer):
    return build_model(TinyModel(layers=2), tokenizer, seed=0).eval()


@pytest.fixture(scope="session")
def plain_scores():
    return _plain_scores


def _plain_scores(model, prompt, response, temperature=1.0):
    """Log-probs and entropies of a response: no batch, no padding, no mask, no cache; with gradient where enabled."""
    logits = model(input_ids=torch.tensor([[*prompt, *response]])).logits[0].double() / temperature
    logprobs, entropies = [], []
    for t, token in enumerate(response):
        distribution = logits[len(prompt) + t - 1].softmax(dim=-1)
        logprobs.append(distribution[token].log())
        entropies.append(-(distribution * distribution.log()).sum())
    return torch.stack(logprobs), torch.stack(entropies)
