"""Semantic segmentation: NAS-FPN segmenter, cross-entropy, mIoU, pseudo-masks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from augment import Sample
from selftrain.data.pool import Pool
from selftrain.data.voc import IGNORED, VocDataset
from selftrain.models.nasfpn import LEVELS
from selftrain.models.segmenter import Segmenter
from selftrain.tasks.base import BaseTask, stack_images
from selftrain.tasks.protocol import Batch
from selftrain.tasks.segmentation import pseudo_masks
from selftrain.tasks.segmentation.miou import confusion, scores
from selftrain.tasks.segmentation.recipe import SegmentationRecipe


class Segmentation(BaseTask):
    recipe: SegmentationRecipe
    metric = "mIoU"
    columns = ("mIoU", "pixel accuracy")
    raw_fields = ("image_size", "eval_batch", "teacher_scales", "teacher_flip", "pseudo_threshold", "soft")
    label_fields = ()

    def model(self, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Module:
        r = self.recipe
        backbone, neck = self.backbone_and_neck(LEVELS)
        return Segmenter(
            backbone,
            neck,
            classes=len(self.class_names),
            channels=r.channels,
            head_depth=r.head_depth,
            bn_momentum=r.bn_momentum,
            mean=mean,
            std=std,
        )

    def collate(self, samples: list[Sample]) -> Batch:
        """images (B, 3, S, S) uint8; masks (B, S, S) uint8, 255 ignored; with soft labels among them (B, S, S, 3): see pseudo_masks."""
        masks = [s.mask for s in samples if s.mask is not None]
        if any(mask.ndim == 3 for mask in masks):
            masks = [mask if mask.ndim == 3 else pseudo_masks.soften(mask) for mask in masks]
        return {"images": stack_images(samples)} | (
            {"masks": torch.from_numpy(np.stack(masks))} if masks else {}
        )

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy sums over the labelled pixels of each image, at the size of the input, and how many pixels those are."""
        masks = batch["masks"]
        logits = F.interpolate(
            model(batch["images"]), masks.shape[1:3], mode="bilinear", align_corners=False
        )  # B K S S
        if masks.ndim == 3:
            loss = F.cross_entropy(logits, masks.long(), ignore_index=IGNORED, reduction="none")
        else:
            first, second, share = masks.long().unbind(3)
            share = share / pseudo_masks.FULL
            loss = share * F.cross_entropy(logits, first, ignore_index=IGNORED, reduction="none") + (
                1 - share
            ) * F.cross_entropy(logits, second, ignore_index=IGNORED, reduction="none")
            masks = masks[..., 0]
        return loss.sum((1, 2)), (masks != IGNORED).sum((1, 2))

    def assess(self, model: nn.Module, batch: Batch) -> list[np.ndarray]:
        """(K, K) confusion matrix of each image, at the photo's own size."""
        r = self.recipe
        found = (
            chances.argmax(0).byte().cpu().numpy()
            for chances in self._probabilities(model, batch, r.eval_scales, r.eval_flip)
        )
        return [
            confusion(mask, truth, len(self.class_names))
            for mask, truth in zip(found, batch["truths"], strict=True)
        ]

    def score(self, assessed: dict[int, np.ndarray], dataset: VocDataset) -> dict:
        assert len(assessed) == len(dataset), f"{len(assessed)} predictions for {len(dataset)} images"
        return scores(sum(assessed.values()), self.class_names)

    def _probabilities(
        self, model: nn.Module, batch: Batch, scales: tuple[float, ...], flip: bool
    ) -> Iterator[Tensor]:
        """(K, H, W) of each image at the photo's own size: softmax, averaged over scales and, with `flip`, over the mirrored input."""
        side, total = batch["images"].shape[2], 0
        for scale in scales:
            images = batch["images"]
            if (scaled := max(1, round(side * scale))) != side:
                images = F.interpolate(images.float(), (scaled, scaled), mode="bilinear", align_corners=False)
            for mirrored in (False, True)[: 1 + flip]:
                logits = F.interpolate(
                    model(images.flip(3) if mirrored else images),
                    (side, side),
                    mode="bilinear",
                    align_corners=False,
                )
                total = total + (logits.softmax(1).flip(3) if mirrored else logits.softmax(1))
        total /= len(scales) * (1 + flip)
        for chances, (height, width), scale in zip(total, batch["sizes"], batch["scales"], strict=True):
            inside = chances[
                None, :, : max(1, round(height * scale)), : max(1, round(width * scale))
            ]  # the rest is padding
            yield (
                inside
                if inside.shape[2:] == (height, width)
                else F.interpolate(inside, (height, width), mode="bilinear", align_corners=False)
            )[0]

    # ---- pseudo-labels ----------------------------------------------------------------------------------------------------

    def announce_labels(self, pool: Pool) -> str | None:
        return pseudo_masks.announce(pool) if self.recipe.soft else None

    def label(
        self, model: nn.Module, batch: Batch, truth: VocDataset | None = None
    ) -> list[pseudo_masks.PseudoMask]:
        r, made = self.recipe, []
        for index, chances in zip(
            batch["indices"], self._probabilities(model, batch, r.teacher_scales, r.teacher_flip), strict=True
        ):
            made.append(
                pseudo_masks.soft_mask(chances)
                if r.soft
                else pseudo_masks.hard_mask(chances, r.pseudo_threshold)
            )
            if truth is not None:
                made[-1].by_threshold = pseudo_masks.by_threshold(chances, truth, index)
        return made

    def write_part(
        self, path: Path, pool: Pool, predictions: dict[int, pseudo_masks.PseudoMask], seconds: float
    ) -> None:
        pseudo_masks.write_part(path, pool, predictions, seconds)

    def write_labels(self, path: Path, parts: list[Path], pool: Pool, human: VocDataset, info: dict) -> dict:
        """The json that lists the masks.  Raises UserError, and writes nothing, when the teacher was sure of no pixel."""
        r = self.recipe
        info |= {
            "threshold": None if r.soft else r.pseudo_threshold,
            "soft": r.soft,
            "scales": list(r.teacher_scales),
            "flip": r.teacher_flip,
            "classes": list(human.class_names),
        }
        return pseudo_masks.write_labels(path, parts, pool, human.class_names, info)

    def describe_labels(self, report: dict) -> str:
        return pseudo_masks.describe(report)

    def read_labels(self, path: Path, pool: Pool) -> VocDataset:
        return pseudo_masks.read_labels(path, pool, self.class_names)
