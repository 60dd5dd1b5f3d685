"""COCO's average precision.

pycocotools is the reference; hotcoco computes the same numbers, to the last bit, tens of times faster and in
a fraction of the memory.  Its version is pinned, because other versions are not tested against the reference.
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
    (N, 6) of every image index: x1 y1 x2 y2 score class.  `evaluator`: "fast" (hotcoco) or "pycocotools".
    Raises AssertionError unless every image of the data set is there: none may be lost between processes.
    """
    rows, counts = in_image_order(predictions, dataset)
    if not len(rows):
        return {name: 0.0 for name in NAMES} | {"per_class": {name: 0.0 for name in dataset.class_names}}
    evaluate = evaluate_fast if evaluator == "fast" else evaluate_by_reference
    numbers, precision = evaluate(rows, counts, dataset)
    precision = precision[:, :, :, 0, -1]  # of objects of all sizes, with 100 detections
    per_class = {}
    for k, name in enumerate(dataset.class_names):
        valid = precision[:, :, k][precision[:, :, k] > -1]
        per_class[name] = float(valid.mean() * 100) if valid.size else -1.0
    stats = [float(s) * 100 if s >= 0 else -1.0 for s in numbers]
    return dict(zip(NAMES, stats, strict=True)) | {"per_class": per_class}


def in_image_order(
    predictions: dict[int, np.ndarray], dataset: CocoDataset
) -> tuple[np.ndarray, list[int]]:
    """The rows of all images in one array (N, 6) float64, and how many each image has.

    Raises AssertionError unless every image of the data set is there.
    """
    assert sorted(predictions) == list(range(len(dataset))), (
        f"{len(predictions)} predictions for {len(dataset)} images"
    )
    counts = [len(predictions[i]) for i in range(len(dataset))]
    return np.concatenate([predictions[i] for i in range(len(dataset))]).astype(np.float64), counts


def match_images(
    rows: np.ndarray, counts: list[int], dataset: CocoDataset, evaluator: str = "fast"
) -> list[dict[str, Any] | None]:
    """The evaluator's matches of each image and class, for objects of all sizes and 100 detections of a class.

    They are its own dictionaries (`evalImgs`): `dtScores` (d,), `dtMatches` and `dtIgnore` (T, d) by IoU threshold,
    `gtIgnore` (g,); None where an image has neither object nor detection of a class.  Rows and counts are as
    `in_image_order` gives them.
    """
    evaluation = (_fast if evaluator == "fast" else _reference)(rows, counts, dataset)
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
    evaluation.params.maxDets = [100]
    with contextlib.redirect_stdout(io.StringIO()), _no_collection():
        evaluation.evaluate()
        return evaluation.evalImgs


def evaluate_fast(rows: np.ndarray, counts: list[int], dataset: CocoDataset) -> tuple[np.ndarray, np.ndarray]:
    """hotcoco's twelve numbers (12,), and its precision (IoU, recall, class, size, detections), float64.

    `rows` (N, 6) float64 are the detections of all images in order, `counts` how many each image has.
    """
    evaluation = _fast(rows, counts, dataset)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summary_lines()  # `summarize` without printing
    return np.asarray(evaluation.stats), np.asarray(evaluation.eval["precision"])


def _fast(rows: np.ndarray, counts: list[int], dataset: CocoDataset) -> Any:
    """hotcoco's evaluation, before it is run."""
    from hotcoco import COCO, COCOeval

    with _no_collection():
        truth = COCO(dataset.to_coco())
    columns = (
        np.repeat(dataset.image_ids, counts),
        rows[:, :2],
        rows[:, 2:4] - rows[:, :2],
        rows[:, 4],
        _category_ids(rows, dataset),
    )
    return COCOeval(truth, truth.load_res(np.column_stack(columns)), "bbox")


def evaluate_by_reference(
    rows: np.ndarray, counts: list[int], dataset: CocoDataset
) -> tuple[np.ndarray, np.ndarray]:
    """As `evaluate_fast`, by pycocotools."""
    evaluation = _reference(rows, counts, dataset)
    with contextlib.redirect_stdout(io.StringIO()), _no_collection():  # it prints tables of its own
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats[:12]), np.asarray(evaluation.eval["precision"])


def _reference(rows: np.ndarray, counts: list[int], dataset: CocoDataset) -> Any:
    """pycocotools' evaluation, before it is run."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

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
        return COCOeval(truth, results, "bbox")


def _category_ids(rows: np.ndarray, dataset: CocoDataset) -> np.ndarray:
    return np.array(dataset.category_ids)[rows[:, 5].astype(int)]


def _annotations(rows: np.ndarray, counts: list[int], dataset: CocoDataset) -> list[dict]:
    """A dictionary for each detection, as COCO's results have it, from rows (N, 6) in image order."""
    sides = rows[:, 2:4] - rows[:, :2]
    columns = (
        np.repeat(dataset.image_ids, counts),
        _category_ids(rows, dataset),
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

    It would walk all the new dictionaries again and again: a third of hotcoco's time, half of pycocotools'.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
