"""Pictures that are nearly the same: copies resized, compressed again, a little cropped, brighter, mirrored.

Each picture gets 256 bits, the signs of its 16 x 16 lowest frequencies (a perceptual hash of the DCT kind).
Copies differ in few bits, unrelated pictures in about half of them.
"""

from collections.abc import Iterator

import cv2
import numpy as np

BITS = 256
"""bits of a hash"""
NEAR = 56
"""most bits in which the hashes of nearly the same picture differ. Measured on 470 real photos: copies at
half the size, of JPEG quality 20, cropped by 2 % on each side or a third brighter differ in at most 48 bits,
and unrelated photos (1.6 million pairs with a pool of 3,500, and their mirror images) in at least 85."""
_SIDE, _LOW = 32, 16
_FLAT = 2.0  # of 4,462 real photos the plainest has 2.2
# Pairs are compared in blocks of this many, so that any number of photos fits into the memory.
_BLOCK = 1 << 20


def perceptual_hash(image: np.ndarray) -> bytes | None:
    """Return the perceptual hash of a picture (H, W, 3) uint8 RGB, or None if it shows next to nothing.

    The signs of most frequencies of an almost plain picture are those of rounding, and so they say nothing.
    Mirroring a picture changes the sign of its odd horizontal frequencies and of no other. These have the
    second half of the bits, so that one hash finds mirrored copies too.
    """
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    low = cv2.dct(grey)[:_LOW, :_LOW]
    low[0, 0] = 0  # the brightness
    if np.median(np.abs(low)) < _FLAT:
        return None
    return np.packbits(np.concatenate([low[:, 0::2], low[:, 1::2]]) > 0).tobytes()


def near_pairs(hashes: list[bytes], others: list[bytes]) -> Iterator[tuple[int, int, bool]]:
    """Yield (i, j, mirrored) for every hash i that is near hash j of the others, in the order of j.

    Of a pair that is near both as it is and mirrored, the nearer is told.
    """
    ours, theirs = (
        np.frombuffer(b"".join(each), np.uint64).reshape(-1, BITS // 64) for each in (hashes, others)
    )
    rows = max(1, _BLOCK // max(1, len(ours)))
    for start in range(0, len(theirs), rows):
        block = theirs[start : start + rows]
        even, odd = (_differing(block, ours, half) for half in (slice(0, 2), slice(2, 4)))
        turned = BITS // 2 - odd
        for j, i in np.argwhere(even + np.minimum(odd, turned) <= NEAR).tolist():
            yield i, start + j, bool(turned[j, i] < odd[j, i])


def _differing(rows: np.ndarray, columns: np.ndarray, words: slice) -> np.ndarray:
    """Return (R, C) uint8: in how many bits of these words the rows (R, 4) differ from the columns (C, 4)."""
    pairs = zip(rows[:, words].T, columns[:, words].T, strict=True)
    return sum(np.bitwise_count(row[:, None] ^ column) for row, column in pairs)
