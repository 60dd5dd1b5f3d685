"""Boxes in training, in prediction and in scoring: RetinaNet's losses, detections in photos, COCO's AP."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from augment import Sample
from selftrain.data.coco import CocoDataset
from selftrain.models.retinanet import detections, retinanet_losses
from selftrain.parts import Prediction
from selftrain.tasks.base import Augmented, prepare, stack_images
from selftrain.tasks.detection.coco_ap import coco_ap
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.tasks.detection.resampled_ap import resampled_ap
from selftrain.tasks.protocol import Batch, Loss, Metric

MOST_OBJECTS = 100
"""Objects of an image that training uses at most, as in the official code"""
HEAD = "detection"
"""The name of the network's head"""


class BoxObjective(Augmented):
    """Focal loss on classes and Huber loss on box offsets, divided by the number of positive anchors.

    The method is that of Lin et al. 2017, the constants are those of the official code.
    """

    head = HEAD
    recipe: DetectionRecipe

    def collate(self, views: list[tuple[Sample, ...]]) -> Batch:
        """A batch of B samples with one view each, padded to the M objects of the fullest image.

        `images` is a list of one (B, 3, S, S) uint8; `boxes` (B, M, 4) float32 are corners x1 y1 x2 y2 in
        pixels, `classes` (B, M) int64.  `valid` and `ignore` (B, M) bool mark objects, and boxes that are
        neither object nor background.
        """
        samples = [view for (view,) in views]
        most = max((min(len(s.boxes), MOST_OBJECTS) for s in samples), default=0)
        boxes = np.zeros((len(samples), most, 4), np.float32)
        classes = np.zeros((len(samples), most), np.int64)
        valid, ignore = np.zeros((2, len(samples), most), bool)
        for i, s in enumerate(samples):
            n = min(len(s.boxes), MOST_OBJECTS)
            boxes[i, :n], classes[i, :n] = s.boxes[:n], s.classes[:n]
            valid[i, :n], ignore[i, :n] = ~s.ignore[:n], s.ignore[:n]
        arrays = {"boxes": boxes, "classes": classes, "valid": valid, "ignore": ignore}
        return {"images": [stack_images(samples)]} | {
            name: torch.from_numpy(array) for name, array in arrays.items()
        }

    def loss(self, maps: list[list[Tensor]], head: nn.Module, batch: Batch) -> Loss:
        """The loss of each image, (B,), and the number of its positive anchors, (B,)."""
        r = self.recipe
        logits, deltas, anchors = head(maps[0], tuple(batch["images"][0].shape[2:]))
        losses = retinanet_losses(
            logits,
            deltas,
            anchors,
            batch["boxes"],
            batch["classes"],
            batch["valid"],
            batch["ignore"],
            alpha=r.focal_alpha,
            gamma=r.focal_gamma,
            delta=r.huber_delta,
        )
        return Loss(losses.classes + r.box_weight * losses.boxes, losses.positives)


class BoxFinder:
    """Detects objects in photos, for scorer and labeller alike."""

    head = HEAD

    def __init__(self, recipe: DetectionRecipe, fill: tuple[int, ...]):
        """`fill`: RGB of the padding."""
        self.recipe, self.fill = recipe, fill

    def prepare(self, samples: list[Sample]) -> Batch:
        """A batch of photos that are resized to fit, without augmentation; see `tasks.base.prepare`."""
        return prepare(samples, self.recipe.image_size, self.fill)

    def find(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """The detections of each photo, in the photo's own pixels.

        `rows` (N, 6) float32 are x1 y1 x2 y2, score, class; `size` (2,) int32 is the photo's width and
        height.
        """
        size = tuple(batch["images"].shape[2:])
        logits, deltas, anchors = model(batch["images"])
        by_image = detections(
            logits, deltas, anchors, size, score=self.recipe.score_threshold, nms=self.recipe.nms
        )
        counts = [len(rows) for rows in by_image]
        rows = torch.cat(by_image).cpu().numpy()
        photos = np.array([(width, height) for height, width in batch["sizes"]])
        scales = np.repeat(np.array(batch["scales"], np.float32), counts)
        limits = np.repeat(np.tile(photos, 2), counts, axis=0)
        rows[:, :4] = (rows[:, :4] / scales[:, None]).clip(0, limits)
        # a box that lies wholly in the padding has no area in the photo
        real = (rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])
        ends = np.cumsum(counts)[:-1]
        return [
            {"rows": part[keep], "size": photo.astype(np.int32)}
            for part, keep, photo in zip(np.split(rows, ends), np.split(real, ends), photos)
        ]


class BoxScorer(BoxFinder):
    """Scores a detector by COCO's average precision (AP)."""

    metrics = (Metric("AP"), Metric("AP50"), Metric("AP75"))

    def assess(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """The detections of each photo; see `BoxFinder.find`."""
        return self.find(model, batch)

    def score(self, found: dict[int, Prediction], data: CocoDataset) -> dict[str, Any]:
        """COCO's twelve numbers in percent, and the AP of each class."""
        return coco_ap(_rows(found), data, self.recipe.evaluator)

    def resample(
        self, found: dict[int, Prediction], data: CocoDataset, weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        """AP, AP50 and AP75 in percent under each resample; see `resampled_ap`."""
        return resampled_ap(_rows(found), data, weights, self.recipe.evaluator)


def _rows(found: dict[int, Prediction]) -> dict[int, np.ndarray]:
    return {index: prediction["rows"] for index, prediction in found.items()}
