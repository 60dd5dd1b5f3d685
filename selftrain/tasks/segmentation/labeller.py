"""Pseudo-masks: a teacher's class maps, one small file a photo, and a json that lists them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from torch import nn

from selftrain.data.image import image_size
from selftrain.data.pool import Pool
from selftrain.data.voc import VocDataset
from selftrain.parts import Parts
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic
from selftrain.tasks.protocol import Batch, Prediction
from selftrain.tasks.segmentation import pseudo_masks
from selftrain.tasks.segmentation.masks import MaskFinder
from selftrain.tasks.segmentation.pseudo_masks import SHRINK, THRESHOLDS, mask_file


class MaskLabeller(MaskFinder):
    """Labels a pool with class maps."""

    raw_fields = ("image_size", "eval_batch", "teacher_scales", "teacher_flip", "pseudo_threshold", "soft")
    label_fields = ()

    def announce(self, pool: Pool) -> str | None:
        """The disk that soft labels take, before any is written."""
        if not self.recipe.soft:
            return None
        some = np.linspace(0, len(pool) - 1, min(50, len(pool))).astype(int)
        sizes = np.array([image_size(pool.path(i)) for i in some])
        each = float((3 * np.ceil(sizes / SHRINK).prod(1)).mean())
        return (
            f"soft pseudo-labels: two classes and a share at 1/{SHRINK} of the photo's side, {each:,.0f} "
            "bytes a photo before "
            f"PNG's compression (mean of {len(some)}), {each * len(pool) / 1e9:.3f} GB for {len(pool):,} "
            "photos"
        )

    def predict(self, model: nn.Module, batch: Batch, truth: VocDataset | None = None) -> list[Prediction]:
        """The mask of each photo as PNG, its pixels by class, and how right they are at several thresholds
        where `truth` is known.
        """
        r, made = self.recipe, []
        chances = self.probabilities(model, batch, r.teacher_scales, r.teacher_flip)
        for index, probabilities in zip(batch["indices"], chances, strict=True):
            found = (
                pseudo_masks.soft_mask(probabilities)
                if r.soft
                else pseudo_masks.hard_mask(probabilities, r.pseudo_threshold)
            )
            if truth is not None:
                found["by_threshold"] = pseudo_masks.by_threshold(probabilities, truth, index)
            made.append(found)
        return made

    def keep(self, folder: Path, pool: Pool, predictions: dict[int, Prediction]) -> dict[int, Prediction]:
        """Write the masks; a part cut short before it says that they are there is written again."""
        made = set()
        for index, found in predictions.items():
            file = folder / "masks" / mask_file(pool, index)
            if file.parent not in made:
                file.parent.mkdir(parents=True, exist_ok=True)
                made.add(file.parent)
            file.write_bytes(found["png"].tobytes())
        return {
            index: {name: array for name, array in found.items() if name != "png"}
            for index, found in predictions.items()
        }

    def select(
        self, path: Path, parts: Parts, pool: Pool, human: VocDataset, info: dict[str, Any]
    ) -> dict[str, Any]:
        """List every photo with at least one sure pixel, and its mask; returns the report.

        Raises UserError, and writes nothing, when the teacher was sure of no pixel.
        """
        r, class_names = self.recipe, human.class_names
        threshold = None if r.soft else r.pseudo_threshold
        kept, found = parts.each("kept"), parts.each("found")  # (N, K)
        used = np.flatnonzero(kept.sum(1))
        if not len(used):
            raise UserError(
                f"the teacher is sure of no pixel of the pool at --pseudo-threshold {threshold:g}. Train the "
                "teacher longer "
                "(--steps), give it more labels, or lower the threshold"
            )
        report = {"threshold": threshold, "pool_images": len(pool), "kept_images": len(used)}
        report |= _pixels(kept, found, class_names)
        masks = [
            {"photo": pool.names[i].decode(), "mask": f"masks/{mask_file(pool, i)}", "index": int(i)}
            for i in used
        ]
        if pool.hidden is not None:
            labels = pseudo_masks.listed(path.parent, pool, masks, class_names, r.soft)
            report |= pseudo_masks.quality(labels, pool.hidden, used)
            if parts.has("by_threshold"):  # not if the hidden labels came after the first parts
                report["by_threshold"] = _by_threshold(parts.each("by_threshold"))
        report["examples"] = pseudo_masks.examples(path.parent, pool)
        info = info | {
            "threshold": threshold,
            "soft": r.soft,
            "scales": list(r.teacher_scales),
            "flip": r.teacher_flip,
            "classes": list(class_names),
            "report": report,
        }
        content = msgspec.json.encode({"info": info, "masks": masks}, order="deterministic")
        write_atomic(path, lambda file: file.write(content))
        return report

    def describe(self, report: dict[str, Any]) -> str:
        """The report in a few lines."""
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
                f"against the pool's hidden labels: {report['accuracy']:.1%} of these pixels right, mIoU "
                f"{report['mIoU']:.1f}, "
                f"{report['covered']:.1%} of the labelled pixels covered"
            )
        return "\n".join(lines)

    def read(self, path: Path, pool: Pool) -> VocDataset:
        """The pseudo-labelled data set of a label file.  Raises UserError if it is of other classes."""
        return pseudo_masks.read_labels(path, pool, self.class_names)


def _pixels(kept: np.ndarray, found: np.ndarray, class_names: tuple[str, ...]) -> dict[str, Any]:
    """Shares of (N, K) pixels by photo and class: kept, of those found."""
    by_class = zip(class_names, kept.sum(0), found.sum(0), strict=True)
    return {
        "kept_pixels": float(kept.sum() / found.sum()),
        "kept_pixels_per_class": {name: float(k / f) if f else None for name, k, f in by_class},
        "share_per_class": {name: float(n / kept.sum()) for name, n in zip(class_names, kept.sum(0))},
        "images_per_class": {name: int(n) for name, n in zip(class_names, (kept > 0).sum(0))},
    }


def _by_threshold(counts: np.ndarray) -> list[dict[str, float]]:
    """Precision and recall at each threshold, from (N, T + 1, 2) labelled pixels: kept, kept and right; the
    last row counts all.
    """
    *rows, (labelled, _) = counts.sum(0).tolist()
    return [
        {"threshold": t, "precision": right / max(1, kept), "recall": right / max(1, labelled)}
        for t, (kept, right) in zip(THRESHOLDS, rows)
    ]
