"""Pseudo-labels of whole pictures: a teacher's probabilities, and a csv of the pictures that are kept."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from selftrain.class_report import SHARE, by_class, describe_classes
from selftrain.data.folders import ClassDataset
from selftrain.data.pool import Pool
from selftrain.parts import Parts, Prediction
from selftrain.system.errors import UserError
from selftrain.tasks.classification.classes import ClassFinder
from selftrain.tasks.classification.pseudo_classes import (
    PseudoPictures,
    as_many_of_each,
    auto_floor,
    by_threshold,
    read_labels,
    write_labels,
)
from selftrain.tasks.protocol import Batch
from selftrain.tasks.thresholds import class_thresholds, vanished, wanted_like_human

EXAMPLES = 8
"""Pictures that a report shows"""
HARM = (
    "A student may lose what its teacher knew of them: label more of it, train the teacher longer, or lower "
    "--pseudo-threshold"
)
"""What comes of a class that a teacher does not find"""


class ClassLabeller(ClassFinder):
    """Labels a pool with classes."""

    raw_fields = ("image_size", "eval_batch")
    label_fields = ("pseudo_labels", "pseudo_threshold")
    suffix = ".csv"

    def announce(self, pool: Pool) -> str | None:
        """The disk that the labels will take where each has a number for every class."""
        classes = len(self.class_names)
        if self.recipe.pseudo_labels == "hard":
            return None
        size = len(pool) * (40 + 9 * classes) / 1e9
        return f"soft pseudo-labels: {classes} probabilities a picture, about {size:.3f} GB of csv"

    def predict(self, model: nn.Module, batch: Batch, truth: ClassDataset | None = None) -> list[Prediction]:
        """`chances` (1, K) float32 of each picture: the probability of each class.

        `truth` is not needed here: the probabilities are stored whole and compared with it later.
        """
        chances = model(batch["images"]).softmax(1).cpu().numpy()
        return [{"chances": each[None]} for each in chances]

    def keep(self, folder: Path, pool: Pool, predictions: dict[int, Prediction]) -> dict[int, Prediction]:
        """The predictions as they are: nothing is written beside the store."""
        return predictions

    def select(
        self, path: Path, parts: Parts, pool: Pool, human: ClassDataset, info: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the labels of the pictures that are kept, and return the report.

        Raises UserError, and writes nothing, when none is kept.
        """
        chances = parts.each("chances")[:, 0]  # (N, K)
        scores, labels = chances.max(1), chances.argmax(1)
        thresholds, least, kept = self._kept(scores, labels, human)
        if not len(kept):
            raise UserError(
                f"the teacher is sure of no picture of the pool at --pseudo-threshold {least:g} (best "
                f"{scores.max():.3f} of {len(pool)}). Train the teacher longer (--steps), give it more "
                "labels, or lower the threshold"
            )
        write_labels(path, pool, kept, chances, human.class_names, self.recipe.pseudo_labels == "soft")
        truth = None if pool.hidden is None else pool.hidden.classes
        report = self._report(labels, kept, thresholds, human, truth) | {"threshold": least}
        if truth is not None:
            right = labels == truth
            report |= {"accuracy": float(right[kept].mean()), "by_threshold": by_threshold(scores, right)}
        return report | {"examples": _examples(pool, scores, labels, set(kept.tolist()), human.class_names)}

    def _kept(
        self, scores: np.ndarray, labels: np.ndarray, human: ClassDataset
    ) -> tuple[np.ndarray, float, np.ndarray]:
        """Of each class the least probability of a label (K,), the least of all, and the positions of the
        pictures that are kept, ascending.
        """
        r, pictures, classes = self.recipe, len(scores), len(human.class_names)
        auto, soft = r.pseudo_threshold == "auto", r.pseudo_labels == "soft"
        least = auto_floor(classes, soft) if auto else r.pseudo_threshold
        if auto and not soft:
            wanted = wanted_like_human(human.class_counts, len(human), pictures)
            thresholds = class_thresholds(scores, labels, wanted, floor=least)
        else:
            thresholds = np.full(classes, least)
        if soft:
            each = max(1, round(pictures / classes))
            return thresholds, least, as_many_of_each(scores, labels, each, least)
        # as numbers of one precision: 0.7 as a float32 reaches a threshold of 0.7
        return thresholds, least, np.flatnonzero(scores >= thresholds.astype(scores.dtype)[labels])

    def _report(
        self,
        labels: np.ndarray,
        kept: np.ndarray,
        thresholds: np.ndarray,
        human: ClassDataset,
        truth: np.ndarray | None,
    ) -> dict[str, Any]:
        """What was kept, in all and by class beside the human labels; `truth` (N,): the hidden classes."""
        names, classes = human.class_names, len(human.class_names)
        found, shares = np.bincount(labels[kept], minlength=classes), human.class_counts / max(1, len(human))
        quality = {}
        if truth is not None:
            once = np.unique(kept)
            right = np.bincount(truth[once][labels[once] == truth[once]], minlength=classes)
            with np.errstate(invalid="ignore"):
                quality = {
                    "precision": right / np.bincount(labels[once], minlength=classes),
                    "recall": right / np.bincount(truth, minlength=classes),
                }
        shown = {"human": shares, "pseudo": found / len(kept), "threshold": thresholds}
        return {
            "labels": self.recipe.pseudo_labels,
            "pool_images": len(labels),
            "kept_images": len(np.unique(kept)),
            "rows": len(kept),
            "images_per_class": dict(zip(names, found.tolist(), strict=True)),
            "counted_in": f"{SHARE}pictures",
            "by_class": by_class(names, **shown, **quality),
            "vanished": [names[k] for k in np.flatnonzero(vanished(shares * len(kept), found))],
        }

    def describe(self, report: dict[str, Any]) -> str:
        """The report in a few lines: what was kept, of which classes, and its quality where that is known."""
        repeated = report["rows"] - report["kept_images"]
        lines = [
            f"{report['labels']} pseudo-labels at probability >= {report['threshold']:.3g}: "
            f"{report['kept_images']} of {report['pool_images']} pictures kept"
            + (f", {repeated} of them again, for as many of each class" if repeated > 0 else "")
        ]
        if "accuracy" in report:
            lines.append(f"against the pool's hidden labels: {report['accuracy']:.1%} of them right")
        return "\n".join(lines + describe_classes(report, HARM))

    def read(self, path: Path, pool: Pool) -> PseudoPictures:
        """The pseudo-labelled pictures of a label file.  Raises UserError if it is of other classes."""
        return read_labels(path, pool, self.class_names)


def _examples(
    pool: Pool, scores: np.ndarray, labels: np.ndarray, kept: set[int], class_names: tuple[str, ...]
) -> list[dict[str, str]]:
    """Pictures from all over the pool with what the teacher says of them, for a gallery.

    Where the pool has folders of classes its first pictures are of one class.
    """
    shown = np.linspace(0, len(pool) - 1, min(EXAMPLES, len(pool))).round().astype(int)
    return [
        {
            "photo": pool.names[i].decode(),
            "caption": f"{class_names[labels[i]]} {scores[i]:.2f}{'' if i in kept else ', left out'}",
        }
        for i in shown.tolist()
    ]
