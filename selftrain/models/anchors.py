"""Anchors (Lin et al. 2017), and which object each of them answers for.

Boxes are x1 y1 x2 y2 in pixels of the network's input throughout.
"""

import math

import torch
from torch import Tensor
from torchvision.ops import box_iou

from selftrain.models.grid import cell_centres

# height / width; the order is torchvision's, so that the weights of predictors can be exchanged
RATIOS = (0.5, 1.0, 2.0)
SCALES = (2**0, 2 ** (1 / 3), 2 ** (2 / 3))  # of the base size
BACKGROUND, IGNORED = -1, -2  # in place of an object's index


def cell_anchors(size: float) -> Tensor:
    """Return anchors (9, 4) around the origin for a base `size` in pixels (officially 4 strides)."""
    root_ratios, scales = torch.tensor(RATIOS).sqrt(), torch.tensor(SCALES)
    widths = (1 / root_ratios[:, None] * scales[None]).flatten() * size
    heights = (root_ratios[:, None] * scales[None]).flatten() * size
    return torch.stack([-widths, -heights, widths, heights], 1) / 2


def grid_anchors(
    shapes: list[tuple[int, int]], strides: list[int], size: tuple[int, int], scale: float = 4.0
) -> Tensor:
    """Return the anchors (A, 4) of all levels: level by level, row by row, 9 at each position.

    shapes: (H_l, W_l) of each level.  strides: 2**level in pixels, exact.  size: (H, W) of the image.
    scale: base size in strides.

    The grid of a level is centred on the image (see `models/grid.py`); at multiples of the stride that is the
    official code's, whose first centre is half a stride from the edge.  torchvision's AnchorGenerator is not
    used, because it takes the stride as image // grid (7 instead of 8 for 65 pixels over 9 cells) and rounds
    the boxes to whole pixels.
    """
    levels = []
    for (height, width), stride in zip(shapes, strides, strict=True):
        y, x = cell_centres(height, stride, size[0]), cell_centres(width, stride, size[1])
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([xx, yy, xx, yy], -1).reshape(-1, 1, 4)
        levels.append((centres + cell_anchors(scale * stride)).reshape(-1, 4))
    return torch.cat(levels)


def match(
    anchors: Tensor, boxes: Tensor, valid: Tensor, ignore: Tensor, threshold: float = 0.5, budget: int = 2**24
) -> Tensor:
    """Return for each anchor (B, A) the index of the object it answers for, or BACKGROUND, or IGNORED.

    anchors: (A, 4).  boxes: (B, M, 4), padded.  valid: (B, M), true for real objects.  ignore: (B, M), true
    for regions that are neither object nor background (crowds, uncertain pseudo-labels).
    threshold: least IoU.  budget: most elements of one IoU matrix; images are taken in groups that fit.

    The rule is the official code's: an anchor answers for the object of highest IoU if that is at least 0.5,
    there is no band of ignored IoUs below it, and every object claims its best anchor whatever the IoU.  A
    background anchor of which half the area or more lies inside an ignored region is IGNORED, as COCO's
    evaluation treats detections in crowds.
    """
    batch, objects = valid.shape
    if objects == 0:
        return torch.full((batch, len(anchors)), BACKGROUND, dtype=torch.long, device=anchors.device)
    group = max(1, budget // (objects * len(anchors)))
    if batch > group:
        return torch.cat(
            [
                match(anchors, b, v, i, threshold, budget)
                for b, v, i in zip(boxes.split(group), valid.split(group), ignore.split(group))
            ]
        )

    iou = box_iou(boxes.reshape(-1, 4), anchors).reshape(batch, objects, -1)
    iou = iou.masked_fill(~valid[:, :, None], -1.0)
    best, matched = iou.max(1)
    matched = matched.masked_fill(best < threshold, BACKGROUND)
    # Each object's best anchor is its own.  Of two objects with one best anchor the first wins (the official
    # argmax), hence the reduction by minimum; padded objects write the neutral value.
    best_anchor = iou.argmax(2)
    order = torch.arange(objects, device=boxes.device).expand(batch, -1).masked_fill(~valid, objects)
    forced = torch.full_like(matched, objects).scatter_reduce_(1, best_anchor, order, "amin")
    matched = torch.where(forced < objects, forced, matched)
    if ignore.any():
        share = intersection_over_first(anchors, boxes.reshape(-1, 4)).reshape(-1, batch, objects)
        covered = ((share >= 0.5) & ignore[None]).any(2).T
        matched = matched.masked_fill(covered & (matched == BACKGROUND), IGNORED)
    return matched


def intersection_over_first(first: Tensor, second: Tensor) -> Tensor:
    """Return (N, M): the share of the area of each box of `first` (N, 4) inside each of `second` (M, 4)."""
    top_left = torch.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(2)
    return overlap / (first[:, 2:] - first[:, :2]).prod(1).clamp(min=math.ulp(1.0))[:, None]
