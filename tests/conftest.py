"""What tests of several parts share: one thread, no waiting for the disk, and the toy's tokenizer."""

import os
import re

# What a terminal, a scheduler, a hook of git's or a user's settings say to programs, they would say to the tests' too.
_SAID = r"COLUMNS|LINES|(NO|FORCE)_COLOR|CLICOLOR.*|TTY_.*|GIT_.*|SLURM_.*|SNAKEMAKE_.*|HF_HUB_OFFLINE|PYTHONWARNINGS"
for _name in [name for name in os.environ if re.fullmatch(_SAID, name)]:
    del os.environ[_name]

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


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk():
    """Tests write thousands of files, and none is to outlive the machine; who tests that takes `real_fsync`."""
    with pytest.MonkeyPatch.context() as patch:
        fsync = os.fsync
        patch.setattr(os, "fsync", lambda handle: None)
        yield fsync


@pytest.fixture
def real_fsync(_no_waiting_for_the_disk, monkeypatch):
    monkeypatch.setattr(os, "fsync", _no_waiting_for_the_disk)


@pytest.fixture(scope="session")
def tokenizer():
    return build_tokenizer()
