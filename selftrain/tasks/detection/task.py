"""Detection: RetinaNet, its loss, its boxes, COCO's AP, pseudo-boxes."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from augment import Sample
from selftrain.data.coco import CocoDataset, read_coco, write_coco
from selftrain.data.pool import Pool
from selftrain.models.retinanet import RetinaNet, detections, retinanet_losses
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic
from selftrain.tasks.base import BaseTask, stack_images
from selftrain.tasks.detection.coco_ap import coco_ap
from selftrain.tasks.detection.pseudo_boxes import (
    auto_threshold,
    examples,
    outcomes,
    precision_recall,
    select,
)
from selftrain.tasks.detection.recipe import DetectionRecipe
from selftrain.tasks.protocol import Batch

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # at which a teacher's boxes are measured
MOST_OBJECTS = 100  # an image in training, as in the official code


class Boxes(NamedTuple):
    """What is found in one photo."""

    rows: np.ndarray  # (N, 6) float32: x1 y1 x2 y2 in the photo's pixels, score, class
    size: tuple[int, int]  # the photo's width, height


class Detection(BaseTask):
    recipe: DetectionRecipe
    metric = "AP"
    columns = ("AP", "AP50", "AP75")
    raw_fields = ("image_size", "eval_batch", "nms", "score_threshold")
    label_fields = ("pseudo_threshold", "pseudo_ignore", "pseudo_empty")

    def model(self, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Module:
        r = self.recipe
        backbone, neck = self.backbone_and_neck(r.levels)
        return RetinaNet(
            backbone,
            neck,
            classes=len(self.class_names),
            levels=r.levels,
            channels=r.channels,
            head_depth=r.head_depth,
            anchor_scale=r.anchor_scale,
            bn_momentum=r.bn_momentum,
            mean=mean,
            std=std,
        )

    def collate(self, samples: list[Sample]) -> Batch:
        """images (B, 3, S, S) uint8; boxes (B, M, 4), classes (B, M), valid (B, M), ignore (B, M), padded to the fullest image."""
        size = max((min(len(s.boxes), MOST_OBJECTS) for s in samples), default=0)
        boxes = np.zeros((len(samples), size, 4), np.float32)
        classes = np.zeros((len(samples), size), np.int64)
        valid, ignore = np.zeros((2, len(samples), size), bool)
        for i, s in enumerate(samples):
            n = min(len(s.boxes), MOST_OBJECTS)
            boxes[i, :n], classes[i, :n], valid[i, :n], ignore[i, :n] = (
                s.boxes[:n],
                s.classes[:n],
                ~s.ignore[:n],
                s.ignore[:n],
            )
        return {"images": stack_images(samples)} | {
            k: torch.from_numpy(v)
            for k, v in (("boxes", boxes), ("classes", classes), ("valid", valid), ("ignore", ignore))
        }

    def losses(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        r = self.recipe
        logits, deltas = model(batch["images"])
        anchors = getattr(model, "module", model).anchors(tuple(batch["images"].shape[2:]), logits.device)
        losses = retinanet_losses(
            logits,
            deltas,
            anchors,
            batch["boxes"],
            batch["classes"],
            batch["valid"],
            batch["ignore"],
            alpha=r.focal_alpha,
            gamma=r.focal_gamma,
            delta=r.huber_delta,
        )
        return losses.classes + r.box_weight * losses.boxes, losses.positives

    def label(self, model: nn.Module, batch: Batch, truth=None) -> list[Boxes]:
        size = tuple(batch["images"].shape[2:])
        logits, deltas = model(batch["images"])
        found = detections(
            logits,
            deltas,
            model.anchors(size, logits.device),
            size,
            score=self.recipe.score_threshold,
            nms=self.recipe.nms,
        )
        counts = [len(rows) for rows in found]
        rows = torch.cat(found).cpu().numpy()
        photos = np.array([(width, height) for height, width in batch["sizes"]])
        rows[:, :4] = (rows[:, :4] / np.repeat(np.array(batch["scales"], np.float32), counts)[:, None]).clip(
            0, np.repeat(np.tile(photos, 2), counts, axis=0)
        )
        real = (rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])  # what lies wholly in the padding goes
        ends = np.cumsum(counts)[:-1]
        return [
            Boxes(part[keep], (int(w), int(h)))
            for part, keep, (w, h) in zip(np.split(rows, ends), np.split(real, ends), photos)
        ]

    assess = label

    def score(self, assessed: dict[int, Boxes], dataset: CocoDataset) -> dict:
        return coco_ap({i: found.rows for i, found in assessed.items()}, dataset, self.recipe.evaluator)

    # ---- pseudo-labels ----------------------------------------------------------------------------------------------------

    def write_part(self, path: Path, pool: Pool, predictions: dict[int, Boxes], seconds: float) -> None:
        indices = np.array(sorted(predictions), np.int64)
        rows = [predictions[i].rows for i in indices]
        content = dict(
            indices=indices,
            counts=np.array([len(r) for r in rows]),
            rows=np.concatenate(rows),
            sizes=np.array([predictions[i].size for i in indices], np.int32),
            seconds=np.float64(seconds),
        )
        write_atomic(path, lambda file: np.savez(file, **content))

    def write_labels(self, path: Path, parts: list[Path], pool: Pool, human: CocoDataset, info: dict) -> dict:
        """Threshold, select and write COCO json with scores.  Raises UserError when the teacher found nothing."""
        r = self.recipe
        loaded = [np.load(part) for part in parts]
        images = np.concatenate([np.repeat(p["indices"], p["counts"]) for p in loaded])
        rows = np.concatenate([p["rows"] for p in loaded])
        sizes = np.concatenate([p["sizes"] for p in loaded])[
            np.concatenate([p["indices"] for p in loaded]).argsort()
        ]
        real = ~human.crowd
        human_mean = float(real.sum() / max(1, len(human)))
        threshold = (
            auto_threshold(rows[:, 4], human_mean * len(pool))
            if r.pseudo_threshold == "auto"
            else r.pseudo_threshold
        )
        if r.pseudo_ignore is not None and r.pseudo_ignore >= threshold:
            raise UserError(
                f"--pseudo-ignore {r.pseudo_ignore} is not below the threshold that auto chose, {threshold:.3f}; lower it"
            )
        sure = rows[:, 4] >= threshold
        best = float(rows[:, 4].max()) if len(rows) else 0.0
        if not sure.any():
            raise UserError(
                f"the teacher found nothing in the pool at --pseudo-threshold {threshold:g} (best score {best:.3f} in {len(pool)} images). "
                "A student of such labels would learn that nothing is there. Train the teacher longer (--steps), give it more labels, "
                "or take --pseudo-threshold auto"
            )
        dataset = select(
            rows,
            images,
            sizes,
            pool,
            human,
            threshold=threshold,
            low=r.pseudo_ignore,
            keep_empty=r.pseudo_empty == "keep",
        )
        report = {
            "threshold": threshold,
            "pool_images": len(pool),
            "kept_images": len(dataset),
            "boxes": int(sure.sum()),
            "ignored_boxes": int(dataset.crowd.sum()),
            "boxes_per_image": float(sure.sum() / len(pool)),
            "human_boxes_per_image": human_mean,
            "boxes_per_class": {
                name: int((rows[sure, 5] == k).sum()) for k, name in enumerate(human.class_names)
            },
            "images_per_class": {
                name: len(np.unique(images[sure & (rows[:, 5] == k)]))
                for k, name in enumerate(human.class_names)
            },
        }
        if pool.hidden is not None:
            found = outcomes(rows, images, pool.hidden)
            report |= precision_recall(found[sure], pool.hidden)
            report["by_threshold"] = [
                {"threshold": t, **precision_recall(found[rows[:, 4] >= t], pool.hidden)} for t in THRESHOLDS
            ]
        report["examples"] = examples(dataset, pool)
        write_coco(
            path,
            dataset,
            info | {"threshold": threshold, "classes": list(human.class_names), "report": report},
        )
        return report

    def describe_labels(self, report: dict) -> str:
        lines = [
            f"pseudo-labels at score >= {report['threshold']:.3g}: {report['kept_images']} of {report['pool_images']} images kept, {report['boxes']} boxes, "
            f"{report['boxes_per_image']:.2f} an image (human labels: {report['human_boxes_per_image']:.2f})"
            + (f", {report['ignored_boxes']} uncertain ones ignored" if report["ignored_boxes"] else "")
        ]
        per_class = sorted(report["boxes_per_class"].items(), key=lambda item: -item[1])
        shown = [f"{name} {count} in {report['images_per_class'][name]}" for name, count in per_class[:12]]
        lines.append(
            f"boxes in images of each class: {', '.join(shown)}{', ...' if len(per_class) > 12 else ''}"
        )
        if "precision" in report:
            lines.append(
                f"against the pool's hidden labels (IoU 0.5): precision {report['precision']:.2f}, recall {report['recall']:.2f}"
            )
        return "\n".join(lines)

    def read_labels(self, path: Path, pool: Pool) -> CocoDataset:
        return read_coco(path, pool.folder, classes=self.class_names)
