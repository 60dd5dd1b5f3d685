"""Randomness as a function: every draw follows from names and numbers, never from a generator's state.

Workers, process count, restarts and resume can then not change a run, and a checkpoint's position is one integer.
"""

import hashlib

import numpy as np


def derive(*parts: int | str) -> int:
    """A 63-bit seed from any mix of names and numbers: `derive(seed, "augment", step, position)`."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """A numpy generator keyed by `parts` (Philox: cheap to create, independent streams)."""
    return np.random.Generator(np.random.Philox(key=derive(*parts)))
