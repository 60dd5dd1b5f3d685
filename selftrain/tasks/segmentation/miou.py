"""mIoU as PASCAL VOC counts it: one confusion matrix over the whole set, at the photos' own sizes.

A mean over photos is another number.
"""

import numpy as np


def confusion(found: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """(K, K) int64 pixels by (true class, found class) of two class maps (H, W) uint8; pixels whose truth is
    255 do not count.

    `found` may hold 255 too, where a teacher left a pixel out: such pixels do not count either.
    """
    assert found.shape == truth.shape, f"class maps of {found.shape} and {truth.shape}"
    width = classes + 1  # one more row and column for what is ignored
    pairs = np.minimum(truth, classes).astype(np.uint16) * np.uint16(width) + np.minimum(found, classes)
    return np.bincount(pairs.ravel(), minlength=width * width).reshape(width, width)[:classes, :classes]


def iou(matrix: np.ndarray) -> np.ndarray:
    """(K,) float64 intersection over union of each class, NaN for one that is neither there nor found."""
    inside = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - inside
    return np.divide(inside, union, out=np.full(len(matrix), np.nan), where=union > 0)


def scores(matrix: np.ndarray, class_names: tuple[str, ...]) -> dict:
    """mIoU and pixel accuracy in percent, IoU of each class, and `chance`: the mIoU of the best answer that
    is one class everywhere.
    """
    each, total = iou(matrix), matrix.sum()
    there = (matrix.sum(1) > 0).sum()
    return {
        "mIoU": 100 * float(np.nanmean(each)) if total else 0.0,
        "pixel accuracy": 100 * float(np.trace(matrix) / max(1, total)),
        "chance": 100 * float(matrix.sum(1).max() / max(1, total) / max(1, there)),
        "per_class": {
            name: None if np.isnan(value) else 100 * float(value)
            for name, value in zip(class_names, each, strict=True)
        },
    }
