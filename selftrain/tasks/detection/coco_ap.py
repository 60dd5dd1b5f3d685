"""COCO's average precision.

pycocotools is the reference; faster-coco-eval computes the same numbers several times faster.
"""

import contextlib
import gc
import io
from typing import Any

import numpy as np

from selftrain.data.coco import CocoDataset

# the order in which both evaluators give them
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def coco_ap(
    predictions: dict[int, np.ndarray], dataset: CocoDataset, evaluator: str = "fast"
) -> dict[str, Any]:
    """COCO's twelve numbers in percent, and `per_class`, the AP of each class by name.

    A number is -1 where COCO has none, as for small objects where there are none.  `predictions` has the rows
    (N, 6) of every image index: x1 y1 x2 y2 score class.  `evaluator`: "fast" or "pycocotools".  Raises
    AssertionError unless every image of the data set is there: none may be lost between processes.
    """
    assert sorted(predictions) == list(range(len(dataset))), (
        f"{len(predictions)} predictions for {len(dataset)} images"
    )
    if evaluator == "fast":
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as COCOeval
    else:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

    counts = [len(predictions[i]) for i in range(len(dataset))]
    rows = np.concatenate([predictions[i] for i in range(len(dataset))]).astype(np.float64)
    if not len(rows):
        return {name: 0.0 for name in NAMES} | {"per_class": {name: 0.0 for name in dataset.class_names}}
    # both evaluators print tables of their own
    with contextlib.redirect_stdout(io.StringIO()), _no_collection():
        truth, results = COCO(), COCO()
        truth.dataset = dataset.to_coco()
        results.dataset = {
            "images": truth.dataset["images"],
            "categories": truth.dataset["categories"],
            "annotations": _annotations(rows, counts, dataset),
        }
        truth.createIndex()
        results.createIndex()  # what loadRes does, without an unused polygon for each box
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    # IoU x recall x class, for objects of all sizes and 100 detections
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    per_class = {}
    for k, name in enumerate(dataset.class_names):
        valid = precision[:, :, k][precision[:, :, k] > -1]
        per_class[name] = float(valid.mean() * 100) if valid.size else -1.0
    stats = [float(s) * 100 if s >= 0 else -1.0 for s in evaluation.stats[:12]]
    return dict(zip(NAMES, stats)) | {"per_class": per_class}


def _annotations(rows: np.ndarray, counts: list[int], dataset: CocoDataset) -> list[dict]:
    """A dictionary for each detection, as COCO's results have it, from rows (N, 6) in image order."""
    sides = rows[:, 2:4] - rows[:, :2]
    columns = (
        np.repeat(dataset.image_ids, counts),
        np.array(dataset.category_ids)[rows[:, 5].astype(int)],
        np.hstack([rows[:, :2], sides]),
        sides.prod(1),
        rows[:, 4],
    )
    return [
        {
            "id": n,
            "image_id": image,
            "category_id": category,
            "bbox": box,
            "area": area,
            "iscrowd": 0,
            "score": score,
        }
        for n, (image, category, box, area, score) in enumerate(
            zip(*(column.tolist() for column in columns)), 1
        )
    ]


@contextlib.contextmanager
def _no_collection():
    """Pause Python's cyclic garbage collector.

    It would walk half a million new dictionaries again and again, which is half of the evaluation's time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
