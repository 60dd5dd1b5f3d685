"""mIoU as PASCAL VOC counts it: one confusion matrix over the whole set, at the photos' own sizes.

The mean of the photos' own mIoU is another number.  Shapes: K classes.
"""

import numpy as np


def confusion(predicted: np.ndarray, truth: np.ndarray, classes: int) -> np.ndarray:
    """(K, K) int64, the number of pixels by true class and predicted class.

    `predicted` and `truth` are class maps (H, W) uint8.  A pixel does not count where either is 255: there
    people gave no label, or a teacher left the pixel out.  Raises AssertionError for maps of different size.
    """
    assert predicted.shape == truth.shape, f"class maps of {predicted.shape} and {truth.shape}"
    width = classes + 1  # one more row and column for what is ignored
    pairs = np.minimum(truth, classes).astype(np.uint16) * np.uint16(width) + np.minimum(predicted, classes)
    return np.bincount(pairs.ravel(), minlength=width * width).reshape(width, width)[:classes, :classes]


def iou(matrix: np.ndarray) -> np.ndarray:
    """(K,) float64 intersection over union of each class, from a confusion matrix (K, K).

    It is NaN for a class that is neither in the truth nor predicted.
    """
    intersection = np.diag(matrix).astype(np.float64)
    union = matrix.sum(0) + matrix.sum(1) - intersection
    return np.divide(intersection, union, out=np.full(len(matrix), np.nan), where=union > 0)


def scores(matrix: np.ndarray, class_names: tuple[str, ...]) -> dict:
    """mIoU, pixel accuracy and the IoU of each class in percent, from a confusion matrix (K, K).

    `per_class` has None for a class that is neither in the truth nor predicted; the mIoU leaves it out.
    `chance` is the mIoU of the best answer that is one class everywhere.
    """
    iou_of_class, total = iou(matrix), matrix.sum()
    present = (matrix.sum(1) > 0).sum()
    return {
        "mIoU": 100 * float(np.nanmean(iou_of_class)) if total else 0.0,
        "pixel accuracy": 100 * float(np.trace(matrix) / max(1, total)),
        "chance": 100 * float(matrix.sum(1).max() / max(1, total) / max(1, present)),
        "per_class": {
            name: None if np.isnan(value) else 100 * float(value)
            for name, value in zip(class_names, iou_of_class, strict=True)
        },
    }


def resampled(matrices: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """mIoU and pixel accuracy in percent under each of B resamples, (B,) float64 each, as `scores` defines them.

    `matrices` (n, K, K) are the photos' own confusion matrices, `weights` (B, n) says how often a resample holds
    each photo.  A class that is neither in a resample's truth nor predicted there is left out of its mIoU.
    """
    parts = np.diagonal(matrices, axis1=1, axis2=2), matrices.sum(1), matrices.sum(2)
    # whole numbers of pixels, which floats hold exactly up to 2**53
    drawn = weights.astype(np.float64)
    right, predicted, true = (drawn @ part.astype(np.float64) for part in parts)  # B K
    union, total = predicted + true - right, true.sum(1)
    of_class = np.divide(right, union, out=np.zeros_like(right), where=union > 0)
    return {
        "mIoU": 100 * of_class.sum(1) / np.maximum(1, (union > 0).sum(1)),
        "pixel accuracy": 100 * right.sum(1) / np.maximum(1, total),
    }
