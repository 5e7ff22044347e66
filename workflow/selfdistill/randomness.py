"""Draws seeded counter-based random numbers: each is keyed by what it is for, and nothing has a state.

Every random draw of the project (a hint, a shuffle, a sampled token) comes from a Philox stream keyed by what it
is for, for example ``(seed, "sample", step, prompt, rollout)``. Draws therefore do not depend on batch order, on
micro-batching, or on how often a run was interrupted: there is no generator state to save.
"""

import hashlib

import numpy as np

Key = int | str


def generator(*key: Key) -> np.random.Generator:
    """Return a numpy generator for one purpose.

    Equal keys give equal streams; any difference gives independent ones.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype=np.uint64)))


def seed_of(*key: Key) -> int:
    """Return a 63-bit integer seed for libraries that want a number (torch.manual_seed)."""
    return int(generator(*key).integers(0, 2**63 - 1))
