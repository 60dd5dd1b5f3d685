"""Randomness as a function: every draw follows from names and numbers, never from a generator's state.

So neither workers nor the number of processes, restarts or resuming can change a run, and the position of a
checkpoint is one integer.
"""

import hashlib

import numpy as np


def derive(*parts: int | str) -> int:
    """Return a seed of 63 bits from names and numbers: `derive(seed, "augment", step, position)`."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """Return a numpy generator whose key is `derive(*parts)`.

    It is a Philox generator: cheap to create, and generators of different keys are independent.
    """
    return np.random.Generator(np.random.Philox(key=derive(*parts)))
