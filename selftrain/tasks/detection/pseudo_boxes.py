"""From a teacher's raw boxes to the labels of a student: thresholds, ignore band, precision and recall.

Shapes: N boxes of all images together, `rows` (N, 6) x1 y1 x2 y2 score class in pixels of their photo.
"""

import numpy as np
from pycocotools import mask as mask_utils

from selftrain.data.coco import CocoDataset
from selftrain.data.pool import Pool
from selftrain.tasks.thresholds import class_thresholds, global_threshold, wanted_like_human

FLOOR = 0.1
"""Below this score `auto` looks for no object, however few of its class were found.  Under 1 % of the boxes
that score 0.05 to 0.1 were right in sixty teachers of generated pictures, and 4 % or fewer of those up to
0.2; but a class that the anchors fit badly has right boxes there, and no more are kept than people drew.
"""


def auto_thresholds(rows: np.ndarray, human: CocoDataset, pool_images: int) -> tuple[np.ndarray, float]:
    """(K,) float64, the least score of each class's boxes at which it has as many an image as people drew;
    and the floor that it does not go below.

    A class that people never drew has an infinite threshold.  Where a teacher is so unsure that one threshold
    for all classes would lie below FLOOR, that one is the floor: or nothing would be left to learn from.
    """
    scores, drawn = rows[:, 4], human.class_counts
    wanted = wanted_like_human(drawn, len(human), pool_images)
    floor = min(FLOOR, global_threshold(scores, drawn.sum() / max(1, len(human)) * pool_images))
    return class_thresholds(scores, rows[:, 5].astype(np.int64), wanted, floor=floor), floor


def select(
    rows: np.ndarray,
    images: np.ndarray,
    sizes: np.ndarray,
    pool: Pool,
    human: CocoDataset,
    *,
    thresholds: np.ndarray,
    low: float | None,
    keep_empty: bool,
) -> CocoDataset:
    """The pseudo-labelled data set of a pool, with the classes of `human`.

    `images` (N,) are indices into the pool, `sizes` (pool, 2) each photo's width and height.  Boxes with a
    score of at least their class's of the `thresholds` (K,) are objects.  Boxes between `low` and that are
    marked `crowd`, which training leaves out of the loss; where `low` is None there are none, and none of a
    class with an infinite threshold.  Photos without an object are left out unless `keep_empty`.  An image's
    id is its index in the pool + 1.
    """
    sure = is_sure(rows, thresholds)
    unsure = rows[:, 4] >= low if low is not None else np.zeros(len(rows), bool)
    use = sure | (unsure & np.isfinite(thresholds[rows[:, 5].astype(np.int64)]))
    rows, images, sure = rows[use], images[use], sure[use]
    order = np.lexsort((-rows[:, 4], images))
    rows, images, sure = rows[order], images[order], sure[order]
    kept = np.arange(len(pool)) if keep_empty else np.unique(images[sure])
    inside = np.isin(images, kept)  # an image with uncertain boxes alone may have been dropped
    rows, images, sure = rows[inside], images[inside], sure[inside]
    boxes = rows[:, :4].astype(np.float64)
    counts = np.bincount(np.searchsorted(kept, images), minlength=len(kept))
    return CocoDataset(
        folder=pool.folder,
        names=pool.names[kept],
        image_ids=kept.astype(np.int64) + 1,
        sizes=sizes[kept],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes,
        classes=rows[:, 5].astype(np.int16),
        crowd=~sure,
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(1),
        scores=rows[:, 4].astype(np.float32),
        class_names=human.class_names,
        category_ids=human.category_ids,
        hash="",
        dropped={},
    )


def is_sure(rows: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """(N,) bool, the boxes that reach the threshold of their class, of the `thresholds` (K,).

    Both are compared in the precision of the scores: 0.7 as a float32 reaches a threshold of 0.7.
    """
    return rows[:, 4] >= thresholds.astype(rows.dtype)[rows[:, 5].astype(np.int64)]


def outcomes(rows: np.ndarray, images: np.ndarray, truth: CocoDataset, iou: float = 0.5) -> np.ndarray:
    """(N,) int8, how each box fares against hidden labels: 1 is right, -1 is wrong, 0 does not count.

    `images` (N,) are indices into `truth`, `iou` the least overlap with an object.  A box does not count
    where it lies on a crowd, as in COCO.  The boxes of a class are taken from the best score down, and each
    object is matched once; so the outcome of a box does not depend on boxes of lower score, and one pass
    serves every threshold.
    """
    outcome = np.empty(len(rows), np.int8)
    order = np.lexsort((-rows[:, 4], images))
    present, starts = np.unique(images[order], return_index=True)
    for image, places in zip(present, np.split(order, starts[1:])):
        boxes, classes, crowd = truth.labels(int(image))
        free = ~crowd
        # against a crowd pycocotools divides by the detection's own area
        overlaps = np.asarray(
            mask_utils.iou(_xywh(rows[places]), _xywh(boxes), crowd.astype(np.uint8))
        ).reshape(len(places), len(boxes))
        for place, overlap, label in zip(places, overlaps, rows[places, 5].astype(int)):
            hits = (overlap >= iou) & (classes == label)
            if (hits & free).any():
                free[np.where(hits & free, overlap, 0.0).argmax()] = False
                outcome[place] = 1
            else:
                outcome[place] = 0 if (hits & crowd).any() else -1
    return outcome


def precision_recall(outcome: np.ndarray, truth: CocoDataset) -> dict[str, float]:
    """The share of boxes that are right, and the share of the objects of `truth` that were found.

    `outcome` (N,) is what `outcomes` gave for these boxes.
    """
    right, wrong = int((outcome > 0).sum()), int((outcome < 0).sum())
    return {"precision": right / max(1, right + wrong), "recall": right / max(1, int((~truth.crowd).sum()))}


def precision_recall_by_class(
    outcome: np.ndarray, classes: np.ndarray, truth: CocoDataset
) -> dict[str, np.ndarray]:
    """The same for each class, (K,) each; `classes` (N,) are those of the boxes.

    Precision is not a number where no box counts, recall where `truth` has no object.
    """
    right, wrong = (
        np.bincount(classes[which], minlength=len(truth.class_names)) for which in (outcome > 0, outcome < 0)
    )
    with np.errstate(invalid="ignore"):
        return {"precision": right / (right + wrong), "recall": right / truth.class_counts}


def examples(dataset: CocoDataset, pool: Pool, count: int = 8) -> list[dict]:
    """The labels of the first `count` photos of the pool, for a gallery: `photo` and `boxes` of each.

    A box is x1 y1 x2 y2 class score; uncertain ones are left out.  Photos without a box count too.
    """
    shown = []
    places = {int(image_id) - 1: place for place, image_id in enumerate(dataset.image_ids)}
    for index in range(min(count, len(pool))):
        boxes = []
        if index in places:
            part = slice(*dataset.offsets[places[index] : places[index] + 2])
            boxes = [
                [*(round(float(x), 1) for x in box), int(label), round(float(score), 3)]
                for box, label, score, unsure in zip(
                    dataset.boxes[part], dataset.classes[part], dataset.scores[part], dataset.crowd[part]
                )
                if not unsure
            ]
        shown.append({"photo": pool.names[index].decode(), "boxes": boxes})
    return shown


def _xywh(boxes: np.ndarray) -> np.ndarray:
    """Corners (N, 4 or more) to (N, 4) x, y, width, height."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]], 1).astype(np.float64)
