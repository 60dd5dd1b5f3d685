"""Small samples, and how the tests of `augment` run and compare them."""

import cv2
import numpy as np
from hypothesis import strategies as st

from augment import Sample, policies


def photo(height=60, width=80, seed=0):
    """Smooth random colours, (H, W, 3): alike enough to a photo for histograms and filters."""
    small = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def street(height=96, width=128, seed=0):
    """A sample with two objects, a crowd to ignore and a class map."""
    boxes = np.array([[0.1, 0.2, 0.4, 0.7], [0.5, 0.1, 0.9, 0.5], [0.3, 0.6, 0.8, 0.95]]) * [
        width,
        height,
        width,
        height,
    ]
    mask = np.random.default_rng(seed).integers(0, 4, (height, width), np.uint8)
    return Sample(photo(height, width, seed), boxes, [3, 1, 2], [False, False, True], mask)


def painted(height, width, box):
    """A black picture with a white box (x1, y1, x2, y2 in whole pixels), also in its class map."""
    x1, y1, x2, y2 = box
    image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    image[y1:y2, x1:x2], mask[y1:y2, x1:x2] = 255, 1
    return Sample(image, [box], [5], [False], mask)


def run(transform, sample, seed=0):
    """A single operation as the policies run it."""
    return policies.Policy("test", [transform])(sample, seed)


def extent(region):
    """Enclosing box of the true pixels of (H, W): x1, y1, x2, y2."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def same(a, b):
    """Byte for byte the same sample."""
    return (
        a.image.tobytes() == b.image.tobytes()
        and a.boxes.tobytes() == b.boxes.tobytes()
        and a.classes.tobytes() == b.classes.tobytes()
        and a.ignore.tobytes() == b.ignore.tobytes()
        and (a.mask is b.mask is None or a.mask.tobytes() == b.mask.tobytes())
    )


@st.composite
def scenes(draw):
    """A painted sample of any aspect with a box of at least 8 pixels anywhere in it."""
    height, width = draw(st.integers(30, 150)), draw(st.integers(30, 150))
    x1, y1 = draw(st.integers(0, width - 8)), draw(st.integers(0, height - 8))
    return painted(
        height, width, (x1, y1, draw(st.integers(x1 + 8, width)), draw(st.integers(y1 + 8, height)))
    )
