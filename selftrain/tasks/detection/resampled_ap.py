"""COCO's AP under many resamples of the images at once.

Which detection is right does not depend on how often its image was drawn: an image is matched by itself.  So the
evaluator matches every image once, the detections of a class are sorted once, and a resample only adds up
weights.  Copies of a detection stand beside each other in the order of scores; within them precision rises with
each copy that is right, so that the last copy gives what COCO reads off.

Shapes: B resamples, n images, K classes, T IoU thresholds; of one class D detections, P of them right.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from selftrain.data.coco import CocoDataset
from selftrain.tasks.detection.coco_ap import in_image_order, match_images

RECALLS = np.linspace(0, 1, 101)
"""COCO's levels of recall, the very floats of its evaluator"""
EPSILON = np.spacing(1)
"""What the evaluator adds before it divides"""
AT_ONCE = 2**22
"""Weights of detections that are looked at together: 16 MB, so that they stay in the processor's cache"""


class ClassMatches(NamedTuple):
    """The detections of one class, best score first; equal scores in the evaluator's order, that of the images."""

    images: np.ndarray
    """(D,) int64, position in the data set of each detection's image"""
    right: np.ndarray
    """(T, D) bool: matched to an object"""
    ignored: np.ndarray
    """(T, D) bool: matched to a crowd, so that it does not count"""
    objects: np.ndarray
    """(n,) int64, how many objects each image has, crowds not counted"""


def resampled_ap(
    predictions: dict[int, np.ndarray], dataset: CocoDataset, weights: np.ndarray, evaluator: str = "fast"
) -> dict[str, np.ndarray]:
    """AP, AP50 and AP75 in percent under each resample, (B,) float64 each.

    `predictions` and `evaluator` are as in `coco_ap`, `weights` (B, n) says how often a resample holds each image.
    A class without an object in a resample is left out of that resample's mean, as COCO leaves it out; where no
    class has one, the value is NaN.  A data set without any detection scores 0, as in `coco_ap`.
    """
    rows, counts = in_image_order(predictions, dataset)
    if not len(rows):
        return {name: np.zeros(len(weights)) for name in ("AP", "AP50", "AP75")}
    by_image = np.ascontiguousarray(weights.T, np.int32)
    total, classes = 0.0, np.zeros((1, len(weights)))
    for found in matches_by_class(match_images(rows, counts, dataset, evaluator), dataset):
        drawn = found.objects @ by_image  # B
        total = total + _class_ap(found, by_image, drawn)  # T B
        classes += drawn > 0
    with np.errstate(invalid="ignore"):
        ap = 100 * total / classes
    return {"AP": ap.mean(0), "AP50": ap[0], "AP75": ap[5]}


def matches_by_class(images: list[dict[str, Any] | None], dataset: CocoDataset) -> Iterator[ClassMatches]:
    """The matches of each class that has an object or a detection.

    `images`: the evaluator's results of each image and class.  Equal scores stand in the order of the images' ids.
    """
    place = {image_id: n for n, image_id in enumerate(dataset.image_ids.tolist())}
    classes: dict[int, list[dict[str, Any]]] = {}
    for each in images:
        if each is not None:
            classes.setdefault(each["category_id"], []).append(each)
    for results in classes.values():
        results.sort(key=lambda each: each["image_id"])
        own = np.array([place[each["image_id"]] for each in results])
        scores = [np.asarray(each["dtScores"], np.float64) for each in results]
        right, ignored = (_joined(results, name) for name in ("dtMatches", "dtIgnore"))
        order = np.argsort(-np.concatenate(scores), kind="stable")
        objects = np.zeros(len(dataset), np.int64)
        objects[own] = [np.count_nonzero(np.asarray(each["gtIgnore"]) == 0) for each in results]
        yield ClassMatches(
            np.repeat(own, [len(each) for each in scores])[order],
            (right & ~ignored)[:, order],
            ignored[:, order],
            objects,
        )


def _joined(results: list[dict[str, Any]], name: str) -> np.ndarray:
    """(T, D) bool from the (T, d) of each image."""
    parts = [np.asarray(each[name]).astype(bool) for each in results]
    return np.concatenate([part.reshape(part.shape[0], -1) for part in parts], axis=1)


def _class_ap(found: ClassMatches, by_image: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """(T, B) AP of one class at each IoU threshold; 0 where the resample has no object of the class.

    `by_image` (n, B) int32: how often each image was drawn; `drawn` (B,): how many objects that makes.
    """
    ap = np.zeros((len(found.right), len(drawn)))
    width = max(1, AT_ONCE // max(1, len(found.images)))
    for start in range(0, len(drawn), width):
        part = slice(start, start + width)
        held = by_image[found.images, part]  # D B
        before = held.cumsum(0, dtype=np.int32)
        levels, first = _levels(drawn[part])
        for t, (right, ignored) in enumerate(zip(found.right, found.ignored)):
            places = np.flatnonzero(right)
            if len(places):
                counted = before[places] - _sum_before(held, np.flatnonzero(ignored), places)
                ap[t, part] = _area(held[places].cumsum(0, dtype=np.int32), counted, levels, first)
    return ap * (drawn > 0)


def _sum_before(held: np.ndarray, rows: np.ndarray, places: np.ndarray) -> np.ndarray | int:
    """(P, B): at each of the ascending places, the weights `held` (D, B) of those `rows` that come before it."""
    if not len(rows):
        return 0
    sums = np.concatenate([np.zeros((1, held.shape[1]), np.int32), held[rows].cumsum(0, dtype=np.int32)])
    return sums[np.searchsorted(rows, places)]


def _levels(drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of the levels of recall are reached with c of N objects, as the evaluator's floats have it.

    It stands at `first[b] + c` of the first array, for the N of resample b.
    """
    totals, which = np.unique(drawn, return_inverse=True)
    tables = [
        np.searchsorted(RECALLS, np.arange(total + 1) / max(1, total), side="right").astype(np.uint8)
        for total in totals.tolist()
    ]
    return np.concatenate(tables), np.cumsum([0, *map(len, tables)])[which]


def _area(hits: np.ndarray, counted: np.ndarray, levels: np.ndarray, first: np.ndarray) -> np.ndarray:
    """(B,) the mean over the 101 levels of recall of the best precision at that recall or beyond.

    `hits` and `counted` (P, B): at each right detection, the weight of all right ones, and of all that count, up
    to and with it.  A level belongs to the first detection that reaches it.
    """
    precision = hits / (counted + EPSILON)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = levels[hits + first].astype(np.int16)
    new = np.diff(reached, axis=0, prepend=np.int16(0))
    return (best * new).sum(0) / len(RECALLS)
