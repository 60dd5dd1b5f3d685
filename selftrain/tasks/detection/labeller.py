"""Pseudo-boxes: a teacher's raw detections, and those above a threshold as COCO json with scores."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from selftrain.data.coco import CocoDataset, read_coco, write_coco
from selftrain.data.pool import Pool
from selftrain.parts import Parts, Prediction
from selftrain.system.errors import UserError
from selftrain.tasks.detection.boxes import BoxFinder
from selftrain.tasks.detection.pseudo_boxes import (
    auto_threshold,
    examples,
    outcomes,
    precision_recall,
    select,
)
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.tasks.protocol import Batch

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Scores at which a teacher's boxes are measured"""


class BoxLabeller(BoxFinder):
    """Labels a pool with boxes."""

    raw_fields = ("image_size", "eval_batch", "nms", "score_threshold")
    label_fields = ("pseudo_threshold", "pseudo_ignore", "pseudo_empty")
    suffix = ".json"

    def __init__(self, recipe: DetectionRecipe, fill: tuple[int, ...], class_names: tuple[str, ...]):
        """`fill`: RGB of the padding; `class_names`: of the teacher and the student."""
        super().__init__(recipe, fill)
        self.class_names = class_names

    def announce(self, pool: Pool) -> str | None:
        """There is nothing to say: boxes take little disk."""
        return None

    def predict(self, model: nn.Module, batch: Batch, truth: CocoDataset | None = None) -> list[Prediction]:
        """The detections of each photo; see `BoxFinder.find`.

        `truth` is not needed here: boxes are stored whole and compared with it later.
        """
        return self.find(model, batch)

    def keep(self, folder: Path, pool: Pool, predictions: dict[int, Prediction]) -> dict[int, Prediction]:
        """The predictions as they are: nothing is written beside the store."""
        return predictions

    def select(
        self, path: Path, parts: Parts, pool: Pool, human: CocoDataset, info: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the boxes above the threshold as COCO json with scores, and return the report.

        Raises UserError when the teacher found nothing.
        """
        r = self.recipe
        rows, images = parts.flat("rows")
        human_mean = float((~human.crowd).sum() / max(1, len(human)))
        threshold = self._threshold(rows, human_mean * len(pool))
        sure = rows[:, 4] >= threshold
        if not sure.any():
            best = float(rows[:, 4].max()) if len(rows) else 0.0
            raise UserError(
                f"the teacher found nothing in the pool at --pseudo-threshold {threshold:g} (best score "
                f"{best:.3f} in {len(pool)} images). A student of such labels would learn that nothing is "
                "there. Train the teacher longer (--steps), give it more labels, or take "
                "--pseudo-threshold auto"
            )
        dataset = select(
            rows,
            images,
            parts.each("size"),
            pool,
            human,
            threshold=threshold,
            low=r.pseudo_ignore,
            keep_empty=r.pseudo_empty == "keep",
        )
        report = _report(rows, images, sure, dataset, pool, human)
        report = {"threshold": threshold, **report, "human_boxes_per_image": human_mean}
        if pool.hidden is not None:
            outcome = outcomes(rows, images, pool.hidden)
            report |= precision_recall(outcome[sure], pool.hidden)
            report["by_threshold"] = [
                {"threshold": t, **precision_recall(outcome[rows[:, 4] >= t], pool.hidden)}
                for t in THRESHOLDS
            ]
        report["examples"] = examples(dataset, pool)
        info = info | {"threshold": threshold, "classes": list(human.class_names)}
        write_coco(path, dataset, info)
        return report

    def _threshold(self, rows: np.ndarray, boxes: float) -> float:
        """The least score of a pseudo-box; `boxes`: how many the pool would have at the human labels' rate.

        Raises UserError where the ignore band is not below it.
        """
        r = self.recipe
        threshold = auto_threshold(rows[:, 4], boxes) if r.pseudo_threshold == "auto" else r.pseudo_threshold
        if r.pseudo_ignore is not None and r.pseudo_ignore >= threshold:
            raise UserError(
                f"--pseudo-ignore {r.pseudo_ignore} is not below the threshold that auto chose, "
                f"{threshold:.3f}; lower it"
            )
        return threshold

    def describe(self, report: dict[str, Any]) -> str:
        """The report in a few lines: what was kept, of which classes, and its quality where that is known."""
        ignored = report["ignored_boxes"]
        lines = [
            f"pseudo-labels at score >= {report['threshold']:.3g}: "
            f"{report['kept_images']} of {report['pool_images']} images kept, "
            f"{report['boxes']} boxes, {report['boxes_per_image']:.2f} an image "
            f"(human labels: {report['human_boxes_per_image']:.2f})"
            + (f", {ignored} uncertain ones ignored" if ignored else "")
        ]
        per_class = sorted(report["boxes_per_class"].items(), key=lambda item: -item[1])
        shown = [f"{name} {count} in {report['images_per_class'][name]}" for name, count in per_class[:12]]
        more = ", ..." if len(per_class) > 12 else ""
        lines.append(f"boxes in images of each class: {', '.join(shown)}{more}")
        if "precision" in report:
            lines.append(
                f"against the pool's hidden labels (IoU 0.5): precision {report['precision']:.2f}, "
                f"recall {report['recall']:.2f}"
            )
        return "\n".join(lines)

    def read(self, path: Path, pool: Pool) -> CocoDataset:
        """The pseudo-labelled data set of a label file.  Raises UserError if it is of other classes."""
        return read_coco(path, pool.folder, classes=self.class_names)


def _report(
    rows: np.ndarray,
    images: np.ndarray,
    sure: np.ndarray,
    dataset: CocoDataset,
    pool: Pool,
    human: CocoDataset,
) -> dict[str, Any]:
    """Counts of what was kept, in all and by class.

    `rows` (N, 6) and `images` (N,) are all raw detections, `sure` (N,) bool those above the threshold, and
    `dataset` what a student trains on.
    """
    classes = list(enumerate(human.class_names))
    return {
        "pool_images": len(pool),
        "kept_images": len(dataset),
        "boxes": int(sure.sum()),
        "ignored_boxes": int(dataset.crowd.sum()),
        "boxes_per_image": float(sure.sum() / len(pool)),
        "boxes_per_class": {name: int((rows[sure, 5] == k).sum()) for k, name in classes},
        "images_per_class": {name: len(np.unique(images[sure & (rows[:, 5] == k)])) for k, name in classes},
    }
