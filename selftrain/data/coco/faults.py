"""What can be wrong in a json that has COCO's form: ids, sizes and boxes that do not fit each other."""

from pathlib import Path

import numpy as np

from selftrain.data.coco.parsing import Columns
from selftrain.system.errors import UserError

# COCO rounds boxes to 1/100 pixel; only what sticks out further than that rounding is worth a count.
_ROUNDING = 0.05


def box_faults(bbox: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Turn COCO's boxes into corners inside their images, and say which boxes are faulty.

    Args:
        bbox: (M, 4) x, y, width, height in pixels.
        sizes: (M, 2) width and height of each box's image in pixels.

    Returns:
        Corners (M, 4) float64 x1, y1, x2, y2, clipped to the image; and three (M,) bool: the box is without
        area, is fully outside its image, sticks out of it.
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
    """Return the message for an image whose (width, height) is not what its json states."""
    cure = "Use the images the annotations were made for, or correct the json."
    if size == stated[::-1]:
        turned = (
            "The picture is turned by its EXIF orientation, and the labels were drawn on the unturned one."
        )
        cure = f"{turned} {cure}"
    return f"{path}: the image is {size[0]}x{size[1]} pixels, its json says {stated[0]}x{stated[1]}. {cure}"


def repeated(values: np.ndarray) -> np.ndarray:
    """Return the values that occur more than once, ascending, each of them once."""
    distinct, counts = np.unique(values, return_counts=True)
    return distinct[counts > 1]


def refuse_ambiguous(columns: Columns, path: Path) -> None:
    """Raise a UserError, naming the file, for the first thing that makes its labels ambiguous.

    Such are an id or a category name that is used twice, annotations for an unknown category or image, an
    image without size, and a file without images or annotations.
    """
    more = "`python -m selftrain.data.check DIR` lists all such entries."
    for kind, ids in (
        ("image", columns.image_ids),
        ("annotation", columns.ids),
        ("category", columns.category_ids),
    ):
        twice = repeated(ids)
        if len(twice):
            raise UserError(
                f"{path}: {kind} id {twice[0]} is used twice ({len(twice)} ids are). "
                f"Make the ids unique. {more}"
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
                f"{path}: annotation {columns.ids[bad[0]]} is for unknown {kind} id {used[bad[0]]} "
                f"({len(bad)} annotations are). Add the {kind} or remove the annotation. {more}"
            )
    bad = np.flatnonzero((columns.sizes <= 0).any(1))
    if len(bad):
        raise UserError(
            f"{path}: image id {columns.image_ids[bad[0]]} has no width or height above 0. "
            f"Correct its size. {more}"
        )
