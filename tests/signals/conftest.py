"""Tiny random models."""

import pytest

from selfdistill.models.tiny_model import TinyModel, build_model


@pytest.fixture(scope="session")
def make_model(tokenizer):
    return lambda seed=0: build_model(TinyModel(layers=2), tokenizer, seed).eval()


@pytest.fixture(scope="session")
def model(make_model):
    return make_model()
