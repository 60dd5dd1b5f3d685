"""Pseudo-masks: a teacher's class maps as one small file for each photo, and a json that lists them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from torch import nn

from selftrain.class_report import SHARE, by_class, describe_classes
from selftrain.data.image import image_size
from selftrain.data.pool import Pool
from selftrain.data.voc import VocDataset
from selftrain.parts import Parts, Prediction
from selftrain.system.errors import UserError
from selftrain.system.files import write_atomic
from selftrain.tasks.protocol import Batch
from selftrain.tasks.segmentation import class_balanced, pseudo_masks
from selftrain.tasks.segmentation.class_balanced import mask_file
from selftrain.tasks.segmentation.masks import MaskFinder
from selftrain.tasks.segmentation.pseudo_masks import SHRINK, THRESHOLDS
from selftrain.tasks.thresholds import vanished

HARM = (
    "The student sees next to none of their pixels in the pool, or sees them under another class: label more "
    "of it, train the teacher longer, or take the surest of each class (--pseudo-threshold auto)"
)
"""What comes of a class that a teacher does not find"""


class MaskLabeller(MaskFinder):
    """Labels a pool with class maps."""

    raw_fields = ("image_size", "eval_batch", "teacher_scales", "teacher_flip", "pseudo_threshold", "soft")
    label_fields = ("pseudo_share",)
    suffix = ".json"

    @property
    def balanced(self) -> bool:
        """Whether each class has a threshold of its own, which is known when the pool has been predicted."""
        return not self.recipe.soft and self.recipe.pseudo_threshold == "auto"

    def announce(self, pool: Pool) -> str | None:
        """The disk that soft or class-balanced labels will take; None for others, which take little."""
        if not self.recipe.soft and not self.balanced:
            return None
        some = np.linspace(0, len(pool) - 1, min(50, len(pool))).astype(int)
        sizes = np.array([image_size(pool.path(i)) for i in some])
        if self.balanced:
            each = float(2 * sizes.prod(1).mean())
            what = "class-balanced pseudo-masks: class and confidence of each pixel beside the masks"
        else:
            each = float((3 * np.ceil(sizes / SHRINK).prod(1)).mean())
            what = f"soft pseudo-labels: two classes and a share at 1/{SHRINK} of the photo's side"
        return (
            f"{what}, {each:,.0f} bytes a photo before PNG's compression (mean of {len(some)}), "
            f"{each * len(pool) / 1e9:.3f} GB for {len(pool):,} photos"
        )

    def predict(self, model: nn.Module, batch: Batch, truth: VocDataset | None = None) -> list[Prediction]:
        """The mask of each photo as the bytes of a PNG, and its pixels by class.

        See `pseudo_masks.hard_mask` and `soft_mask`, and `class_balanced.levelled_mask`; where `truth` is
        known, `pseudo_masks.by_threshold` too.
        """
        r, predictions = self.recipe, []
        by_photo = self.probabilities(model, batch, r.teacher_scales, r.teacher_flip)
        for index, probabilities in zip(batch["indices"], by_photo, strict=True):
            if r.soft:
                prediction = pseudo_masks.soft_mask(probabilities)
            elif self.balanced:
                prediction = class_balanced.levelled_mask(probabilities)
            else:
                prediction = pseudo_masks.hard_mask(probabilities, r.pseudo_threshold)
            if truth is not None:
                prediction["by_threshold"] = pseudo_masks.by_threshold(probabilities, truth, index)
            predictions.append(prediction)
        return predictions

    def keep(self, folder: Path, pool: Pool, predictions: dict[int, Prediction]) -> dict[int, Prediction]:
        """Write each mask below folder/masks, and return the predictions without them.

        Where the masks have to wait for their thresholds, what they will be made of goes to folder/levels.  A
        run that stops before the store lists these photos writes them again.
        """
        folders, name = set(), "levels" if self.balanced else "masks"
        for index, prediction in predictions.items():
            file = folder / name / mask_file(pool, index)
            if file.parent not in folders:
                file.parent.mkdir(parents=True, exist_ok=True)
                folders.add(file.parent)
            file.write_bytes(prediction["png"].tobytes())
        stored = {
            index: {name: array for name, array in prediction.items() if name != "png"}
            for index, prediction in predictions.items()
        }
        return class_balanced.add_up(stored) if self.balanced else stored

    def select(
        self, path: Path, parts: Parts, pool: Pool, human: VocDataset, info: dict[str, Any]
    ) -> dict[str, Any]:
        """Write a list of every photo with at least one sure pixel and its mask, and return the report.

        With a threshold for each class the masks are written too, below a folder that is called as the file
        `path` without its ending.  Raises UserError, and writes no list, when the teacher was sure of no
        pixel.
        """
        r, class_names, best = self.recipe, human.class_names, parts.each("best")  # (N, K)
        if self.balanced:
            levels = parts.flat("levels")[0].reshape(-1, len(class_names), class_balanced.LEVELS).sum(0)
            thresholds = class_balanced.balanced_thresholds(levels, r.pseudo_share)
            folder = path.with_suffix("")
            kept = class_balanced.write_masks(path.parent / "levels", folder, pool, thresholds)
        else:
            thresholds = np.full(len(class_names), np.nan if r.soft else r.pseudo_threshold)
            folder, kept = path.parent / "masks", parts.each("kept")
        used = np.flatnonzero(kept.sum(1))
        if not len(used):
            raise UserError(
                f"the teacher is sure of no pixel of the pool at --pseudo-threshold {r.pseudo_threshold:g}. "
                "Train the teacher longer (--steps), give it more labels, or lower the threshold"
            )
        report = {"threshold": None if r.soft else r.pseudo_threshold, "pool_images": len(pool)}
        report |= {"kept_images": len(used)} | _pixels(kept, best, class_names)
        masks = [
            {"photo": pool.names[i].decode(), "mask": f"{folder.name}/{mask_file(pool, i)}", "index": int(i)}
            for i in used
        ]
        quality = {}
        if pool.hidden is not None:
            labels = pseudo_masks.pseudo_dataset(path.parent, pool, masks, class_names, r.soft)
            whole, quality = pseudo_masks.quality(labels, pool.hidden, used)
            report |= whole
            # parts that were written before the pool had hidden labels lack it
            if parts.has("by_threshold"):
                report["by_threshold"] = _by_threshold(parts.each("by_threshold"))
        report |= _classes(kept, best, thresholds, human, quality)
        if self.balanced:
            report["threshold"] = {row["class"]: row["threshold"] for row in report["by_class"]}
            report["share"] = r.pseudo_share
        report["examples"] = pseudo_masks.examples(folder, pool)
        info = info | {
            "threshold": report["threshold"],
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
        threshold = report["threshold"]
        what = f"{report['kept_images']} of {report['pool_images']} images kept"
        kept = f"{report['kept_pixels']:.1%} of their pixels"
        if threshold is None:
            lines = [f"soft pseudo-masks: {report['kept_images']} images"]
        elif isinstance(threshold, dict):
            share = f"{report['share']:.0%} of each class"
            lines = [f"pseudo-masks of the surest {share}: {what}, {kept}"]
        else:
            lines = [f"pseudo-masks at probability >= {threshold:.3g}: {what}, {kept}"]
        if "accuracy" in report:
            lines.append(
                f"against the pool's hidden labels: {report['accuracy']:.1%} of these pixels right, "
                f"mIoU {report['mIoU']:.1f}, {report['covered']:.1%} of the labelled pixels covered"
            )
        return "\n".join(lines + describe_classes(report, HARM))

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


def _classes(
    kept: np.ndarray,
    best: np.ndarray,
    thresholds: np.ndarray,
    human: VocDataset,
    quality: dict[str, np.ndarray],
) -> dict[str, Any]:
    """The part of the report that shows each class in the human masks and in the teacher's, side by side.

    `kept`, `best` as in `_pixels`; `quality`: precision and recall (K,) where they are known.
    """
    drawn, labels, found = human.class_counts, kept.sum(0), best.sum(0)
    share, of_labels = drawn / max(1, drawn.sum()), labels / labels.sum()
    with np.errstate(invalid="ignore"):
        reached = None if np.isnan(thresholds).all() else labels / found  # soft labels leave no pixel out
    shown = {"human": share, "pseudo": of_labels, "threshold": thresholds, "kept": reached}
    gone = np.flatnonzero(vanished(share * labels.sum(), labels))
    return {
        "counted_in": f"{SHARE}pixels",
        "by_class": by_class(human.class_names, **shown, **quality),
        "vanished": [human.class_names[k] for k in gone],
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
