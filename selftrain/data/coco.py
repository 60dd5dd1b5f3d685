"""A COCO data set as flat arrays: read, looked at, narrowed, written.

Python objects cost gigabytes for train2017 and are copied into every worker by reference counting; a dozen arrays cost tens of
megabytes and stay shared.
"""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from augment.sample import Sample
from selftrain.data import cocojson
from selftrain.data.dataset import Labelled, class_difference
from selftrain.data.image import read_bytes, read_image
from selftrain.data.layout import CocoLayout, find_layout
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic

__all__ = [
    "CocoDataset",
    "CocoLayout",
    "box_faults",
    "find_layout",
    "read_coco",
    "repeated",
    "size_fault",
    "write_coco",
]

# COCO rounds boxes to 1/100 pixel; only what sticks out further than that rounding is worth a count.
_ROUNDING = 0.05


@dataclass(frozen=True, eq=False)
class CocoDataset(Labelled):
    """N images and their M boxes; image i owns the boxes `offsets[i]` to `offsets[i + 1]`.

    `crowd` marks regions that are neither object nor background: COCO's crowds, and the uncertain boxes of a teacher. Training leaves
    them out of the loss and evaluation out of the score, so one mark serves both; it is written as `iscrowd`.
    """

    folder: Path  # of the images
    names: np.ndarray  # (N,) bytes: utf-8 paths below folder
    image_ids: np.ndarray  # (N,) int64
    sizes: np.ndarray  # (N, 2) int32 width, height as the json says
    offsets: np.ndarray  # (N + 1,) int64
    boxes: np.ndarray  # (M, 4) float64 x1, y1, x2, y2 in pixels
    classes: np.ndarray  # (M,) int16 in 0..K-1
    crowd: np.ndarray  # (M,) bool
    areas: np.ndarray  # (M,) float64 square pixels, of the mask where the json has one
    scores: np.ndarray  # (M,) float32; 1 for human labels
    class_names: tuple[str, ...]  # K names, by category id
    category_ids: tuple[int, ...]  # K ids as in the json, ascending
    hash: str = ""  # 16 hex digits: of the json's bytes, or of the parent's hash and the chosen ids
    dropped: dict[str, int] = field(
        default_factory=dict
    )  # what reading the whole json dropped or clipped, counted
    listed: np.ndarray | None = (
        None  # (N,) int32 boxes the json lists that are no crowd, those dropped included
    )

    def __post_init__(self):
        if self.listed is None:
            object.__setattr__(self, "listed", self._objects_per_image())
        super().__post_init__()

    def labels(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Copies of image i's boxes (n, 4) float32 x1 y1 x2 y2 in pixels, classes (n,) int64, crowd (n,) bool."""
        rows = slice(self.offsets[i], self.offsets[i + 1])
        return (
            self.boxes[rows].astype(np.float32),
            self.classes[rows].astype(np.int64),
            self.crowd[rows].copy(),
        )

    def sample(self, i: int) -> Sample:
        """Image i decoded, with its labels; crowds become `ignore`.

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
        """The images at these positions, in the order given."""
        positions = np.asarray(positions, np.int64)
        counts = self.counts[positions]
        offsets = _offsets(counts)
        rows = np.repeat(self.offsets[positions] - offsets[:-1], counts) + np.arange(offsets[-1])
        per_image = {
            name: getattr(self, name)[positions] for name in ("names", "image_ids", "sizes", "listed")
        }
        per_box = {
            name: getattr(self, name)[rows] for name in ("boxes", "classes", "crowd", "areas", "scores")
        }
        return replace(self, **per_image, **per_box, offsets=offsets, hash=self.hash_of(positions))

    @property
    def counts(self) -> np.ndarray:
        """(N,) boxes per image, crowds included."""
        return np.diff(self.offsets)

    @property
    def has_objects(self) -> np.ndarray:
        """(N,) bool: the image has a box that is no crowd."""
        return self._objects_per_image() > 0

    @property
    def class_counts(self) -> np.ndarray:
        """(K,) boxes per class, crowds not counted."""
        return np.bincount(self.classes[~self.crowd], minlength=len(self.class_names))

    def _objects_per_image(self) -> np.ndarray:
        running = np.concatenate([[0], np.cumsum(~self.crowd)])
        return (running[self.offsets[1:]] - running[self.offsets[:-1]]).astype(np.int32)

    def to_coco(self) -> dict:
        """The data set as COCO's dictionary, with the original category ids, for evaluators. Annotation ids count from 1."""
        corners = self.boxes.copy()
        corners[:, 2:] -= corners[:, :2]
        categories = np.asarray(self.category_ids)[self.classes]
        columns = (
            np.repeat(self.image_ids, self.counts),
            categories,
            corners,
            self.areas,
            self.crowd.astype(int),
            self.scores,
        )
        return {
            "images": [
                {"id": i, "file_name": name.decode(), "width": w, "height": h}
                for i, name, (w, h) in zip(
                    self.image_ids.tolist(), self.names.tolist(), self.sizes.tolist(), strict=True
                )
            ],
            "annotations": [
                {
                    "id": n,
                    "image_id": i,
                    "category_id": c,
                    "bbox": box,
                    "area": area,
                    "iscrowd": crowd,
                    "score": score,
                }
                for n, (i, c, box, area, crowd, score) in enumerate(
                    zip(*(c.tolist() for c in columns), strict=True), start=1
                )
            ],
            "categories": [
                {"id": i, "name": name} for i, name in zip(self.category_ids, self.class_names, strict=True)
            ],
        }


def read_coco(
    json_path: str | Path, folder: str | Path, *, classes: tuple[str, ...] | None = None
) -> CocoDataset:
    """Read a COCO annotation file, by people or by a teacher (then with scores). Opens no image.

    Boxes without area are dropped, boxes outside their image too, boxes that stick out are clipped, and each is counted in `.dropped`.
    Images without annotation stay. An annotation with `ignore` or `iscrowd` becomes `crowd`.

    Args:
        json_path: the annotations.
        folder: where the image files lie; `file_name` is relative to it.
        classes: the class names wanted, in order (labels of other classes or another order would train the wrong thing).

    Raises:
        UserError: the file is missing, broken, not COCO-like, has no annotation, names a category or an image it does not have, uses
            an id twice, or its classes are not `classes`.
    """
    json_path = Path(json_path)
    data = read_bytes(json_path)
    columns = cocojson.parse(data, json_path)
    digest = hashlib.blake2b(data, digest_size=8).hexdigest()
    del data  # hundreds of megabytes, not needed while the arrays are put in order
    _refuse(columns, json_path)
    if classes is not None and columns.class_names != tuple(classes):
        raise UserError(class_difference(json_path, columns.class_names, tuple(classes)))

    by_id = np.argsort(columns.image_ids)
    image_of = by_id[np.searchsorted(columns.image_ids, columns.image_of, sorter=by_id)]  # id -> position
    boxes, zero, outside, sticking = box_faults(columns.bbox, columns.sizes[image_of])
    listed = np.bincount(image_of[~columns.crowd], minlength=len(columns.names)).astype(np.int32)
    kept = ~(zero | outside)
    order = np.flatnonzero(kept)[np.argsort(image_of[kept], kind="stable")]
    size = boxes[:, 2:] - boxes[:, :2]
    areas = np.where(np.isnan(columns.areas), size[:, 0] * size[:, 1], columns.areas)
    return CocoDataset(
        folder=Path(folder),
        names=np.array([name.encode() for name in columns.names]),
        image_ids=columns.image_ids,
        sizes=columns.sizes,
        offsets=_offsets(np.bincount(image_of[kept], minlength=len(columns.names))),
        boxes=boxes[order],
        classes=np.searchsorted(columns.category_ids, columns.category_of[order]).astype(np.int16),
        crowd=columns.crowd[order],
        areas=areas[order],
        scores=columns.scores[order],
        class_names=columns.class_names,
        category_ids=tuple(columns.category_ids.tolist()),
        hash=digest,
        dropped={
            "zero-area boxes": int(zero.sum()),
            "outside boxes": int(outside.sum()),
            "clipped boxes": int((sticking & kept).sum()),
        },
        listed=listed,
    )


def box_faults(bbox: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """COCO boxes (M, 4) x, y, width, height to corners clipped to their images (M, 2) width, height.

    Returns:
        Corners (M, 4) float64 x1, y1, x2, y2; and three (M,) bool: without area, fully outside, sticking out.
    """
    corners = np.concatenate([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], axis=1)
    limits = np.concatenate([sizes, sizes], axis=1).astype(np.float64)
    clipped = np.clip(corners, 0, limits)
    outside = (corners[:, :2] >= limits[:, :2]).any(1) | (corners[:, 2:] <= 0).any(1)
    # A box is used as float32, in which a sliver far from the origin can lose its last width.
    small = clipped.astype(np.float32)
    zero = (bbox[:, 2:] <= 0).any(1) | ((small[:, 2:] <= small[:, :2]).any(1) & ~outside)
    sticking = (np.abs(clipped - corners) > _ROUNDING).any(1)
    return clipped, zero, outside & ~zero, sticking


def size_fault(path: Path, size: tuple[int, int], stated: tuple[int, int]) -> str:
    """The message for an image whose (width, height) is not what its json states."""
    cure = "Use the images the annotations were made for, or correct the json."
    if size == stated[::-1]:
        cure = (
            "The picture is turned by its EXIF orientation, and the labels were drawn on the unturned one. "
            + cure
        )
    return f"{path}: the image is {size[0]}x{size[1]} pixels, its json says {stated[0]}x{stated[1]}. {cure}"


def write_coco(path: str | Path, dataset: CocoDataset, info: dict) -> None:
    """Write a data set, its scores included, as COCO json that `read_coco` and COCO evaluators read.

    The same labels and info give the same bytes: images go by id, boxes keep their order, coordinates and areas are rounded to
    1/1000 (square) pixel, scores to six decimals. The file appears whole or not at all.
    """
    dataset = dataset.take(np.argsort(dataset.image_ids))
    content = {"info": info, **dataset.to_coco()}
    for row in content["annotations"]:
        row["bbox"] = [round(value, 3) for value in row["bbox"]]
        row["area"], row["score"] = round(row["area"], 3), round(row["score"], 6)
    write_atomic(path, lambda file: file.write(msgspec.json.encode(content, order="deterministic")))


def _offsets(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _refuse(columns: cocojson.Columns, path: Path) -> None:
    """UserError for the first thing that would make the labels ambiguous."""
    more = "`python -m selftrain.data.check DIR` lists all such entries."
    for kind, ids in (
        ("image", columns.image_ids),
        ("annotation", columns.ids),
        ("category", columns.category_ids),
    ):
        twice = repeated(ids)
        if len(twice):
            raise UserError(
                f"{path}: {kind} id {twice[0]} is used twice ({len(twice)} ids are). Make the ids unique. {more}"
            )
    if not len(columns.image_ids) or not len(columns.ids):
        what = "annotations" if len(columns.image_ids) else "images"
        raise UserError(f"{path}: has no {what} at all. Give the file with labels (instances_*.json).")
    if len(set(columns.class_names)) < len(columns.class_names):
        raise UserError(f"{path}: two categories have the same name. Rename or merge them.")
    for kind, known, used in (
        ("category", columns.category_ids, columns.category_of),
        ("image", columns.image_ids, columns.image_of),
    ):
        bad = np.flatnonzero(~np.isin(used, known))
        if len(bad):
            raise UserError(
                f"{path}: annotation {columns.ids[bad[0]]} is for unknown {kind} id {used[bad[0]]} ({len(bad)} annotations are). "
                f"Add the {kind} or remove the annotation. {more}"
            )
    bad = np.flatnonzero((columns.sizes <= 0).any(1))
    if len(bad):
        raise UserError(
            f"{path}: image id {columns.image_ids[bad[0]]} has no width or height above 0. Correct its size. {more}"
        )


def repeated(ids: np.ndarray) -> np.ndarray:
    """The values that occur more than once."""
    values, counts = np.unique(ids, return_counts=True)
    return values[counts > 1]
