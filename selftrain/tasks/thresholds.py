"""From which score on a teacher's labels count, class by class: arithmetic that every task shares.

Shapes: N labels of the whole pool, K classes.  A label is a box, a pixel or a picture.
"""

import numpy as np

VANISHING = 0.1
"""A class with a smaller share of the labels that it should have counts as vanished"""


def wanted_like_human(counts: np.ndarray, images: int, pool_images: int) -> np.ndarray:
    """(K,) int64, how many labels of each class a pool has at the rate of the human labels.

    `counts` (K,) are the human labels of each class in `images` images.  A class that people labelled is
    wanted once at least, one that they never labelled not at all.
    """
    expected = np.rint(counts * (pool_images / max(1, images))).astype(np.int64)
    return np.where(counts > 0, np.maximum(expected, 1), 0)


def class_thresholds(
    scores: np.ndarray,
    classes: np.ndarray,
    wanted: np.ndarray,
    *,
    floor: float = 0.0,
    counts: np.ndarray | None = None,
) -> np.ndarray:
    """(K,) float64, of each class the score from which on its surest labels are kept.

    `scores`, `classes` (N,) are those of all labels, and `wanted` (K,) says how many of a class to keep;
    `counts` (N,) says how many labels each row stands for, as in a histogram (default: one).  The threshold
    is the highest score at which at least the wanted number is kept: labels of equal score are kept or left
    out together, so that their order decides nothing.  Where the class has fewer labels it is the lowest
    score of these.  It is never below `floor`, whatever is wanted, and infinite where nothing is wanted.
    """
    counts = np.ones(len(scores), np.int64) if counts is None else counts
    thresholds = np.full(len(wanted), np.inf)
    for label, number in enumerate(wanted):
        own = np.flatnonzero((classes == label) & (counts > 0))
        if number > 0:
            own = own[np.argsort(-scores[own], kind="stable")]
            place = np.searchsorted(np.cumsum(counts[own]), number)  # the first at which enough are kept
            lowest = float(scores[own[min(place, len(own) - 1)]]) if len(own) else floor
            thresholds[label] = max(lowest, floor)
    return thresholds


def global_threshold(scores: np.ndarray, wanted: float) -> float:
    """The one score, for all classes, at which `wanted` labels of the `scores` (N,) are left.

    With fewer labels than that it is the lowest score, with none 0.5.
    """
    if not len(scores):
        return 0.5
    count = min(max(1, round(wanted)), len(scores))
    return float(np.sort(scores)[::-1][count - 1])


def vanished(expected: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(K,) bool, the classes of which hardly a label is left: under VANISHING of what is expected.

    `expected` (K,) are the labels that a pool has at the rate of the human ones, `kept` (K,) those there are.
    Of a class with less than one expected label nothing can be said.
    """
    return (expected >= 1) & (kept < VANISHING * expected)
