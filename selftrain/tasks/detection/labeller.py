"""Pseudo-boxes: a teacher's raw detections, and those above their thresholds as COCO json with scores."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from selftrain.class_report import by_class, describe_classes, named
from selftrain.data.coco import CocoDataset, read_coco, write_coco
from selftrain.data.pool import Pool
from selftrain.parts import Parts, Prediction
from selftrain.system.errors import UserError
from selftrain.tasks.detection.boxes import BoxFinder
from selftrain.tasks.detection.pseudo_boxes import (
    auto_thresholds,
    examples,
    is_sure,
    outcomes,
    precision_recall,
    precision_recall_by_class,
    select,
)
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.tasks.protocol import Batch
from selftrain.tasks.thresholds import global_threshold, vanished, wanted_like_human

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Scores at which a teacher's boxes are measured"""
HARM = (
    "Its objects become background for the student: label more of it, train the teacher longer, or leave "
    "what it is unsure of out of the loss (--pseudo-ignore)"
)
"""What comes of a class whose objects a teacher does not find"""


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
        """Write the boxes above their thresholds as COCO json with scores, and return the report.

        Raises UserError when the teacher found nothing.
        """
        r = self.recipe
        rows, images = parts.flat("rows")
        thresholds, floor = self._thresholds(rows, human, len(pool))
        sure = is_sure(rows, thresholds)
        if not sure.any():
            raise UserError(self._found_nothing(rows, len(pool)))
        dataset = select(
            rows,
            images,
            parts.each("size"),
            pool,
            human,
            thresholds=thresholds,
            low=r.pseudo_ignore,
            keep_empty=r.pseudo_empty == "keep",
        )
        report = {"threshold": float(thresholds[0]), **_report(rows, images, sure, dataset, pool, human)}
        quality = {}
        if pool.hidden is not None:
            outcome, classes = outcomes(rows, images, pool.hidden), rows[sure, 5].astype(np.int64)
            report |= precision_recall(outcome[sure], pool.hidden)
            quality = precision_recall_by_class(outcome[sure], classes, pool.hidden)
            report["by_threshold"] = [
                {"threshold": t, **precision_recall(outcome[rows[:, 4] >= t], pool.hidden)}
                for t in THRESHOLDS
            ]
        report |= _classes(rows, sure, thresholds, floor, len(pool), human, quality)
        if floor is not None:
            report["threshold"] = {row["class"]: row["threshold"] for row in report["by_class"]}
        report["examples"] = examples(dataset, pool)
        info = info | {"threshold": report["threshold"], "classes": list(human.class_names)}
        write_coco(path, dataset, info)
        return report

    def _thresholds(
        self, rows: np.ndarray, human: CocoDataset, pool_images: int
    ) -> tuple[np.ndarray, float | None]:
        """(K,) the least score of a pseudo-box of each class, and the floor where there is one.

        Raises UserError where the ignore band is below none of them.
        """
        wanted, floor, classes = self.recipe.pseudo_threshold, None, len(human.class_names)
        if wanted == "auto":
            thresholds, floor = auto_thresholds(rows, human, pool_images)
        elif wanted == "auto-global":
            mean = float((~human.crowd).sum() / max(1, len(human)))
            thresholds = np.full(classes, global_threshold(rows[:, 4], mean * pool_images))
        else:
            thresholds = np.full(classes, wanted)
        highest, low = max(thresholds, key=lambda t: t if np.isfinite(t) else 0.0), self.recipe.pseudo_ignore
        if low is not None and low >= highest:
            raise UserError(
                f"--pseudo-ignore {low} is not below the threshold that {wanted} chose, {highest:.3f}; "
                "lower it"
            )
        return thresholds, floor

    def _found_nothing(self, rows: np.ndarray, pool_images: int) -> str:
        wanted, best = self.recipe.pseudo_threshold, float(rows[:, 4].max()) if len(rows) else 0.0
        other = "" if isinstance(wanted, str) else ", or take --pseudo-threshold auto"
        return (
            f"the teacher found nothing in the pool at --pseudo-threshold {wanted} (best score {best:.3f} in "
            f"{pool_images} images). A student of such labels would learn that nothing is there. Train the "
            f"teacher longer (--steps), give it more labels{other}"
        )

    def describe(self, report: dict[str, Any]) -> str:
        """The report in a few lines: what was kept, of which classes, and its quality where that is known."""
        ignored, threshold = report["ignored_boxes"], report["threshold"]
        at = "the score of each class" if isinstance(threshold, dict) else f"score >= {threshold:.3g}"
        lines = [
            f"pseudo-labels at {at}: "
            f"{report['kept_images']} of {report['pool_images']} images kept, "
            f"{report['boxes']} boxes, {report['boxes_per_image']:.2f} an image "
            f"(human labels: {report['human_boxes_per_image']:.2f})"
            + (f", {ignored} uncertain ones ignored" if ignored else "")
        ]
        if "precision" in report:
            lines.append(
                f"against the pool's hidden labels (IoU 0.5): precision {report['precision']:.2f}, "
                f"recall {report['recall']:.2f}"
            )
        lines += describe_classes(report, HARM)
        if short := report.get("short_of_human"):
            lines.append(
                f"note: at score >= {report['floor']:.3g}, the least that auto takes, the teacher finds "
                f"fewer boxes an image than people drew of {named(short)}"
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
        "human_boxes_per_image": float((~human.crowd).sum() / max(1, len(human))),
        "boxes_per_class": {name: int((rows[sure, 5] == k).sum()) for k, name in classes},
        "images_per_class": {name: len(np.unique(images[sure & (rows[:, 5] == k)])) for k, name in classes},
    }


def _classes(
    rows: np.ndarray,
    sure: np.ndarray,
    thresholds: np.ndarray,
    floor: float | None,
    pool_images: int,
    human: CocoDataset,
    quality: dict[str, np.ndarray],
) -> dict[str, Any]:
    """The part of the report that shows each class in the human labels and in the teacher's, side by side.

    `quality`: precision and recall (K,) where they are known.
    """
    drawn = human.class_counts / max(1, len(human))
    kept = np.bincount(rows[sure, 5].astype(np.int64), minlength=len(drawn))
    shown = {"human": drawn, "pseudo": kept / pool_images, "threshold": thresholds}
    found = {
        "counted_in": "boxes an image",
        "by_class": by_class(human.class_names, **shown, **quality),
        "vanished": [human.class_names[k] for k in np.flatnonzero(vanished(drawn * pool_images, kept))],
    }
    if floor is not None:
        short = kept < wanted_like_human(human.class_counts, len(human), pool_images)
        found |= {"floor": floor, "short_of_human": [human.class_names[k] for k in np.flatnonzero(short)]}
    return found
