"""Class maps in training, in prediction and in scoring: cross-entropy, averaged probabilities, mIoU.

Shapes: B images, K classes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augment import Sample
from selftrain.data.voc import IGNORED, VocDataset
from selftrain.models.grid import nearest_pixels, resize_to_pixels
from selftrain.models.segmenter import STRIDE
from selftrain.parts import Prediction
from selftrain.tasks.base import Augmented, prepare, stack_images
from selftrain.tasks.protocol import Batch, Loss, Metric
from selftrain.tasks.segmentation import pseudo_masks
from selftrain.tasks.segmentation.miou import confusion, resampled, scores
from selftrain.tasks.segmentation.recipe import SegmentationRecipe

HEAD = "segmentation"
"""The name of the network's head"""


class MaskObjective(Augmented):
    """Cross-entropy, divided by the number of labelled pixels.

    It is taken at the size of the input, or with `loss_at="logits"` at that of the logits, as the released
    configuration of Zoph et al. 2020 does: of the labels only those at the centres of cells count then.
    Of soft labels (Xie et al. 2020) the two best classes count, by their shares.
    """

    head = HEAD
    recipe: SegmentationRecipe

    def collate(self, views: list[tuple[Sample, ...]]) -> Batch:
        """A batch of B samples with one view each.

        `images` is a list of one (B, 3, S, S) uint8; `masks` (B, S, S) uint8 are class indices, 255 ignored.
        With soft labels among them they are (B, S, S, 3), as in `pseudo_masks`.
        """
        samples = [view for (view,) in views]
        masks = [sample.mask for sample in samples]
        if any(mask.ndim == 3 for mask in masks):
            masks = [mask if mask.ndim == 3 else pseudo_masks.soften(mask) for mask in masks]
        return {"images": [stack_images(samples)], "masks": torch.from_numpy(np.stack(masks))}

    def loss(self, maps: list[list[Tensor]], head: nn.Module, batch: Batch) -> Loss:
        """The loss of each image, (B,), summed over its labelled pixels, and the number of these, (B,).

        `loss_at` says which pixels these are.
        """
        masks = batch["masks"]
        size = tuple(batch["images"][0].shape[2:])
        logits = head(maps[0], size)  # B K S/4 S/4
        if self.recipe.loss_at == "image":
            logits = resize_to_pixels(logits, STRIDE, size, size)  # B K S S
        else:
            rows, columns = (nearest_pixels(n, STRIDE, side) for n, side in zip(logits.shape[2:], size))
            masks = masks[:, rows.to(masks.device)][:, :, columns.to(masks.device)]
        if masks.ndim == 3:
            loss = F.cross_entropy(logits, masks.long(), ignore_index=IGNORED, reduction="none")
        else:
            first, second, share = masks.long().unbind(3)
            share = share / pseudo_masks.WHOLE_SHARE
            loss = share * F.cross_entropy(logits, first, ignore_index=IGNORED, reduction="none") + (
                1 - share
            ) * F.cross_entropy(logits, second, ignore_index=IGNORED, reduction="none")
            masks = masks[..., 0]
        return Loss(loss.sum((1, 2)), (masks != IGNORED).sum((1, 2)))


class MaskFinder:
    """Predicts class probabilities in photos, for scorer and labeller alike."""

    head = HEAD

    def __init__(self, recipe: SegmentationRecipe, fill: tuple[int, ...], class_names: tuple[str, ...]):
        """`fill`: RGB of the padding; `class_names`: in the order of the classes' indices."""
        self.recipe, self.fill, self.class_names = recipe, fill, class_names

    def prepare(self, samples: list[Sample]) -> Batch:
        """A batch of photos that are resized to fit, without augmentation; see `tasks.base.prepare`."""
        return prepare(samples, self.recipe.image_size, self.fill)

    def probabilities(
        self, model: nn.Module, batch: Batch, scales: tuple[float, ...], flip: bool
    ) -> Iterator[Tensor]:
        """The probabilities (K, H, W) float32 of each photo, at its own size H x W.

        They are the softmax, averaged over `scales`, which are multiples of the image size, and with `flip`
        over the mirrored input too.
        """
        side, total = batch["images"].shape[2], 0
        for scale in scales:
            images = batch["images"]
            if (scaled := max(1, round(side * scale))) != side:
                images = F.interpolate(images.float(), (scaled, scaled), mode="bilinear", align_corners=False)
            for mirrored in (False, True)[: 1 + flip]:
                logits = model(images.flip(3) if mirrored else images)
                logits = resize_to_pixels(logits, STRIDE, (side, side), (scaled, scaled))
                total = total + (logits.softmax(1).flip(3) if mirrored else logits.softmax(1))
        total /= len(scales) * (1 + flip)
        for chances, (height, width), scale in zip(total, batch["sizes"], batch["scales"], strict=True):
            # the rest is padding
            photo = chances[None, :, : max(1, round(height * scale)), : max(1, round(width * scale))]
            if photo.shape[2:] != (height, width):
                photo = F.interpolate(photo, (height, width), mode="bilinear", align_corners=False)
            yield photo[0]


class MaskScorer(MaskFinder):
    """Scores a segmenter by mIoU over the whole set, at the photos' own sizes."""

    metrics = (Metric("mIoU"), Metric("pixel accuracy"))

    def assess(self, model: nn.Module, batch: Batch) -> list[Prediction]:
        """`confusion` (K, K) int64 of each photo: its pixels by true class and predicted class."""
        r, classes = self.recipe, len(self.class_names)
        masks = (
            chances.argmax(0).byte().cpu().numpy()
            for chances in self.probabilities(model, batch, r.eval_scales, r.eval_flip)
        )
        return [
            {"confusion": confusion(mask, truth, classes)}
            for mask, truth in zip(masks, batch["truths"], strict=True)
        ]

    def score(self, found: dict[int, Prediction], data: VocDataset) -> dict[str, Any]:
        """mIoU and pixel accuracy in percent, and the IoU of each class; see `miou.scores`.

        Raises AssertionError unless every image of `data` is there.
        """
        assert len(found) == len(data), f"{len(found)} predictions for {len(data)} images"
        return scores(sum(prediction["confusion"] for prediction in found.values()), self.class_names)

    def resample(
        self, found: dict[int, Prediction], data: VocDataset, weights: np.ndarray
    ) -> dict[str, np.ndarray]:
        """mIoU and pixel accuracy in percent under each resample; see `miou.resampled`."""
        return resampled(np.stack([found[i]["confusion"] for i in range(len(data))]), weights)
