"""A tiny random model and its tokenizer."""

import pytest
import torch

from selfdistill.training.tiny_model import TinyModel, build_model, build_tokenizer


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="session")
def make_model(tokenizer):
    return lambda seed=0: build_model(TinyModel(layers=2), tokenizer, seed).eval()


@pytest.fixture(scope="session")
def model(make_model):
    return make_model()
