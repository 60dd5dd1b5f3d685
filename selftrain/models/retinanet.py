"""RetinaNet (Lin et al. 2017) with the official TensorFlow constants, vectorised over the batch.

Shapes: B images, A anchors over all levels (9 a position), K classes, M objects an image at most (padded).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import clip_boxes_to_image, sigmoid_focal_loss
from torchvision.ops import nms as nms_boxes

from selftrain.models.anchors import BACKGROUND, IGNORED, RATIOS, SCALES, grid_anchors, match

ANCHORS_PER_CELL = len(RATIOS) * len(SCALES)
CODER = BoxCoder(weights=(1.0, 1.0, 1.0, 1.0))
BOXES_PER_NMS = 300
"""Of several classes in one call, about: its cost grows with the square"""


class LevelHead(nn.Module):
    """Pyramid levels -> (B, A, outputs): convolutions shared by the levels, batch norm a level, one 3x3
    predictor.
    """

    def __init__(
        self,
        channels: int,
        depth: int,
        levels: int,
        outputs: int,
        prior: float | None,
        norm: bool,
        bn_momentum: float,
        bn_eps: float,
    ):
        """`outputs`: numbers an anchor; `prior`: the probability that a fresh head gives to each class, None
        for box offsets.
        """
        super().__init__()
        self.outputs = outputs
        self.convs = nn.ModuleList(
            nn.Conv2d(channels, channels, 3, padding=1, bias=not norm) for _ in range(depth)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(
                nn.BatchNorm2d(channels, eps=bn_eps, momentum=bn_momentum) if norm else nn.Identity()
                for _ in range(depth)
            )
            for _ in range(levels)
        )
        self.predictor = nn.Conv2d(channels, ANCHORS_PER_CELL * outputs, 3, padding=1)
        for conv in self.convs:
            nn.init.normal_(conv.weight, std=0.01)
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)
        nn.init.normal_(self.predictor.weight, std=1e-5)
        # every anchor starts out as background with probability 1 - prior, or the first steps drown in false
        # positives
        nn.init.constant_(self.predictor.bias, 0.0 if prior is None else -math.log((1 - prior) / prior))

    def forward(self, levels: list[Tensor]) -> Tensor:
        """(B, C, H_l, W_l) of each level -> (B, A, outputs), level by level, row by row."""
        out = []
        for x, norms in zip(levels, self.norms, strict=True):
            for conv, norm in zip(self.convs, norms):
                x = F.relu(norm(conv(x)))
            x = self.predictor(x)  # B A*outputs H W
            b, _, h, w = x.shape
            out.append(
                x.view(b, ANCHORS_PER_CELL, self.outputs, h, w)
                .permute(0, 3, 4, 1, 2)
                .reshape(b, -1, self.outputs)
            )
        return torch.cat(out, 1)


class RetinaOutput(NamedTuple):
    """What the head says of a batch, all float32."""

    logits: Tensor
    """(B, A, K) class logits"""
    deltas: Tensor
    """(B, A, 4) encoded box offsets"""
    anchors: Tensor
    """(A, 4) in input pixels"""


class RetinaHead(nn.Module):
    """A trunk's maps -> `RetinaOutput`: feature pyramid, then a class head and a box head."""

    def __init__(
        self,
        neck: nn.Module,
        *,
        classes: int,
        levels: tuple[int, ...],
        channels: int,
        head_depth: int = 4,
        anchor_scale: float = 4.0,
        norm: bool = True,
        bn_momentum: float = 0.1,
        bn_eps: float = 1e-4,
    ):
        """`neck`: the trunk's maps -> pyramid levels of so many `channels`; `levels`: theirs, e.g.

        (3, 4, 5, 6, 7).
        """
        super().__init__()
        self.neck = neck
        self.strides = [2**level for level in levels]
        self.anchor_scale = anchor_scale
        self.class_head = LevelHead(
            channels, head_depth, len(levels), classes, 0.01, norm, bn_momentum, bn_eps
        )
        self.box_head = LevelHead(channels, head_depth, len(levels), 4, None, norm, bn_momentum, bn_eps)
        self._anchors: dict[tuple, Tensor] = {}

    def forward(self, maps: list[Tensor], size: tuple[int, int]) -> RetinaOutput:
        """`size`: (H, W) of the images in pixels."""
        levels = self.neck(maps)
        shapes = tuple(tuple(level.shape[2:]) for level in levels)
        logits, deltas = self.class_head(levels).float(), self.box_head(levels).float()
        return RetinaOutput(logits, deltas, self.anchors(shapes, size, logits.device))

    def anchors(
        self, shapes: tuple[tuple[int, int], ...], size: tuple[int, int], device: torch.device
    ) -> Tensor:
        """(A, 4) for levels of these shapes: of an odd size some backbones round up, others down.

        `size`: (H, W) of the images in pixels.
        """
        key = (shapes, size, device)
        if key not in self._anchors:
            grid = grid_anchors(list(shapes), self.strides, size, self.anchor_scale)
            self._anchors[key] = grid.to(device)
        return self._anchors[key]


class Losses(NamedTuple):
    """Sums an image, each (B,): divide by the number of positive anchors of the batch, plus one (the official
    normaliser).
    """

    classes: Tensor
    boxes: Tensor
    positives: Tensor


def retinanet_losses(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    boxes: Tensor,
    classes: Tensor,
    valid: Tensor,
    ignore: Tensor,
    *,
    alpha: float = 0.25,
    gamma: float = 1.5,
    delta: float = 0.1,
) -> Losses:
    """Focal and Huber loss sums an image.

    logits (B, A, K), deltas (B, A, 4), anchors (A, 4), boxes (B, M, 4), classes (B, M), valid (B, M), ignore
    (B, M).
    alpha, gamma: focal loss; delta: Huber threshold on encoded offsets; the box sum is divided by 4 (its
    coordinates) as in the official code.  Weights and normaliser are the caller's.
    """
    matched = match(anchors, boxes, valid, ignore)  # B A
    image, anchor = (matched >= 0).nonzero(as_tuple=True)
    target = matched[image, anchor]
    one_hot = torch.zeros_like(logits)
    one_hot[image, anchor, classes[image, target]] = 1.0
    focal = sigmoid_focal_loss(logits, one_hot, alpha=alpha, gamma=gamma).sum(2)
    class_sum = focal.masked_fill(matched == IGNORED, 0.0).sum(1)

    encoded = CODER.encode_single(boxes[image, target], anchors[anchor])
    huber = F.huber_loss(deltas[image, anchor], encoded, delta=delta, reduction="none").sum(1) / 4
    box_sum = torch.zeros_like(class_sum).index_add(0, image, huber)
    return Losses(class_sum, box_sum, (matched > BACKGROUND).sum(1))


@torch.no_grad()
def detections(
    logits: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    size: tuple[int, int],
    *,
    score: float = 0.05,
    nms: float = 0.5,
    candidates: int = 5000,
    most: int = 100,
) -> tuple[Tensor, ...]:
    """One (N, 6) an image: x1 y1 x2 y2 in input pixels, score, class, best first, N <= `most`.

    The official post-processing: of each class its `candidates` best anchors with score >= `score`, of all
    levels together; NMS a class at IoU `nms`; then the `most` best boxes of all classes.  Of equal scores the
    lower class goes first, then the earlier anchor.
    """
    batch, _, classes = logits.shape
    flat = logits.float().flatten(1)  # B A*K
    # sigmoid is monotone: cut on the logit, so that only what survives is ever turned into a score
    image, place = (flat >= (math.log(score / (1 - score)) if score > 0 else -math.inf)).nonzero(
        as_tuple=True
    )
    group = image * classes + place % classes
    best, counts = _best_of_groups(flat[image, place], group, batch * classes, candidates)
    image, place, group = image[best], place[best], group[best]
    anchor, label, scores = place // classes, place % classes, flat[image, place].sigmoid()
    boxes = clip_boxes_to_image(CODER.decode_single(deltas[image, anchor].float(), anchors[anchor]), size)

    kept = _suppress(boxes, scores, group, counts, max(size) + 1.0, nms)
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    kept = kept[image[kept].argsort(stable=True)]
    rows = torch.cat([boxes, scores[:, None], label[:, None]], 1)[kept]
    by_image = rows.split(image[kept].bincount(minlength=batch).tolist())
    return tuple(each[:most] for each in by_image)


def _best_of_groups(value: Tensor, group: Tensor, groups: int, most: int) -> tuple[Tensor, list[int]]:
    """Indices into `value` (N,), group by group and best first, at most `most` of each group (N,).

    Also how many of each group these are, a list of `groups` numbers.
    """
    order = value.argsort(descending=True, stable=True)
    order = order[group[order].argsort(stable=True)]
    counts = group.bincount(minlength=groups)
    rank = torch.arange(len(order), device=order.device) - (counts.cumsum(0) - counts)[group[order]]
    return order[rank < most], counts.clamp(max=most).tolist()


def _suppress(
    boxes: Tensor, scores: Tensor, group: Tensor, counts: list[int], apart: float, threshold: float
) -> Tensor:
    """Indices of the boxes (N, 4) that survive NMS within their group (N,); `counts`: boxes of each group.

    Groups are moved `apart`, so that one call serves several (as in torchvision's batched_nms): a call for
    each costs more than its work where groups are small, and one call for all compares every pair.  In
    float64 the moved boxes are exact, which also spares AP what half-precision NMS costs.
    """
    calls, size = [], 0
    for count in counts:
        if size and size + count > BOXES_PER_NMS:
            calls.append(size)
            size = 0
        size += count
    calls.append(size)
    moved = boxes.double() + (group.double() * apart)[:, None]
    kept, start = [], 0
    for box, score in zip(moved.split(calls), scores.double().split(calls)):
        kept.append(nms_boxes(box, score, threshold) + start)
        start += len(box)
    return torch.cat(kept)
