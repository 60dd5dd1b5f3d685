"""One picture and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass
class Sample:
    """One picture with its N boxes, for segmentation its class map, for classification its target.

    A box covers the continuous area x1 <= x < x2, y1 <= y < y2; pixel (i, j) covers [i, i + 1) x [j, j + 1).
    Raises ValueError if shapes or the image's type do not fit together.
    """

    image: np.ndarray
    """(H, W, 3) uint8, RGB"""
    boxes: np.ndarray
    """(N, 4) float32: x1, y1, x2, y2 in pixels"""
    classes: np.ndarray
    """(N,) int64"""
    ignore: np.ndarray
    """(N,) bool: neither object nor background (crowds, uncertain pseudo-labels); moved like any box"""
    mask: np.ndarray | None = None
    """(H, W) uint8 class map, 255 = ignore; or (H, W, C), where several maps belong together (soft labels)"""
    target: np.ndarray | None = None
    """what is said of the picture as a whole, of any shape; every operation hands it on as it is"""

    def __post_init__(self):
        self.boxes = np.asarray(self.boxes, np.float32).reshape(-1, 4)
        self.classes = np.asarray(self.classes, np.int64)
        self.ignore = np.asarray(self.ignore, bool)
        image, mask = self.image, self.mask
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ValueError(f"image must be (H, W, 3) uint8 and not empty, got {image.shape} {image.dtype}")
        if not len(self.boxes) == len(self.classes) == len(self.ignore):
            raise ValueError(
                f"{len(self.boxes)} boxes, {len(self.classes)} classes, {len(self.ignore)} ignore flags"
            )
        if mask is not None and (mask.shape[:2] != image.shape[:2] or mask.dtype != np.uint8):
            raise ValueError(f"mask must be {image.shape[:2]} uint8, got {mask.shape} {mask.dtype}")

    @classmethod
    def unlabelled(cls, image: np.ndarray) -> Sample:
        """Make a sample without boxes or mask of a picture (H, W, 3) uint8, as the unlabelled pool has."""
        return cls(image, np.zeros((0, 4)), np.zeros(0), np.zeros(0))

    def clipped(self, width: float | None = None, height: float | None = None) -> Sample:
        """Return the same picture with its boxes cut at (width, height) pixels, by default the image's size.

        Boxes left without area are dropped, with their classes and flags: COCO train2017 itself holds two of
        zero height (annotations 918 and 2206849).
        """
        if not len(self.boxes):
            return self
        width, height = width or self.image.shape[1], height or self.image.shape[0]
        boxes = np.clip(self.boxes, 0, np.array([width, height, width, height], np.float32))
        keep = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # also false for NaN
        return replace(self, boxes=boxes[keep], classes=self.classes[keep], ignore=self.ignore[keep])
