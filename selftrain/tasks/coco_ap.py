"""COCO's average precision.  pycocotools is the reference; faster-coco-eval computes the same numbers several times faster."""

import contextlib
import io
from typing import Any

import numpy as np

from selftrain.data.coco import CocoDataset

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


def coco_ap(predictions: dict[int, np.ndarray], dataset: CocoDataset, evaluator: str = "fast") -> dict[str, Any]:
    """COCO's twelve numbers in percent (-1 where COCO has none, e.g. no small object), and `per_class` AP by name.

    predictions: image index -> (N, 6) rows x1 y1 x2 y2 score class.  Every image of the data set must be there exactly once
    (over several processes none twice, none lost), else AssertionError.
    """
    assert sorted(predictions) == list(range(len(dataset))), f"{len(predictions)} predictions for {len(dataset)} images"
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
    results = np.empty((len(rows), 7))                                  # image id, x, y, w, h, score, category id
    results[:, 0] = np.repeat(dataset.image_ids, counts)
    results[:, 1:3], results[:, 3:5] = rows[:, :2], rows[:, 2:4] - rows[:, :2]
    results[:, 5] = rows[:, 4]
    results[:, 6] = np.array(dataset.category_ids)[rows[:, 5].astype(int)]
    with contextlib.redirect_stdout(io.StringIO()):                     # both print tables of their own
        truth = COCO()
        truth.dataset = dataset.to_coco()
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]  # IoU x recall x class, all sizes, 100 detections
    per_class = {}
    for k, name in enumerate(dataset.class_names):
        valid = precision[:, :, k][precision[:, :, k] > -1]
        per_class[name] = float(valid.mean() * 100) if valid.size else -1.0
    stats = [float(s) * 100 if s >= 0 else -1.0 for s in evaluation.stats[:12]]
    return dict(zip(NAMES, stats)) | {"per_class": per_class}
