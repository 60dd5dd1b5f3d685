"""The operations that move pixels, and with them boxes and class maps.

All but `fit` are albumentations transforms. Inside them a box is a row of x1, y1, x2, y2 (divided by the
picture's width and height), class and ignore flag; the pipeline cuts boxes at the picture's border after each
operation and drops those without area. Class maps move with the same matrix as the image, by nearest
neighbour, and get 255 (ignore) where nothing is known. Distances in pixels are meant for a picture of long
side 640, as in the paper, and grow with the picture.

albumentations calls the methods of a transform by fixed names: `get_params_dependent_on_data` draws the
random numbers, and `apply`, `apply_to_mask` and `apply_to_bboxes` use them on the image, its class map and
its boxes.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import albumentations as A
import cv2
import numpy as np
from albumentations.core.bbox_utils import denormalize_bboxes, normalize_bboxes

from augment.ops import GREY
from augment.sample import Sample

VOID = 255
"""the value of a class map that means ignore"""
VOIDS = (VOID,) * 3
"""the same for OpenCV, which wants one number for each channel"""
REFERENCE = 640
"""the long side, in pixels, for which distances are given"""
IMAGENET_MEAN = (124, 116, 104)
"""the mean RGB colour of ImageNet, which becomes 0 after normalisation"""


class Warp(A.DualTransform):
    """An affine map of the picture; a box becomes the box that encloses its moved corners.

    `amount` gets a random sign (official `_randomly_negate_tensor`). Pixels are taken from the nearest source
    pixel, as in the official code; uncovered ones become grey. A box that is moved out of the picture is
    dropped: the official `_check_bbox_area` would leave one of 5 % of the picture at the border, with nothing
    in it.
    """

    def __init__(self, amount: float, p: float = 1.0):
        super().__init__(p=p)
        self.amount = amount

    @abstractmethod
    def matrix(self, amount: float, width: int, height: int) -> np.ndarray:
        """Return the (2, 3) matrix that moves a point (x, y) of the picture, in continuous coordinates."""

    def get_params_dependent_on_data(self, params, data):
        """Draw the sign of `amount` and return the matrix of the map."""
        height, width = params["shape"][:2]
        return {"matrix": self.matrix(self.py_random.choice((-1, 1)) * self.amount, width, height)}

    def apply(self, img, matrix, **params):
        """Move the image (H, W, 3) and fill what is uncovered with grey."""
        return _warp(img, matrix, (GREY,) * 3)

    def apply_to_mask(self, mask, matrix, **params):
        """Move the class map (H, W) or (H, W, C) and fill what is uncovered with 255."""
        return _warp(mask, matrix, VOIDS)

    def apply_to_bboxes(self, bboxes, matrix, shape, **params):
        """Move the boxes (N, 6) and return those that enclose their moved corners."""
        boxes = denormalize_bboxes(bboxes, shape[:2])
        centre = (boxes[:, :2] + boxes[:, 2:4]) / 2 @ matrix[:, :2].T + matrix[:, 2]
        half = (boxes[:, 2:4] - boxes[:, :2]) / 2 @ np.abs(matrix[:, :2]).T
        boxes[:, :4] = np.hstack([centre - half, centre + half])
        return normalize_bboxes(boxes, shape[:2])


class Rotate(Warp):
    """Turn the picture about its centre by `amount` degrees."""

    def matrix(self, amount: float, width: int, height: int) -> np.ndarray:
        """Return the (2, 3) matrix of a turn by `amount` degrees."""
        return cv2.getRotationMatrix2D((width / 2, height / 2), amount, 1.0)


class ShearX(Warp):
    """Shift each row by `amount` times its distance from the top."""

    def matrix(self, amount: float, width: int, height: int) -> np.ndarray:
        """Return the (2, 3) matrix of a horizontal shear."""
        return np.array([[1, amount, 0], [0, 1, 0]], float)


class ShearY(Warp):
    """Shift each column by `amount` times its distance from the left."""

    def matrix(self, amount: float, width: int, height: int) -> np.ndarray:
        """Return the (2, 3) matrix of a vertical shear."""
        return np.array([[1, 0, 0], [amount, 1, 0]], float)


class TranslateX(Warp):
    """Shift the picture to the side by `amount` pixels of 640.

    The shift is rounded to whole pixels, so that boxes and content move alike.
    """

    def matrix(self, amount: float, width: int, height: int) -> np.ndarray:
        """Return the (2, 3) matrix of a horizontal shift."""
        return np.array([[1, 0, _pixels(amount, width, height)], [0, 1, 0]], float)


class TranslateY(Warp):
    """Shift the picture up or down by `amount` pixels of 640.

    The shift is rounded to whole pixels, so that boxes and content move alike.
    """

    def matrix(self, amount: float, width: int, height: int) -> np.ndarray:
        """Return the (2, 3) matrix of a vertical shift."""
        return np.array([[1, 0, 0], [0, 1, _pixels(amount, width, height)]], float)


class TranslateYInBoxes(A.DualTransform):
    """Shift the content of single boxes inside their unmoved borders (official `TranslateY_Only_BBoxes`).

    Each box is taken with probability `box_p` / 3, lest too many boxes that lie close together be distorted
    (official `_scale_bbox_only_op_probability`). Boxes are taken in random order, since they overlap, and all
    are shifted in one direction. Boxes to be ignored hold no single object and are left alone, as crowds
    never reach this operation in the official code.
    """

    def __init__(self, amount: float, box_p: float):
        super().__init__(p=1.0)
        self.amount, self.box_p = amount, box_p

    @property
    def targets_as_params(self):
        """The boxes, which the random draw below needs to see."""
        return ["bboxes"]

    def get_params_dependent_on_data(self, params, data):
        """Draw the direction, the boxes and their order; return the boxes' areas and the shift in pixels."""
        height, width = params["shape"][:2]
        shift = _pixels(self.py_random.choice((-1, 1)) * self.amount, width, height)
        boxes = denormalize_bboxes(data["bboxes"], (height, width))
        boxes = [box for box in boxes if not box[5] and self.py_random.random() < self.box_p / 3]
        self.py_random.shuffle(boxes)
        # An area is all pixels that its box touches. Rounding to 1/100 undoes the division by the picture's
        # size.
        areas = [
            (*np.floor(box[:2].round(2)).astype(int), *np.ceil(box[2:4].round(2)).astype(int))
            for box in boxes
        ]
        return {"areas": areas, "shift": shift}

    def apply(self, img, areas, shift, **params):
        """Shift the areas of the image (H, W, 3) and fill what is uncovered with grey."""
        return _shift_inside(img, areas, shift, GREY)

    def apply_to_mask(self, mask, areas, shift, **params):
        """Shift the areas of the class map and fill what is uncovered with 255."""
        return _shift_inside(mask, areas, shift, VOID)

    def apply_to_bboxes(self, bboxes, **params):
        """Return the boxes (N, 6) as they are, since only their content moves."""
        return bboxes


class JitterCrop(A.DualTransform):
    """Scale jitter, random crop and padding to (size, size): the official `resize_and_crop_image`.

    The picture is scaled, keeping its aspect, to fit a square of side s * size, with s uniform in
    `scale_range`. What is larger than `size` is cropped at a random place; what is smaller is padded at the
    bottom and right with `fill`. The crop is cut from the source at whole pixels before scaling, so that no
    pixel is scaled in vain; this changes s by less than half a source pixel over the crop.
    """

    def __init__(self, size: int, scale_range: tuple[float, float], fill: tuple[int, int, int]):
        super().__init__(p=1.0)
        self.size, self.scale_range, self.fill = size, scale_range, fill

    def get_params_dependent_on_data(self, params, data):
        """Draw the scale and the place of the crop; return the crop of the source and its scaled size."""
        height, width = params["shape"][:2]
        side = max(1, round(self.size * self.py_random.uniform(*self.scale_range)))
        x, source_width, target_width = self._crop(width, width * side / max(width, height))
        y, source_height, target_height = self._crop(height, height * side / max(width, height))
        return {"source": (x, y, source_width, source_height), "target": (target_width, target_height)}

    def _crop(self, length: int, scaled: float) -> tuple[int, int, int]:
        """Return, along one axis, the crop's start and length in source pixels, and its scaled length."""
        scaled = max(1, round(scaled))
        target = min(self.size, scaled)
        source = max(1, round(length * target / scaled))
        return self.py_random.randint(0, length - source), source, target

    def apply(self, img, source, target, **params):
        """Cut, scale and pad the image to (size, size, 3)."""
        return _pad(_resize(_cut(img, source), target), self.size, self.fill)

    def apply_to_mask(self, mask, source, target, **params):
        """Cut, scale and pad the class map to (size, size) or (size, size, C)."""
        return _pad(_resize_mask(_cut(mask, source), target), self.size, VOIDS)

    def apply_to_bboxes(self, bboxes, source, target, shape, **params):
        """Move the boxes (N, 6) with the crop and its scale."""
        boxes = denormalize_bboxes(bboxes, shape[:2])
        zoom = np.divide(target, source[2:])
        boxes[:, :4] = (boxes[:, :4] - np.tile(source[:2], 2)) * np.tile(zoom, 2)
        return normalize_bboxes(boxes, (self.size, self.size))


def fit(sample: Sample, size: int, fill: tuple[int, int, int] = IMAGENET_MEAN) -> tuple[Sample, float]:
    """Scale the long side to `size` and pad at the bottom and right to (size, size, 3), for evaluation.

    There is no randomness. Returns the sample and the scale: boxes found in it, divided by the scale, are
    boxes of the original picture. The short side is rounded to whole pixels, so content is off by at most
    half a pixel there.
    """
    height, width = sample.image.shape[:2]
    if height == width == size:  # as a generated set's pictures are: nothing to resize, nothing to pad
        return sample.clipped(), 1.0
    scale = size / max(height, width)
    target = max(1, round(width * scale)), max(1, round(height * scale))
    image = _pad(_resize(sample.image, target), size, fill)
    mask = None if sample.mask is None else _pad(_resize_mask(sample.mask, target), size, VOIDS)
    sample = sample.clipped()
    sample = replace(sample, image=image, mask=mask, boxes=sample.boxes * np.float32(scale))
    return sample.clipped(*target), scale


def _pixels(amount: float, width: int, height: int) -> int:
    """Convert `amount` pixels of a picture of long side 640 to whole pixels of this one."""
    return round(amount * max(width, height) / REFERENCE)


def _warp(image, matrix, fill):
    """Move (H, W[, C]) by `matrix`, by nearest neighbour, at the same size."""
    # OpenCV counts from pixel centres, the matrix from pixel corners.
    matrix = matrix.copy()
    matrix[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    height, width = image.shape[:2]
    return cv2.warpAffine(image, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=fill)


def _shift_inside(image, areas, shift: int, fill: int):
    """Return a copy of (H, W[, C]) with the content of each area (x1, y1, x2, y2) moved down by `shift`."""
    image = image.copy()
    for x1, y1, x2, y2 in areas:
        old = image[y1:y2, x1:x2]
        new = np.full_like(old, fill)
        if abs(shift) < len(old):
            new[max(0, shift) : len(old) + min(0, shift)] = old[max(0, -shift) : len(old) - max(0, shift)]
        image[y1:y2, x1:x2] = new
    return image


def _cut(image, source):
    """Return the part of (H, W[, C]) that `source` (x, y, width, height) names."""
    x, y, width, height = source
    return image[y : y + height, x : x + width]


def _resize(image, target: tuple[int, int]):
    """Scale an image (H, W, 3) to `target` = (width, height).

    Interpolation is bilinear, as in the official code. Below half size it would step over pixels and alias;
    there each target pixel is the mean of the area that it covers.
    """
    shrink = min(target[0] / image.shape[1], target[1] / image.shape[0])
    return cv2.resize(image, target, interpolation=cv2.INTER_AREA if shrink < 0.5 else cv2.INTER_LINEAR)


def _resize_mask(mask, target: tuple[int, int]):
    """Scale a class map (H, W[, C]) to `target` = (width, height), by nearest neighbour."""
    # EXACT takes the pixel under the target pixel's centre, as the image's interpolation does; NEAREST does
    # not.
    return cv2.resize(mask, target, interpolation=cv2.INTER_NEAREST_EXACT)


def _pad(image, size: int, fill):
    """Extend (H, W[, C]) at the bottom and right to (size, size[, C])."""
    height, width = image.shape[:2]
    return cv2.copyMakeBorder(image, 0, size - height, 0, size - width, cv2.BORDER_CONSTANT, value=fill)
