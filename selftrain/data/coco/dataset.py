"""A COCO data set as flat arrays: looked at, narrowed, and given to evaluators.

Python objects cost gigabytes for train2017 and are copied into every worker by reference counting; a dozen
arrays cost tens of megabytes and stay shared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from augment.sample import Sample
from selftrain.data.coco.faults import size_fault
from selftrain.data.dataset import Labelled, chosen_classes, hash_of_classes
from selftrain.data.image import read_image
from selftrain.system.errors import UserError


@dataclass(frozen=True, eq=False)
class CocoDataset(Labelled):
    """N images and their M boxes; image i owns the boxes `offsets[i]` to `offsets[i + 1]`.

    `crowd` marks regions that are neither object nor background: COCO's crowds, and the uncertain boxes of a
    teacher. Training leaves them out of the loss and evaluation out of the score, so one mark serves both; it
    is written as `iscrowd`.
    """

    folder: Path
    """folder of the images"""
    names: np.ndarray
    """(N,) bytes: utf-8 paths below folder"""
    image_ids: np.ndarray
    """(N,) int64"""
    sizes: np.ndarray
    """(N, 2) int32: width and height as the json says"""
    offsets: np.ndarray
    """(N + 1,) int64"""
    boxes: np.ndarray
    """(M, 4) float64: x1, y1, x2, y2 in pixels"""
    classes: np.ndarray
    """(M,) int16 in 0..K-1"""
    crowd: np.ndarray
    """(M,) bool"""
    areas: np.ndarray
    """(M,) float64 square pixels, of the mask where the json has one"""
    scores: np.ndarray
    """(M,) float32; 1 for human labels"""
    class_names: tuple[str, ...]
    """K names, by category id"""
    category_ids: tuple[int, ...]
    """K ids as in the json, ascending"""
    hash: str = ""
    """16 hex digits: of the json's bytes, or of the parent's hash and the chosen ids"""
    dropped: dict[str, int] = field(default_factory=dict)
    """how many boxes were dropped or clipped when the whole json was read, by kind"""
    listed: np.ndarray | None = None
    """(N,) int32: boxes of the json that are no crowd, those dropped included"""

    def __post_init__(self):
        if self.listed is None:
            object.__setattr__(self, "listed", self._objects_per_image())
        super().__post_init__()

    def labels(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return copies of image i's boxes, classes and crowd marks.

        They are (n, 4) float32 x1, y1, x2, y2 in pixels, (n,) int64, and (n,) bool.
        """
        rows = slice(self.offsets[i], self.offsets[i + 1])
        return (
            self.boxes[rows].astype(np.float32),
            self.classes[rows].astype(np.int64),
            self.crowd[rows].copy(),
        )

    def sample(self, i: int) -> Sample:
        """Decode image i and return it with its labels; crowds become `ignore`.

        Raises:
            UserError: the file is missing or damaged, or its size is not the one the json states.
        """
        image = read_image(self.path(i))
        size, stated = (image.shape[1], image.shape[0]), tuple(self.sizes[i].tolist())
        if size != stated:
            raise UserError(size_fault(self.path(i), size, stated))
        boxes, classes, crowd = self.labels(i)
        return Sample(image=image, boxes=boxes, classes=classes, ignore=crowd)

    def take(self, positions: np.ndarray) -> "CocoDataset":
        """Return the data set of the images at these positions (n,) int, in the order given."""
        positions = np.asarray(positions, np.int64)
        counts = self.counts[positions]
        offsets = offsets_of(counts)
        rows = np.repeat(self.offsets[positions] - offsets[:-1], counts) + np.arange(offsets[-1])
        per_image = {name: getattr(self, name)[positions] for name in _PER_IMAGE}
        per_box = {name: getattr(self, name)[rows] for name in _PER_BOX}
        return replace(self, **per_image, **per_box, offsets=offsets, hash=self.hash_of(positions))

    def of_classes(self, names: Sequence[str]) -> "CocoDataset":
        """Return the data set with the boxes of these classes alone; see `Labelled`.

        `listed` still counts all boxes, as published lists of images do.

        Raises:
            UserError: a class does not exist.
        """
        indices = chosen_classes(names, self.class_names, self.folder)
        if len(indices) == len(self.class_names):
            return self
        rows = np.isin(self.classes, indices)
        image_of = np.repeat(np.arange(len(self)), self.counts)[rows]
        per_box = {name: getattr(self, name)[rows] for name in _PER_BOX}
        per_box["classes"] = np.searchsorted(indices, per_box["classes"]).astype(np.int16)
        kept = tuple(self.class_names[index] for index in indices)
        return replace(
            self,
            **per_box,
            offsets=offsets_of(np.bincount(image_of, minlength=len(self))),
            class_names=kept,
            category_ids=tuple(self.category_ids[index] for index in indices),
            hash=hash_of_classes(self.hash, kept),
        )

    @property
    def counts(self) -> np.ndarray:
        """(N,) int64: boxes of each image, crowds included."""
        return np.diff(self.offsets)

    @property
    def has_objects(self) -> np.ndarray:
        """(N,) bool: whether the image has a box that is no crowd."""
        return self._objects_per_image() > 0

    @property
    def class_counts(self) -> np.ndarray:
        """(K,) int64: boxes of each class, crowds not counted."""
        return np.bincount(self.classes[~self.crowd], minlength=len(self.class_names))

    def _objects_per_image(self) -> np.ndarray:
        running = np.concatenate([[0], np.cumsum(~self.crowd)])
        return (running[self.offsets[1:]] - running[self.offsets[:-1]]).astype(np.int32)

    def to_coco(self) -> dict:
        """Return the data set as COCO's dictionary, with the original category ids, for evaluators.

        Annotation ids count from 1.
        """
        bbox = self.boxes.copy()
        bbox[:, 2:] -= bbox[:, :2]
        images = zip(self.image_ids.tolist(), self.names.tolist(), self.sizes.tolist(), strict=True)
        columns = (
            np.repeat(self.image_ids, self.counts),
            np.asarray(self.category_ids)[self.classes],
            bbox,
            self.areas,
            self.crowd.astype(int),
            self.scores,
        )
        annotations = zip(*(column.tolist() for column in columns), strict=True)
        return {
            "images": [
                {"id": i, "file_name": name.decode(), "width": width, "height": height}
                for i, name, (width, height) in images
            ],
            "annotations": [
                {
                    "id": n,
                    "image_id": image_id,
                    "category_id": category_id,
                    "bbox": box,
                    "area": area,
                    "iscrowd": crowd,
                    "score": score,
                }
                for n, (image_id, category_id, box, area, crowd, score) in enumerate(annotations, start=1)
            ],
            "categories": [
                {"id": i, "name": name} for i, name in zip(self.category_ids, self.class_names, strict=True)
            ],
        }


_PER_IMAGE = ("names", "image_ids", "sizes", "listed")
_PER_BOX = ("boxes", "classes", "crowd", "areas", "scores")


def offsets_of(counts: np.ndarray) -> np.ndarray:
    """Return (N + 1,) int64: where each image's boxes begin, given how many it has (N,), and the sum."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
