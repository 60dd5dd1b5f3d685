"""The score of one network on other test images: the same metrics under bootstrap resamples of a set's images.

A resample draws as many images as the set has, with replacement (Efron 1979).  How often resample number b holds
each image is a function of the set's hash and of b alone: so two networks that are scored on one set are scored
on the same resamples, and their difference can be taken resample by resample (the paired bootstrap)."""

import hashlib
from typing import Any

import numpy as np

from selftrain.parts import Prediction
from selftrain.tasks.protocol import Scorer

REPLICATES = 500
"""Resamples of a reported set"""
DECIMALS = 3
"""Decimals that are kept of a resample's score, far below its spread"""


def weights(hash: str, images: int, replicates: int = REPLICATES) -> np.ndarray:
    """How often each resample holds each image: (B, n) int32, B = `replicates`, n = `images`; each row sums to n.

    Row b depends on `hash`, n and b, and not on B.  An image that was drawn twice counts twice.  The bits are
    those of the Philox generator, which numpy promises not to change (NEP 19), with the hash as key and b in the
    upper half of the counter; the upper 32 bits of each, times n and shifted back, are the image (a multiply-shift,
    whose deviation from equal chances is below n / 2**32).
    Raises ValueError for 2**32 images or more.
    """
    if images >= 2**32:
        raise ValueError(f"{images} images are more than can be drawn from")
    key = int.from_bytes(hashlib.blake2b(hash.encode(), digest_size=16).digest(), "little")
    drawn = np.empty((replicates, images), np.int32)
    for b in range(replicates):
        bits = np.random.Philox(key=key, counter=b << 128).random_raw(images)
        places = ((bits >> np.uint64(32)) * np.uint64(images)) >> np.uint64(32)
        drawn[b] = np.bincount(places.astype(np.int64), minlength=images)
    return drawn


def replicate_scores(scorer: Scorer, found: dict[int, Prediction], data: Any) -> dict[str, list[float]]:
    """Metric -> its value under each of the resamples of `data`, rounded, from what the scorer kept of each image.

    A metric that one of the resamples does not have is left out, such as the AP of a handful of images where
    none of the drawn ones shows an object.
    """
    scores = scorer.resample(found, data, weights(data.hash, len(data)))
    return {
        name: np.asarray(values, np.float64).round(DECIMALS).tolist()
        for name, values in scores.items()
        if np.isfinite(values).all()
    }
