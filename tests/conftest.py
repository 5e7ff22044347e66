"""What tests of several parts share: one thread, and the toy's tokenizer."""

import pytest
import torch

from selfdistill.models.tiny_model import build_tokenizer


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()
