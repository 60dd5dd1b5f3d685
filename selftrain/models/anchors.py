"""Anchors, and which object each of them answers for.  Boxes are x1 y1 x2 y2 in input pixels throughout."""

import math

import torch
from torch import Tensor
from torchvision.ops import box_iou

RATIOS = (
    0.5,
    1.0,
    2.0,
)  # height / width; the order is torchvision's, so that predictor weights can be exchanged
SCALES = (2**0, 2 ** (1 / 3), 2 ** (2 / 3))
BACKGROUND, IGNORED = -1, -2


def cell_anchors(size: float) -> Tensor:
    """(9, 4) anchors around the origin for a base `size` in pixels (official RetinaNet: 4 x stride)."""
    ratios, scales = torch.tensor(RATIOS).sqrt(), torch.tensor(SCALES)
    w = (1 / ratios[:, None] * scales[None]).flatten() * size
    h = (ratios[:, None] * scales[None]).flatten() * size
    return torch.stack([-w, -h, w, h], 1) / 2


def grid_anchors(
    shapes: list[tuple[int, int]], strides: list[int], scale: float = 4.0, offset: float = 0.5
) -> Tensor:
    """(A, 4) anchors of all levels, row-major, 9 a position, level by level.

    shapes: (H_l, W_l) of each level; strides: 2**level, exact.  torchvision's AnchorGenerator is not used because it takes the
    stride as image // grid (7 instead of 8 for 65 px over 9 cells) and rounds the boxes to whole pixels; `offset` is the centre
    of the first cell in strides (official code: 0.5, torchvision: 0).
    """
    levels = []
    for (height, width), stride in zip(shapes, strides, strict=True):
        y = (torch.arange(height, dtype=torch.float32) + offset) * stride
        x = (torch.arange(width, dtype=torch.float32) + offset) * stride
        yy, xx = torch.meshgrid(y, x, indexing="ij")
        centres = torch.stack([xx, yy, xx, yy], -1).reshape(-1, 1, 4)
        levels.append((centres + cell_anchors(scale * stride)).reshape(-1, 4))
    return torch.cat(levels)


def match(
    anchors: Tensor, boxes: Tensor, valid: Tensor, ignore: Tensor, threshold: float = 0.5, budget: int = 2**24
) -> Tensor:
    """(B, A) index of the object an anchor answers for, or BACKGROUND, or IGNORED.

    anchors (A, 4); boxes (B, M, 4) padded; valid (B, M) marks real objects; ignore (B, M) marks regions that are neither object
    nor background (crowds, uncertain pseudo-labels).  Official rule: IoU >= 0.5 to the best object, no ignore
    band, and every object claims its best anchor whatever the IoU.  A background anchor whose area lies to half or more inside
    an ignore region is IGNORED, as COCO's evaluation treats detections in crowds.
    `budget` bounds the elements of one IoU matrix; images are taken in groups that fit.
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
    # Each object's best anchor is its own.  Of two objects with one best anchor the first wins (the official argmax), hence the
    # reduction by minimum; padded objects write the neutral value.
    favourite = iou.argmax(2)
    order = torch.arange(objects, device=boxes.device).expand(batch, -1).masked_fill(~valid, objects)
    forced = torch.full_like(matched, objects).scatter_reduce_(1, favourite, order, "amin")
    matched = torch.where(forced < objects, forced, matched)
    if ignore.any():
        inside = intersection_over_first(anchors, boxes.reshape(-1, 4)).reshape(-1, batch, objects)
        covered = ((inside >= 0.5) & ignore[None]).any(2).T
        matched = matched.masked_fill(covered & (matched == BACKGROUND), IGNORED)
    return matched


def intersection_over_first(first: Tensor, second: Tensor) -> Tensor:
    """(N, M) share of each of `first` (N, 4) that lies inside each of `second` (M, 4)."""
    top_left = torch.maximum(first[:, None, :2], second[None, :, :2])
    bottom_right = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(2)
    return overlap / (first[:, 2:] - first[:, :2]).prod(1).clamp(min=math.ulp(1.0))[:, None]
