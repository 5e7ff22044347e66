"""What tests of several parts share: one thread, and the toy's tokenizer."""

import pytest
import torch
from hypothesis import HealthCheck, settings

from selfdistill.models.tiny_model import build_tokenizer

# A busy machine is no fault of a test: neither an example nor the drawing of one has a time limit.
settings.register_profile("busy machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy machine")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()
