"""Pseudo-masks: a teacher's class maps as one small file for each photo, and a json that lists them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from torch import nn

from selftrain.data.image import image_size
from selftrain.data.pool import Pool
from selftrain.data.voc import VocDataset
from selftrain.parts import Parts, Prediction
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic
from selftrain.tasks.protocol import Batch
from selftrain.tasks.segmentation import pseudo_masks
from selftrain.tasks.segmentation.masks import MaskFinder
from selftrain.tasks.segmentation.pseudo_masks import SHRINK, THRESHOLDS, mask_file


class MaskLabeller(MaskFinder):
    """Labels a pool with class maps."""

    raw_fields = ("image_size", "eval_batch", "teacher_scales", "teacher_flip", "pseudo_threshold", "soft")
    label_fields = ()
    suffix = ".json"

    def announce(self, pool: Pool) -> str | None:
        """The disk that soft labels will take; None for hard ones, which take little."""
        if not self.recipe.soft:
            return None
        some = np.linspace(0, len(pool) - 1, min(50, len(pool))).astype(int)
        sizes = np.array([image_size(pool.path(i)) for i in some])
        each = float((3 * np.ceil(sizes / SHRINK).prod(1)).mean())
        return (
            f"soft pseudo-labels: two classes and a share at 1/{SHRINK} of the photo's side, "
            f"{each:,.0f} bytes a photo before PNG's compression (mean of {len(some)}), "
            f"{each * len(pool) / 1e9:.3f} GB for {len(pool):,} photos"
        )

    def predict(self, model: nn.Module, batch: Batch, truth: VocDataset | None = None) -> list[Prediction]:
        """The mask of each photo as the bytes of a PNG, and its pixels by class.

        See `pseudo_masks.hard_mask` and `soft_mask`; where `truth` is known, `pseudo_masks.by_threshold` too.
        """
        r, predictions = self.recipe, []
        by_photo = self.probabilities(model, batch, r.teacher_scales, r.teacher_flip)
        for index, probabilities in zip(batch["indices"], by_photo, strict=True):
            prediction = (
                pseudo_masks.soft_mask(probabilities)
                if r.soft
                else pseudo_masks.hard_mask(probabilities, r.pseudo_threshold)
            )
            if truth is not None:
                prediction["by_threshold"] = pseudo_masks.by_threshold(probabilities, truth, index)
            predictions.append(prediction)
        return predictions

    def keep(self, folder: Path, pool: Pool, predictions: dict[int, Prediction]) -> dict[int, Prediction]:
        """Write each mask below folder/masks, and return the predictions without them.

        A run that stops before the store lists these photos writes them again.
        """
        folders = set()
        for index, prediction in predictions.items():
            file = folder / "masks" / mask_file(pool, index)
            if file.parent not in folders:
                file.parent.mkdir(parents=True, exist_ok=True)
                folders.add(file.parent)
            file.write_bytes(prediction["png"].tobytes())
        return {
            index: {name: array for name, array in prediction.items() if name != "png"}
            for index, prediction in predictions.items()
        }

    def select(
        self, path: Path, parts: Parts, pool: Pool, human: VocDataset, info: dict[str, Any]
    ) -> dict[str, Any]:
        """Write a list of every photo with at least one sure pixel and its mask, and return the report.

        Raises UserError, and writes nothing, when the teacher was sure of no pixel.
        """
        r, class_names = self.recipe, human.class_names
        threshold = None if r.soft else r.pseudo_threshold
        kept, best = parts.each("kept"), parts.each("best")  # (N, K)
        used = np.flatnonzero(kept.sum(1))
        if not len(used):
            raise UserError(
                f"the teacher is sure of no pixel of the pool at --pseudo-threshold {threshold:g}. "
                "Train the teacher longer (--steps), give it more labels, or lower the threshold"
            )
        report = {"threshold": threshold, "pool_images": len(pool), "kept_images": len(used)}
        report |= _pixels(kept, best, class_names)
        masks = [
            {"photo": pool.names[i].decode(), "mask": f"masks/{mask_file(pool, i)}", "index": int(i)}
            for i in used
        ]
        if pool.hidden is not None:
            labels = pseudo_masks.pseudo_dataset(path.parent, pool, masks, class_names, r.soft)
            report |= pseudo_masks.quality(labels, pool.hidden, used)
            # parts that were written before the pool had hidden labels lack it
            if parts.has("by_threshold"):
                report["by_threshold"] = _by_threshold(parts.each("by_threshold"))
        report["examples"] = pseudo_masks.examples(path.parent, pool)
        info = info | {
            "threshold": threshold,
            "soft": r.soft,
            "scales": list(r.teacher_scales),
            "flip": r.teacher_flip,
            "classes": list(class_names),
        }
        content = msgspec.json.encode({"info": info, "masks": masks}, order="deterministic")
        write_atomic(path, lambda file: file.write(content))
        return report

    def describe(self, report: dict[str, Any]) -> str:
        """The report in a few lines: what was kept, of which classes, and its quality where that is known."""
        soft = report["threshold"] is None
        lines = [
            f"soft pseudo-masks: {report['kept_images']} images"
            if soft
            else f"pseudo-masks at probability >= {report['threshold']:.3g}: {report['kept_images']} of "
            f"{report['pool_images']} images kept, {report['kept_pixels']:.1%} of their pixels"
        ]
        by_share = sorted(report["share_per_class"].items(), key=lambda item: -item[1])
        kept = report["kept_pixels_per_class"]
        shown = [
            f"{name} {share:.1%}" + ("" if soft or kept[name] is None else f" (kept {kept[name]:.0%})")
            for name, share in by_share[:12]
        ]
        more = ", ..." if len(by_share) > 12 else ""
        lines.append(f"share of the {'' if soft else 'kept '}pixels: {', '.join(shown)}{more}")
        if "accuracy" in report:
            lines.append(
                f"against the pool's hidden labels: {report['accuracy']:.1%} of these pixels right, "
                f"mIoU {report['mIoU']:.1f}, {report['covered']:.1%} of the labelled pixels covered"
            )
        return "\n".join(lines)

    def read(self, path: Path, pool: Pool) -> VocDataset:
        """The pseudo-labelled data set of a label file.  Raises UserError if it is of other classes."""
        return pseudo_masks.read_labels(path, pool, self.class_names)


def _pixels(kept: np.ndarray, best: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Shares of the pixels in all and by class.

    `kept`, `best` (N, K): pixels of each photo that are labels of a class, and that have it as best class.
    """
    by_class = zip(class_names, kept.sum(0), best.sum(0), strict=True)
    return {
        "kept_pixels": float(kept.sum() / best.sum()),
        "kept_pixels_per_class": {name: float(k / b) if b else None for name, k, b in by_class},
        "share_per_class": {name: float(n / kept.sum()) for name, n in zip(class_names, kept.sum(0))},
        "images_per_class": {name: int(n) for name, n in zip(class_names, (kept > 0).sum(0))},
    }


def _by_threshold(counts: np.ndarray) -> list[dict[str, float]]:
    """Precision and recall at each of THRESHOLDS, from the `counts` (N, T + 1, 2) of all photos.

    See `pseudo_masks.by_threshold`.
    """
    *rows, (labelled, _) = counts.sum(0).tolist()
    return [
        {"threshold": t, "precision": right / max(1, kept), "recall": right / max(1, labelled)}
        for t, (kept, right) in zip(THRESHOLDS, rows)
    ]
